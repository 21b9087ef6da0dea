"""Confidence intervals of rates. Knows counts; not what was counted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["Z95", "Interval", "clustered_mean", "wilson"]

Z95 = 1.959964  # the normal distribution's 97.5 % point


@dataclass(frozen=True, slots=True)
class Interval:
    """A value with its 95 % confidence interval."""

    value: float
    low: float
    high: float


def wilson(hits: int, n: int) -> Interval:
    """Rate of independent trials with Wilson's score interval (Wilson 1927). n = 0 gives [0, 1] around nan."""
    if n == 0:
        return Interval(math.nan, 0.0, 1.0)
    rate, z2 = hits / n, Z95 * Z95
    centre = (rate + z2 / (2 * n)) / (1 + z2 / n)
    half = Z95 * math.sqrt(rate * (1 - rate) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    # At 0 and n the bounds are exact; rounding would leave 1e-18.
    return Interval(rate, 0.0 if hits == 0 else centre - half, 1.0 if hits == n else centre + half)


def clustered_mean(rates: Sequence[float], *, resamples: int = 10_000, seed: int = 0) -> Interval:
    """Mean of one rate a cluster, with a percentile bootstrap over the clusters.

    Trials of one picture are alike, so pictures and not trials are what is resampled
    (Efron and Tibshirani 1993, chapter 13). With few clusters the interval is too narrow
    rather than too wide; say how many there were.
    """
    values = np.asarray(rates, np.float64)
    if len(values) == 0:
        return Interval(math.nan, 0.0, 1.0)
    rng = np.random.default_rng(seed)
    means = values[rng.integers(0, len(values), (resamples, len(values)))].mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return Interval(float(values.mean()), float(low), float(high))
