"""Where two aligned pictures have the same colours but for one change of tone of the whole. Knows no structure.

A cast, a gamma or a loss of saturation changes every colour alike; a flag in other colours does not.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from guard.verification.features import Floats
from guard.verification.opencv import opencv

__all__ = ["same_colour"]

BLOCK_PX = 3  # colours are averages of blocks of this side
COLOUR_LEVELS = 28.0  # of 255: flat windows whose colours differ by less agree
CONSTANT = 64.0  # levels: the column of the fit that shifts, of a size with the others
ROBUST_LEVELS = 12.0  # of 255: a colour that is off by more counts less than half for the tone
ROUNDS = 3


def same_colour(
    ours: npt.NDArray[np.uint8], theirs: npt.NDArray[np.uint8], seen: npt.NDArray[np.bool_]
) -> npt.NDArray[np.bool_]:
    """ours, theirs: (h, w, 3) uint8. seen: (h, w), the pixels that both have. Returns (h, w), False where not seen."""
    cv2 = opencv()
    h, w = seen.shape
    size = (max(1, w // BLOCK_PX), max(1, h // BLOCK_PX))
    a, b = (cv2.resize(side, size, interpolation=cv2.INTER_AREA).reshape(-1, 3) for side in (ours, theirs))
    counted = cv2.resize(seen.astype(np.uint8) * 255, size, interpolation=cv2.INTER_AREA).ravel() > 127
    if not counted.any():  # a line of pixels, or a few that lie apart
        return np.zeros_like(seen)
    y, x = a[counted].astype(np.float32), b[counted].astype(np.float32)
    luma = x @ np.array([0.299, 0.587, 0.114], np.float32)
    weight = np.ones(len(x), np.float32)
    for _ in range(ROUNDS):  # least squares whose outliers count less each time: a sticker must not set the tone
        toned = np.stack([_toned(x[:, c], luma, y[:, c], weight) for c in range(3)], axis=1)
        off = np.abs(toned - y).max(axis=1)
        weight = 1 / (1 + (off / ROBUST_LEVELS) ** 2)
    same = np.zeros(len(a), np.uint8)
    same[counted] = off < COLOUR_LEVELS
    return np.asarray(cv2.resize(same.reshape(size[::-1]), (w, h), interpolation=cv2.INTER_NEAREST) > 0) & seen


def _toned(own: Floats, luma: Floats, wanted: Floats, weight: Floats) -> Floats:
    """One channel after the change of tone that brings it nearest to what is wanted: (n,), as all.

    It takes shares of the channel and of luma, and a constant. Neither may turn the tone over: an edit of the whole
    does not swap two colours.
    """
    x = np.stack([own, luma, np.full_like(own, CONSTANT)], axis=1)
    for used in ([0, 1, 2], [1, 2], [2]):
        part = x[:, used]
        weighted = part * weight[:, None]
        fit = np.zeros(3, np.float32)
        gram = weighted.T @ part + np.float32(1e-2 * len(x)) * np.eye(len(used), dtype=np.float32)
        fit[used] = np.linalg.solve(gram, weighted.T @ wanted)
        if fit[0] >= 0 and fit[0] + fit[1] >= 0:
            break
    return np.asarray(x @ fit, np.float32)
