"""How much of one picture another one shows unchanged, by plain comparison of blocks. Knows no verifier.

An evaluation of related pictures asks this of them as they were drawn, before anything is edited or verified: what
shows a good part of another picture pixel by pixel is a copy of that part, whatever it was drawn for.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from guard.pixels import RGBArray
from guard.verification.opencv import opencv

__all__ = ["SHARED", "shared_pixels"]

SIDE = 128  # px to which both are brought
BLOCK = 16  # px; 64 blocks that do not overlap
TEXTURED_LEVELS = 8.0  # of 255: standard deviation of a block, all channels together; plainer blocks do not count
SAME_LEVELS = 8.0  # of 255: root mean square difference up to which a block is the same
SAME_SHARE = 0.35  # of its standard deviation, the same: a correlation of some 0.94
SHARED = 0.25  # of the textured blocks: as much as a crop to a quarter of the area shows, which counts as a copy


def shared_pixels(of: RGBArray, other: RGBArray) -> float:
    """Share of the textured blocks of one square picture that the other shows, upright, at any place; 0 without any."""
    cv2 = opencv()
    a, b = (cv2.resize(side, (SIDE, SIDE), interpolation=cv2.INTER_AREA) for side in (of, other))
    found, textured = 0, 0
    for y in range(0, SIDE, BLOCK):
        for x in range(0, SIDE, BLOCK):
            block: npt.NDArray[np.uint8] = a[y : y + BLOCK, x : x + BLOCK]
            deviation = float(np.sqrt(block.astype(np.float32).var(axis=(0, 1)).mean()))
            if deviation < TEXTURED_LEVELS:
                continue
            textured += 1
            least = float(cv2.matchTemplate(b, np.ascontiguousarray(block), cv2.TM_SQDIFF).min())
            off = np.sqrt(max(least, 0.0) / block.size)
            found += off <= min(SAME_LEVELS, SAME_SHARE * deviation)
    return found / textured if textured else 0.0
