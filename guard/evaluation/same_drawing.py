"""Whether two pictures are one drawing, by their contours at the same place. Knows no verifier, and no colours.

`guard.evaluation.shared_pixels` looks for distinctive pieces with their colours, anywhere. Related pictures may also be
one drawing in other colours, or with a few of its parts changed: what an edit of the protocol makes of a picture
(`colour_transfer`, `equalise`, `stickers`), so that a match of the two is none that an evaluation can call false.
Agreement is counted beyond chance, since contours that are dense meet others wherever they lie.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from guard.pixels import RGBArray
from guard.verification.opencv import opencv

__all__ = ["SAME_DRAWING", "same_contours"]

SIDE = 128  # px to which both are brought
SIGMA = 1.0  # px of a blur before: grain is no drawing
WEAK, STRONG = 50, 100  # gradients of Canny's contours, of each channel
REACH = 1  # px that a contour may lie beside another
LEAST = 64  # contour pixels: of fewer, nothing can be said; half of a line from side to side
SAME_DRAWING = 0.61  # from which agreement is "substantial" (Landis and Koch 1977, Biometrics 33)

Mask = npt.NDArray[np.bool_]


def same_contours(of: RGBArray, other: RGBArray) -> float:
    """Agreement of the contours of two square pictures beyond chance, upright and in place: 1 all, 0 as strangers.

    The lesser of both ways: of either picture's contour pixels, the share that the other has within REACH, less the
    share that would lie there by chance, of what is left to agree on (as Cohen's kappa). 0 if either has too few.
    """
    a, b = _contours(of), _contours(other)
    if min(a.sum(), b.sum()) < LEAST:
        return 0.0
    return max(0.0, min(_found(a, b), _found(b, a)))


def _found(contours: Mask, among: Mask) -> float:
    cv2 = opencv()
    near = cv2.dilate(among.astype(np.uint8), np.ones((2 * REACH + 1,) * 2, np.uint8)).astype(bool)
    chance = float(near.mean())
    return (float(near[contours].mean()) - chance) / (1 - chance) if chance < 1 else 0.0


def _contours(picture: RGBArray) -> Mask:
    cv2 = opencv()
    small = cv2.GaussianBlur(cv2.resize(picture, (SIDE, SIDE), interpolation=cv2.INTER_AREA), (0, 0), SIGMA)
    channels = [cv2.Canny(np.ascontiguousarray(small[..., c]), WEAK, STRONG) > 0 for c in range(3)]
    found: Mask = np.logical_or.reduce(channels)
    return found
