"""The generalised Pareto distribution of what lies above a high threshold: fit, goodness of fit, likelihood region.

Knows excesses (>= 0); not what exceeds what. The survival function is (1 + shape * y / scale) ** (-1 / shape), with
exp(-y / scale) for shape 0; a negative shape ends at -scale / shape (Pickands 1975).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["CHI2_95", "Floats", "Gpd", "Region", "anderson_darling", "fit", "goodness_of_fit", "likely"]

Floats = npt.NDArray[np.float64]

CHI2_95 = 3.841459  # 95 % point of chi-squared with one degree of freedom
SHAPES = (-0.95, 2.0)  # below -1 the likelihood has no maximum
_ZERO = 1e-9
_GRID = 81
_CHUNK = 1 << 22  # values held at once by the bootstrap


@dataclass(frozen=True, slots=True)
class Gpd:
    shape: float
    scale: float
    """Above 0."""

    def survival(self, excess: npt.ArrayLike) -> Floats:
        return _survival(np.asarray(excess, np.float64), self.shape, self.scale)

    def quantile(self, survival: npt.ArrayLike) -> Floats:
        """The excess that is exceeded with this probability, in (0, 1]."""
        return _quantile(np.asarray(survival, np.float64), self.shape, self.scale)


@dataclass(frozen=True, slots=True, eq=False)
class Region:
    """Parameters whose likelihood is within 1/2 chi-squared (95 %, one degree of freedom) of the largest.

    The extremes of any one function over it are its profile-likelihood interval.
    """

    shape: Floats
    """(r,)."""
    scale: Floats
    """(r,)."""
    spare: Floats
    """(r,) how much log-likelihood is left before the region's edge, in [0, CHI2_95 / 2]."""

    def survival(self, excess: float) -> Floats:
        """(r,) of every member."""
        return _survival(np.float64(excess), self.shape, self.scale)

    def quantile(self, survival: npt.ArrayLike) -> Floats:
        """(r,) of every member; survival (r,) or one for all, in (0, 1]."""
        return _quantile(np.asarray(survival, np.float64), self.shape, self.scale)


def fit(excesses: npt.ArrayLike) -> Gpd:
    """Estimate both parameters; excesses: at least 10, all > 0, any order.

    Source: Zhang and Stephens 2009, A new and efficient estimation method for the generalized Pareto distribution,
    Technometrics 51(3): a posterior mean over a grid of the profile likelihood. Unlike maximum likelihood it exists for
    every sample, and needs no iteration, so that a bootstrap is one array expression.
    """
    shape, scale = _fit(np.sort(np.asarray(excesses, np.float64))[None])
    return Gpd(float(shape[0]), float(scale[0]))


def anderson_darling(excesses: npt.ArrayLike, gpd: Gpd) -> float:
    """A squared: how far the excesses are from the distribution, with weight on both ends."""
    ordered = np.sort(np.asarray(excesses, np.float64))[None]
    return float(_anderson_darling(ordered, np.array([gpd.shape]), np.array([gpd.scale]))[0])


def goodness_of_fit(
    excesses: npt.ArrayLike, gpd: Gpd, *, design_effect: float = 1.0, resamples: int = 400, seed: int = 0
) -> tuple[float, float]:
    """(A squared, p): the share of samples of the fitted distribution that, fitted themselves, lie further away.

    Parameters are estimated, so that tables for known ones do not hold: a parametric bootstrap takes their place
    (Choulakian and Stephens 2001, Goodness-of-fit tests for the generalized Pareto distribution, Technometrics 43(4)).
    design_effect: by how much clustering makes the excesses fewer than they seem; A squared is divided by it and the
    samples are as many smaller.
    """
    values = np.asarray(excesses, np.float64)
    statistic = anderson_darling(values, gpd) / design_effect
    n = max(10, round(len(values) / design_effect))
    rng = np.random.default_rng(seed)
    further = 0
    at_once = max(1, _CHUNK // (n * _candidates(n)))
    for start in range(0, resamples, at_once):
        size = min(at_once, resamples - start)
        drawn = np.sort(_quantile(1 - rng.random((size, n)), gpd.shape, gpd.scale), axis=1)
        drawn = np.maximum(drawn, np.finfo(np.float64).tiny)
        further += int((_anderson_darling(drawn, *_fit(drawn)) >= statistic).sum())
    return statistic, (1 + further) / (1 + resamples)


def likely(excesses: npt.ArrayLike, gpd: Gpd, *, design_effect: float = 1.0) -> Region:
    """The likelihood region around a fit; the log-likelihood is divided by the design effect."""
    values = np.asarray(excesses, np.float64)
    n = len(values) / design_effect
    half = 4.5 * max(1 + gpd.shape, 0.35) / np.sqrt(n)
    shapes = np.clip(np.linspace(gpd.shape - half, gpd.shape + half, _GRID), *SHAPES)
    shapes = np.where(np.abs(shapes) < _ZERO, _ZERO, shapes)
    wide = 4.5 * np.sqrt(2 * max(1 + gpd.shape, 0.35) / n)
    scales = gpd.scale * np.exp(np.linspace(-wide, wide, _GRID))
    shape, scale = (grid.ravel() for grid in np.meshgrid(shapes, scales, indexing="ij"))
    log_likelihood = np.empty(len(shape))
    for start in range(0, len(shape), step := max(1, _CHUNK // len(values))):
        some = slice(start, start + step)
        inner = 1 + (shape[some] / scale[some])[:, None] * values
        with np.errstate(divide="ignore", invalid="ignore"):
            logs = np.where(inner > 0, np.log(inner), np.inf).sum(axis=1)
            one = -len(values) * np.log(scale[some]) - (1 + 1 / shape[some]) * logs
        log_likelihood[some] = np.where(np.isfinite(logs), one, -np.inf)
    spare = CHI2_95 / 2 - (log_likelihood.max() - log_likelihood) / design_effect
    inside = spare >= 0
    return Region(shape[inside], scale[inside], spare[inside])


def _candidates(n: int) -> int:
    return 30 + int(np.sqrt(n))


def _fit(ordered: Floats) -> tuple[Floats, Floats]:
    """(b, n) ascending rows -> (b,) shapes and scales."""
    n, m = ordered.shape[1], _candidates(ordered.shape[1])
    quartile = ordered[:, max(0, int(n / 4 + 0.5) - 1), None]
    steps = 1 - np.sqrt(m / (np.arange(1, m + 1) - 0.5))
    theta = steps / (3 * quartile) + 1 / ordered[:, -1, None]  # (b, m), below 1 / largest
    theta = np.where(np.abs(theta) < _ZERO, _ZERO, theta)
    shapes = np.log1p(-theta[:, :, None] * ordered[:, None, :]).mean(axis=2)
    profile = n * (np.log(-theta / shapes) - shapes - 1)
    weights = np.exp(profile - profile.max(axis=1, keepdims=True))
    best = (theta * weights).sum(axis=1) / weights.sum(axis=1)
    best = np.where(np.abs(best) < _ZERO, _ZERO, best)
    shape = np.log1p(-best[:, None] * ordered).mean(axis=1)
    return shape, -shape / best


def _anderson_darling(ordered: Floats, shape: Floats, scale: Floats) -> Floats:
    n = ordered.shape[1]
    above = np.clip(_survival(ordered, shape[:, None], scale[:, None]), 1e-15, 1 - 1e-15)
    weights = 2 * np.arange(1, n + 1) - 1
    squared: Floats = -n - (weights * (np.log1p(-above) + np.log(above[:, ::-1]))).mean(axis=1)
    return squared


def _survival(excess: npt.ArrayLike, shape: npt.ArrayLike, scale: npt.ArrayLike) -> Floats:
    shape, scale = np.asarray(shape, np.float64), np.asarray(scale, np.float64)
    safe = np.where(np.abs(shape) < _ZERO, _ZERO, shape)
    inner = np.maximum(1 + safe * np.maximum(np.asarray(excess, np.float64), 0) / scale, 0)
    with np.errstate(divide="ignore"):
        survival: Floats = np.exp(-np.log(inner) / safe)
    return np.where(inner > 0, survival, 0.0)


def _quantile(survival: Floats, shape: npt.ArrayLike, scale: npt.ArrayLike) -> Floats:
    shape, scale = np.asarray(shape, np.float64), np.asarray(scale, np.float64)
    safe = np.where(np.abs(shape) < _ZERO, _ZERO, shape)
    excess: Floats = scale * np.expm1(-safe * np.log(survival)) / safe
    return excess
