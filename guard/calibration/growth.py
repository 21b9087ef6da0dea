"""How false matches grow with the number of references. Knows rates and sizes; fits nothing.

The nearest of N references is the largest of N similarities. If a clean picture reaches a threshold with each reference
with probability p, it does so with any of N with probability 1 - (1 - p)^N, about N p (extreme-value theory's first
step). Pictures differ in p, and references come in clusters; both only make the growth slower, since
E[(1 - p)^M] >= E[(1 - p)^N]^(M / N) for M >= N (Jensen): what is computed here is an upper bound for references that
are added from the same distribution, and says nothing about references of another kind.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

__all__ = ["exponent", "grown", "shrunk", "thinned"]


def grown(rate: float, count: int, to: int, *, exponent: float = 1.0) -> float:
    """The rate at `to` references of one measured at `count`: 1 - (1 - rate)^((to / count)^exponent)."""
    if rate >= 1:
        return 1.0
    return -math.expm1((to / count) ** exponent * math.log1p(-rate))


def shrunk(target: float, count: int, to: int) -> float:
    """The rate at `count` references that grows to `target` at `to`: the inverse of grown with exponent 1."""
    return grown(target, to, count)


def thinned(similarities: npt.NDArray[np.floating], threshold: float, share: float) -> float:
    """Expected rate if each reference were kept with probability `share`, in (0, 1].

    similarities: (n, k) of each clean picture to its k nearest references; k large enough that more of them hardly
    ever reach the threshold. A picture with c references at the threshold keeps one with 1 - (1 - share)^c: no
    subsample is drawn.
    """
    reaching = (similarities >= threshold).sum(axis=1)
    return float((1 - (1 - share) ** reaching).mean())


def exponent(similarities: npt.NDArray[np.floating], threshold: float, *, share: float = 0.5) -> float:
    """By which power of the size -log(1 - rate) grows, from `share` of the references to all: 1 where none cluster.

    nan if no picture reaches the threshold.
    """
    small, full = thinned(similarities, threshold, share), thinned(similarities, threshold, 1.0)
    if not 0 < small < 1 or full >= 1:
        return math.nan
    return math.log(math.log1p(-full) / math.log1p(-small)) / math.log(1 / share)
