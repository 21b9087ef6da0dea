"""Thresholds, recall and micro-AP of weighted queries. Knows similarities; no pictures and no splits.

Every function takes weights (b, units), one row a bootstrap resample and a row of ones for the figure itself: a unit's
weight counts for each of its queries. Ties are decided against us: a query that is as similar to a wrong reference as
to its own has not found it, a similarity that equals a threshold does not reach it, and of equal similarities the
wrong ones come first.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

__all__ = ["FPRS", "Floats", "Ints", "micro_ap", "pair_rate", "rate", "rate_above", "resampled", "thresholds"]

FPRS = (0.01, 0.001, 0.0001)
"""False-positive rates at which recall is given."""

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.intp]


def resampled(strata: Sequence[int], resamples: int, seed: int) -> Floats:
    """Weights (1 + resamples, units): ones, then how often a bootstrap drew each unit.

    strata: the stratum of each unit; units are drawn within their own, so that no resample loses a group.
    """
    strata_of = np.asarray(strata)
    weights = np.ones((1 + resamples, len(strata_of)))
    rng = np.random.default_rng(seed)
    for stratum in np.unique(strata_of):
        members = np.flatnonzero(strata_of == stratum)
        weights[1:, members] = rng.multinomial(len(members), np.full(len(members), 1 / len(members)), resamples)
    return weights


def thresholds(negatives: npt.NDArray[np.floating], units: Ints, weights: Floats, fpr: float) -> Floats:
    """(b,) similarities that at most the share `fpr` of the negatives exceeds; exclusive: a match lies above.

    negatives: best similarity of each query without a reference. With fewer than 1/fpr of them this is the largest.
    +inf without any negative: nothing is known, so nothing counts.
    """
    if len(negatives) == 0:
        return np.full(len(weights), np.inf)
    order = np.argsort(-negatives, kind="stable")
    total = weights @ np.bincount(units, minlength=weights.shape[1])
    if fpr < 0.5:  # the rest cannot matter: a unit is drawn a dozen times at most, and cumsum is what costs
        order = order[: max(1000, int(30 * fpr * len(order)))]
    above = np.cumsum(weights[:, units[order]], axis=1) > (fpr * total * (1 + 1e-12))[:, None]
    first = np.where(above.any(axis=1), above.argmax(axis=1), len(order) - 1)
    return np.where(total > 0, negatives[order[first]], np.inf).astype(np.float64)


def rate(hits: npt.NDArray[np.bool_], units: Ints, weights: Floats) -> Floats:
    """(b,) weighted share of the queries that hit; nan without queries."""
    found = weights @ np.bincount(units, hits, minlength=weights.shape[1])
    return _divided(found, weights @ np.bincount(units, minlength=weights.shape[1]))


def rate_above(similarity: npt.NDArray[np.floating], units: Ints, weights: Floats, limits: Floats) -> Floats:
    """(b,) weighted share of the queries above the limit of their resample."""
    total = weights @ np.bincount(units, minlength=weights.shape[1])
    near = similarity > limits.min(initial=np.inf)  # seldom many of the negatives; the rest is below every limit
    similarity, units = similarity[near], units[near]
    if len(similarity) == 0:
        return _divided(np.zeros(len(weights)), total)
    order = np.argsort(-similarity, kind="stable")
    sums = np.cumsum(weights[:, units[order]], axis=1)
    count = np.searchsorted(-similarity[order], -limits, side="left")  # strictly above
    found = np.where(count > 0, sums[np.arange(len(weights)), np.maximum(count, 1) - 1], 0.0)
    return _divided(found, total)


def micro_ap(
    similarity: npt.NDArray[np.floating],
    correct: npt.NDArray[np.bool_],
    units: Ints,
    positives: npt.NDArray[np.bool_],
    weights: Floats,
) -> Floats:
    """(b,) average precision of all queries' nearest references, ranked together.

    similarity, correct: of each query's nearest reference. positives: whether the query has a reference at all.
    Source: Douze et al. 2021 (arXiv:2106.09672), with one prediction a query.
    """
    order = np.lexsort((correct, -similarity))  # False before True among equals
    drawn = weights[:, units[order]]
    right = drawn * correct[order]
    precision = _divided(np.cumsum(right, axis=1), np.cumsum(drawn, axis=1), empty=0.0)
    wanted = weights @ np.bincount(units, positives, minlength=weights.shape[1])
    return _divided((precision * right).sum(axis=1), wanted)


def pair_rate(hits: npt.NDArray[np.bool_], valid: npt.NDArray[np.bool_], weights: Floats) -> Floats:
    """(b,) weighted share of pairs that hit, among valid ones; (n, n) both, weights (b, n) of the members."""
    found = ((weights @ (hits & valid)) * weights).sum(axis=1)
    return _divided(found, ((weights @ valid) * weights).sum(axis=1))


def _divided(a: Floats, b: Floats, empty: float = np.nan) -> Floats:
    return np.divide(a, b, out=np.full_like(a, empty), where=b > 0)
