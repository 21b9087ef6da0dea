"""How much of one picture stands unchanged in another, cell by cell at the same place. Knows no verifier.

`guard.evaluation.shared_pixels` looks for distinctive pieces anywhere, and says nothing of drawings in flat colours,
whose pieces are all alike. Two of these that differ in a few of their parts, and in nothing else, are one picture that
was retouched, whatever they were drawn for. Another colour is a difference here.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from guard.evaluation.shared_pixels import LEAST, SIDE, TEXTURED_LEVELS
from guard.pixels import RGBArray
from guard.verification.opencv import opencv

__all__ = ["RETOUCHED", "unchanged_pixels"]

CELL = 8  # px of SIDE; 144 cells
DIFFERENCE = 0.1  # mean square difference, of the sum of both variances, up to which a cell is the same; 1: unrelated
RETOUCHED = 0.75  # of the cells that show anything: what the edits of the overlay family leave of a picture, and more


def unchanged_pixels(of: RGBArray, other: RGBArray) -> float:
    """Share of the cells with texture in either of two square pictures that are the same in both, colours included.

    0 if fewer than guard.evaluation.shared_pixels.LEAST have any.
    """
    cv2 = opencv()
    a, b = (_cells(cv2.resize(side, (SIDE, SIDE), interpolation=cv2.INTER_AREA)) for side in (of, other))
    varied = [cells.var(axis=1).mean(axis=1) for cells in (a, b)]
    counted = np.maximum(*varied) >= TEXTURED_LEVELS**2
    if counted.sum() < LEAST:
        return 0.0
    same = ((a - b) ** 2).mean(axis=(1, 2)) <= DIFFERENCE * (varied[0] + varied[1])
    return float((same & counted).sum() / counted.sum())


def _cells(picture: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """(cells, pixels of one, 3)."""
    n = SIDE // CELL
    blocks = picture.astype(np.float32).reshape(n, CELL, n, CELL, 3).transpose(0, 2, 1, 3, 4)
    return blocks.reshape(n * n, CELL * CELL, 3)
