"""Keypoints of two pictures -> the affine transform that most of their matches follow. Knows no pixels.

MAGSAC++ (Barath et al. 2020) in OpenCV's USAC. Its random numbers start from a fixed state for each call and share
nothing with other threads, so that a pair of pictures always gives the same answer.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from guard.verification.features import Floats, Keypoints, mirrored
from guard.verification.opencv import opencv

__all__ = ["Alignment", "align", "plausible"]

RATIO = 0.85  # of the distances to the nearest and the second nearest descriptor (Lowe 2004 has 0.8)
THRESHOLD_PX = 3.0  # what MAGSAC++ takes as the largest noise of an inlier
INLIER_PX = 4.0  # then counted: a transform without perspective must also fit what a lens has bent
CELL_PX = 8.0  # inliers are counted once a cell: a row of letters gives many matches of one spot
SCALES = (0.12, 8.0)  # of a reference of 256 px in a query of 320: pasted at a tenth, or cropped to a fiftieth
STRETCH = 2.2  # longer axis over shorter one, with shear: beyond, a transform is an accident
LEAST = 5  # matches; three always lie on an affine transform


@dataclass(frozen=True, slots=True, eq=False)
class Alignment:
    """A transform and what speaks for it."""

    matrix: npt.NDArray[np.float64]
    """(2, 3): px of the reference -> px of the query."""
    inliers: int
    """Matches that follow it, one a cell."""


def align(query: Keypoints, reference: Keypoints) -> Alignment | None:
    """The best transform, the picture as it is or mirrored; None if no plausible one has LEAST matches."""
    if min(len(query), len(reference)) < LEAST:
        return None
    wanted, plain = query.unit_rows(), reference.unit_rows()
    found = []
    for rows in (plain, mirrored(plain)):
        pairs = _matches(wanted, rows)
        if len(pairs) >= LEAST:
            found.append(_fit(query.points[pairs[:, 0]], reference.points[pairs[:, 1]]))
    alignments = [alignment for alignment in found if alignment is not None]
    return max(alignments, key=lambda alignment: alignment.inliers, default=None)


def plausible(matrix: npt.NDArray[np.float64]) -> bool:
    """True for a transform that an edit could have made: neither a line nor a speck, and not stretched out of shape."""
    if not np.isfinite(matrix).all():
        return False
    larger, smaller = np.linalg.svd(matrix[:, :2], compute_uv=False)
    return bool(SCALES[0] <= smaller and larger <= SCALES[1] and larger <= STRETCH * smaller)


def _matches(query: Floats, reference: Floats) -> npt.NDArray[np.int64]:
    """(m, 2) rows of either side: nearest to one another, and clearly nearer than the second; surest first."""
    cosine = query @ reference.T
    nearest = cosine.argmax(axis=1)
    rows = np.arange(len(query))
    best = cosine[rows, nearest]
    mutual = cosine.argmax(axis=0)[nearest] == rows
    cosine[rows, nearest] = -1
    second = cosine.max(axis=1)
    ratio = np.sqrt(np.maximum(1 - best, 0) / np.maximum(1 - second, 1e-9))  # of L2 distances
    kept = np.flatnonzero(mutual & (ratio < RATIO))
    kept = kept[np.argsort(ratio[kept], kind="stable")]
    return np.stack([kept, nearest[kept]], axis=1)


def _fit(query: Floats, reference: Floats) -> Alignment | None:
    cv2 = opencv()
    try:
        matrix, _ = cv2.estimateAffine2D(reference, query, _usac())
    except cv2.error:  # points on one line, or all in one spot
        return None
    if matrix is None or not plausible(matrix):
        return None
    error = np.linalg.norm(reference @ matrix[:, :2].T + matrix[:, 2] - query, axis=1)
    inside = error <= INLIER_PX
    inliers = min(_cells(query[inside]), _cells(reference[inside]))
    return Alignment(matrix, inliers) if inliers >= LEAST else None


def _cells(points: Floats) -> int:
    return len(np.unique((points // CELL_PX).astype(np.int64), axis=0)) if len(points) else 0


def _usac() -> object:
    cv2 = opencv()
    params = cv2.UsacParams()
    params.randomGeneratorState = 7
    params.confidence = 0.999
    params.maxIterations = 600
    params.threshold = THRESHOLD_PX
    params.sampler = cv2.SAMPLING_UNIFORM
    params.score = cv2.SCORE_METHOD_MAGSAC
    params.loMethod = cv2.LOCAL_OPTIM_SIGMA
    params.final_polisher = cv2.MAGSAC
    return params
