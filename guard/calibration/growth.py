"""How false matches grow with the number of references. Knows rates and sizes; fits no tail.

The nearest of N references is the largest of N similarities. If a clean picture reaches a threshold with each reference
with probability p, it does so with any of N with probability 1 - (1 - p)^N, about N p (extreme-value theory's first
step). Pictures differ in p, and references come in clusters; both only make the growth slower, since
E[(1 - p)^M] >= E[(1 - p)^N]^(M / N) for M >= N (Jensen): without a dispersion, what is computed here is an upper bound
for references that are added from the same distribution. It says nothing about references of another kind.

With a dispersion a, N p is taken for a Gamma variable of shape a, so that the number of references that a picture
matches is negative binomial (Greenwood and Yule 1920) and the rate at N is 1 - (1 + N E[p] / a)^-a.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from guard.evaluation.intervals import Z95

__all__ = ["dispersion", "drawing_error", "grown", "shrunk", "thinned"]

_LOG_RANGE = (-7.0, 12.0)  # of the dispersion; beyond the upper end there is none worth the name


def grown(rate: float, count: int, to: int, *, dispersion: float = math.inf) -> float:
    """The rate at `to` references of one measured at `count`; in [0, 1]. dispersion: above 0; inf gives the bound."""
    if rate >= 1:
        return 1.0
    log_none, times = math.log1p(-rate), to / count
    if math.isinf(dispersion):
        return -math.expm1(times * log_none)
    exponent = -log_none / dispersion
    if exponent > 500:  # e^500: the last digits of the rate do not matter
        return -math.expm1(-dispersion * (exponent + math.log(times)))
    return -math.expm1(-dispersion * math.log1p(times * math.expm1(exponent)))


def shrunk(target: float, count: int, to: int) -> float:
    """The rate at `count` references that grows to `target` at `to`: the inverse of grown without a dispersion."""
    return grown(target, to, count)


def dispersion(similarities: npt.NDArray[np.floating], threshold: float, *, high: bool = False) -> float:
    """The dispersion that gives matching pictures as many matches as they have; inf where they do not cluster.

    similarities: (n, k) of each clean picture to its k nearest references; a picture's matches beyond k are not seen.
    high: for the upper end of the 95 % interval of the number of matches, which is the lower end of the growth's.
    inf too if no picture matches, or all do.
    """
    reaching = (similarities >= threshold).sum(axis=1)
    matched = reaching[reaching > 0]
    rate = len(matched) / len(reaching) if len(reaching) else 0.0
    if not 0 < rate < 1:
        return math.inf
    each = float(matched.mean())
    if high and len(matched) > 1:
        each += Z95 * float(matched.std(ddof=1)) / math.sqrt(len(matched))
    if each <= -math.log1p(-rate) / rate:  # what independent references give
        return math.inf
    low, top = _LOG_RANGE
    for _ in range(60):
        middle = (low + top) / 2
        if _mean(rate, math.exp(middle)) > each * rate:
            low = middle
        else:
            top = middle
    return math.inf if low > _LOG_RANGE[1] - 0.1 else math.exp(low)


def thinned(similarities: npt.NDArray[np.floating], threshold: float, share: float) -> float:
    """Expected rate if each reference were kept with probability `share`, in (0, 1].

    similarities: (n, k) of each clean picture to its k nearest references; k large enough that more of them hardly
    ever reach the threshold. A picture with c references at the threshold keeps one with 1 - (1 - share)^c: no
    subsample is drawn.
    """
    reaching = (similarities >= threshold).sum(axis=1)
    return float((1 - (1 - share) ** reaching).mean())


def drawing_error(similarities: npt.NDArray[np.floating], nearest: npt.NDArray[np.int64], threshold: float) -> float:
    """Standard error of the rate's logarithm from which references happen to be in the index; 0 without a match.

    similarities: (n, k >= 2), nearest first; nearest: (n,) id of the nearest reference. A jackknife over references:
    without one of them, the rate loses the pictures that match it alone. What chance among the pictures adds to that
    is taken off.
    """
    matched = similarities[:, 0] >= threshold
    alone = nearest[matched & (similarities[:, 1] < threshold)]
    if not matched.any():
        return 0.0
    together = np.unique(alone, return_counts=True)[1].astype(np.float64)
    return math.sqrt(max(0.0, float((together**2).sum()) - len(alone))) / int(matched.sum())


def _mean(rate: float, dispersion: float) -> float:
    """Matches of a picture, on average, if this share of pictures has any."""
    exponent = -math.log1p(-rate) / dispersion
    return math.inf if exponent > 500 else dispersion * math.expm1(exponent)
