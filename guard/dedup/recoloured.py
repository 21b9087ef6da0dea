"""One drawing in other colours: told from a copy by a region whose outlines are the same and whose colours are not.

Knows two pictures of one section; no descriptors and no decision. A cast, a loss of saturation or a vignette changes
colours all over, and what is pasted on a picture brings outlines of its own: neither is such a region.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from guard.pixels import RGBArray
from guard.verification.features import Floats
from guard.verification.opencv import opencv

__all__ = ["LEAST_AREA", "SAME_OUTLINES", "recoloured"]

SIDE = 144  # px of the square that both are brought to
LEAST_AREA = 0.02  # of the picture: a smaller region is no other content
SAME_OUTLINES = 0.6  # correlation of the edges in and around the region
LEVELS = 32.0  # of 255: colours that are further off are others
ROBUST_LEVELS = 12.0  # a colour that is off by more counts less than half for the fit
BIN_LEVELS = 16.0  # colours within one are one
LEAST_SHARE = 0.002  # of the pixels, that a colour has at least
SATURATIONS = np.arange(0, 2.01, 0.1, dtype=np.float32)  # that are tried
OPEN_PX = 5  # thinner differences are edges that lie a pixel apart
AROUND_PX = 5


def recoloured(ours: RGBArray, theirs: RGBArray) -> bool:
    """True if some region of at least LEAST_AREA has other colours within the same outlines.

    Each (h, w, 3) uint8 of any size, of the same section and upright.
    """
    cv2 = opencv()
    one, other = (cv2.resize(side, (SIDE, SIDE), interpolation=cv2.INTER_AREA) for side in (ours, theirs))
    colours = _chroma(one), _chroma(other)
    # Either way round: of a grey picture no change of tone makes a coloured one.
    differs = np.minimum(_off(*colours), _off(*colours[::-1])) > LEVELS
    opened = cv2.morphologyEx(differs.astype(np.uint8), cv2.MORPH_OPEN, np.ones((OPEN_PX, OPEN_PX), np.uint8))
    count, labels, stats, _ = cv2.connectedComponentsWithStats(opened)
    edges = [_edges(side) for side in (one, other)]
    for region in range(1, count):
        if stats[region, cv2.CC_STAT_AREA] < LEAST_AREA * SIDE**2:
            continue
        around = cv2.dilate((labels == region).astype(np.uint8), np.ones((AROUND_PX, AROUND_PX), np.uint8)) > 0
        if _correlation(edges[0][around], edges[1][around]) >= SAME_OUTLINES:
            return True
    return False


def _chroma(rgb: RGBArray) -> Floats:
    """(SIDE, SIDE, 2): red against green, and yellow against blue; light and shade count for little."""
    r, g, b = (rgb[..., c].astype(np.float32) for c in range(3))
    return np.stack([r - g, (r + g) / 2 - b], axis=-1)


def _off(ours: Floats, theirs: Floats) -> Floats:
    """(SIDE, SIDE) by how much ours miss theirs after the one change of saturation and cast that fits most colours.

    Colours count and not pixels: what is large must not decide what the change of the whole is. No change of the whole
    takes red alone, or swaps two colours: the saturation is one number, and not below 0.
    """
    x, y = ours.reshape(-1, 2), theirs.reshape(-1, 2)
    bins = np.rint(np.hstack([x, y]) / BIN_LEVELS)
    _, first, counts = np.unique(bins, axis=0, return_index=True, return_counts=True)
    frequent = first[counts >= LEAST_SHARE * len(x)]
    kinds = frequent if len(frequent) else first
    best, off = -1.0, np.zeros(len(x), np.float32)
    for saturation in SATURATIONS:
        cast = np.median(y[kinds] - saturation * x[kinds], axis=0)
        fit = 1 / (1 + (np.abs(saturation * x[kinds] + cast - y[kinds]).max(axis=1) / ROBUST_LEVELS) ** 2)
        if fit.sum() > best:
            best, off = float(fit.sum()), np.abs(saturation * x + cast - y).max(axis=1)
    return off.reshape(SIDE, SIDE)


def _edges(rgb: RGBArray) -> Floats:
    """(SIDE, SIDE) how strong the strongest channel's edge is."""
    cv2 = opencv()
    soft = cv2.GaussianBlur(rgb.astype(np.float32), (0, 0), 1.0)
    strength: Floats = np.hypot(cv2.Sobel(soft, -1, 1, 0), cv2.Sobel(soft, -1, 0, 1)).max(axis=2)
    return strength


def _correlation(a: npt.NDArray[np.float32], b: npt.NDArray[np.float32]) -> float:
    a, b = a - a.mean(), b - b.mean()
    return float(a @ b / max(float(np.linalg.norm(a) * np.linalg.norm(b)), 1e-6))
