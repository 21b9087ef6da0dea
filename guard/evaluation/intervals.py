"""Confidence intervals of rates. Knows counts; not what was counted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["Z95", "Interval", "clopper_pearson", "clustered_mean", "difference_of_rates", "paired_difference", "wilson"]

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


def clopper_pearson(hits: float, n: float, *, confidence: float = 0.95) -> Interval:
    """Rate of independent trials with the exact interval (Clopper and Pearson 1934). n = 0 gives [0, 1] around nan.

    hits, n: 0 <= hits <= n. Counts that were divided by a design effect need not be whole, which is how clustered
    trials get an interval (Korn and Graubard 1998).
    """
    if n <= 0:
        return Interval(math.nan, 0.0, 1.0)
    tail = (1 - confidence) / 2
    low = 0.0 if hits <= 0 else _beta_quantile(tail, hits, n - hits + 1)
    high = 1.0 if hits >= n else _beta_quantile(1 - tail, hits + 1, n - hits)
    return Interval(hits / n, low, high)


def paired_difference(both: int, first: int, second: int, neither: int) -> Interval:
    """Rate of a first trial minus that of a second over the same things, in [-1, 1] (Newcombe 1998b, method 10).

    both, first, second, neither: things for which both trials hit, only one of them, or none. Without things: [-1, 1]
    around nan.
    """
    n = both + first + second + neither
    if n == 0:
        return Interval(math.nan, -1.0, 1.0)
    margins = (both + first) * (second + neither) * (both + second) * (first + neither)
    covariance = float(both * neither - first * second)
    if covariance > 0:
        covariance = max(covariance - n / 2, 0)  # Newcombe's correction for continuity
    correlation = covariance / math.sqrt(margins) if margins else 0.0
    return _difference(wilson(both + first, n), wilson(both + second, n), correlation)


def difference_of_rates(hits_a: int, n_a: int, hits_b: int, n_b: int) -> Interval:
    """Rate a minus rate b of independent trials (Newcombe 1998a, method 10); without trials [-1, 1] around nan."""
    if n_a == 0 or n_b == 0:
        return Interval(math.nan, -1.0, 1.0)
    return _difference(wilson(hits_a, n_a), wilson(hits_b, n_b), 0.0)


def _difference(a: Interval, b: Interval, correlation: float) -> Interval:
    """Of two rates with Wilson's intervals."""
    below_a, above_a, below_b, above_b = a.value - a.low, a.high - a.value, b.value - b.low, b.high - b.value
    down = below_a**2 - 2 * correlation * below_a * above_b + above_b**2
    up = above_a**2 - 2 * correlation * above_a * below_b + below_b**2
    value = a.value - b.value
    return Interval(value, max(-1.0, value - math.sqrt(max(down, 0))), min(1.0, value + math.sqrt(max(up, 0))))


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


def _beta_quantile(probability: float, a: float, b: float) -> float:
    """x with I_x(a, b) = probability, by bisection in log(x / (1 - x)), where small rates keep their digits."""
    low, high = -80.0, 80.0
    for _ in range(80):
        middle = (low + high) / 2
        if _incomplete_beta(1 / (1 + math.exp(-middle)), a, b) < probability:
            low = middle
        else:
            high = middle
    return 1 / (1 + math.exp(-(low + high) / 2))


def _incomplete_beta(x: float, a: float, b: float) -> float:
    """Regularised I_x(a, b), by Lentz's continued fraction (Numerical Recipes, 3rd edition, section 6.4)."""
    if x <= 0 or x >= 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):
        return 1 - _incomplete_beta(1 - x, b, a)
    front = math.exp(
        math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    ) / a  # fmt: skip
    tiny = 1e-300
    c, d = 1.0, 1 / (1 - (a + b) * x / (a + 1) or tiny)
    fraction = d
    for m in range(1, 10_000):
        for term in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1 / (1 + term * d or tiny)
            c = 1 + term / c or tiny
            fraction *= c * d
        if abs(c * d - 1) < 1e-13:
            break
    return front * fraction
