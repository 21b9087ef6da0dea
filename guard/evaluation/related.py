"""What two related pictures have in common: one drawing, a part, or nothing but their kind. Knows no verifier.

An evaluation asks it of pictures as they were drawn, before any edit; it never asks whether a verifier called them a
copy, so that a match that it cannot explain stays a false one. Every measure is of pixels, and the same for all pairs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from guard.evaluation.laid_over import SHARED_BLOCKS, places_kept, shared_blocks
from guard.evaluation.same_drawing import SAME_DRAWING, same_contours
from guard.evaluation.shared_pixels import SHARED, shared_pixels
from guard.pixels import RGBArray

__all__ = ["InCommon", "Related", "related"]


class InCommon(StrEnum):
    ONE_DRAWING = "one_drawing"
    """Most contours lie where the other's do, or most pieces nearly there, flipped or turned by quarters too: an edit
    could have made it of the other."""
    SHARED_PART = "shared_part"
    """Not one drawing, and yet some of one picture is in the other pixel by pixel: a texture, a text."""
    OTHER_CONTENT = "other_content"
    """Neither. Only here is a match false."""


@dataclass(frozen=True, slots=True)
class Related:
    """What was measured of one pair."""

    contours: float
    """See `same_contours`; upright, since stripes that are flipped meet others."""
    places: float
    """See `places_kept`; the most that one of the other's eight flips and quarter turns keeps."""
    shared: float
    """See `shared_pixels`: of the first picture, what the other shows of it."""
    blocks: int
    """See `shared_blocks`."""

    @property
    def in_common(self) -> InCommon:
        if max(self.contours, self.places) >= SAME_DRAWING:
            return InCommon.ONE_DRAWING
        if self.shared >= SHARED or self.blocks >= SHARED_BLOCKS:
            return InCommon.SHARED_PART
        return InCommon.OTHER_CONTENT


def related(first: RGBArray, other: RGBArray) -> Related:
    """Of two square pictures of any size."""
    return Related(
        same_contours(first, other),
        max(places_kept(first, turned) for turned in _turns(other)),
        shared_pixels(first, other),
        shared_blocks(first, other),
    )


def _turns(picture: RGBArray) -> Iterator[RGBArray]:
    for side in (picture, picture[:, ::-1]):
        for quarters in range(4):
            yield np.ascontiguousarray(np.rot90(side, quarters))
