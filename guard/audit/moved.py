"""Training pictures that a generation shows elsewhere than they stand: mirrored, cut, stretched, turned.

Models are trained on pictures that were flipped and cut at random, and draw them so. Knows how a verifier laid one
picture on another, and the distance that is left then; no index, and no decision.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from guard.audit.distance import Pictures
from guard.pixels import RGBArray
from guard.types import Evidence
from guard.verification.picture import aligned

__all__ = ["SHOWN", "Laid", "laid_on"]

SHOWN = 0.6  # share of the generation, inclusive, that must show the training picture
INSIDE = 250  # of 255: a pixel that the picture covers as a whole; those at its border are mixed with what is beside it


@dataclass(frozen=True, slots=True, eq=False)
class Laid:
    """A training picture as it lies in a generation."""

    pixels: RGBArray
    seen: npt.NDArray[np.bool_]
    """(height, width) True where there is any of it."""

    def rms(self, pictures: Pictures) -> npt.NDArray[np.float64]:
        """(n,) RMS distances on [0, 1] of what both show. pictures: (n, height, width, 3)."""
        theirs = self.pixels[self.seen].astype(np.float32)
        ours = [picture[self.seen].astype(np.float32) for picture in pictures]
        return np.array([np.sqrt(np.mean((own - theirs) ** 2)) / 255 for own in ours], np.float64)


def laid_on(reference: RGBArray, size: tuple[int, int], evidence: Evidence) -> Laid | None:
    """The reference as the evidence lays it on a generation of size = (height, width).

    None if the evidence is of no copy, or of one that fills less than SHOWN of the generation.
    """
    from PIL import Image

    if not evidence.is_copy or evidence.copied_area_query < SHOWN:
        return None
    drawn = aligned(Image.fromarray(reference), (size[1], size[0]), evidence)
    if drawn is None:
        return None
    values = np.asarray(drawn)
    seen = values[..., 3] >= INSIDE
    return Laid(values[..., :3], seen) if seen.any() else None
