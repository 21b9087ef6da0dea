"""Growth with the number of references, against simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest

from guard.calibration.growth import dispersion, drawing_error, grown, shrunk, thinned


def counted(matches: np.ndarray, k: int = 40) -> np.ndarray:
    """Similarities of pictures of which each has so many references at 1 and all others at 0."""
    return (np.arange(k) < matches[:, None]).astype(np.float32)


def test_independent_references_grow_as_the_formula_says() -> None:
    rng = np.random.default_rng(0)
    p, n, to = 2e-4, 500, 2000
    hits = rng.random((20_000, 4)) < -math.expm1(n * math.log1p(-p))  # four lots of n references
    small, large = hits[:, 0].mean(), hits.any(axis=1).mean()
    assert grown(-math.expm1(n * math.log1p(-p)), n, to) == pytest.approx(-math.expm1(to * math.log1p(-p)))
    assert grown(small, n, to) == pytest.approx(large, rel=0.1)


@pytest.mark.parametrize("spread", [math.inf, 2.0, 0.3, 1e-3])
def test_growth_goes_back_and_on_and_its_ends_stay(spread: float) -> None:
    for rate in (1e-6, 1e-3, 0.2, 0.6):
        on = grown(rate, 1000, 3000, dispersion=spread)
        assert grown(on, 3000, 1000, dispersion=spread) == pytest.approx(rate)
        assert grown(grown(rate, 1, 2, dispersion=spread), 2, 3, dispersion=spread) == pytest.approx(on)
        assert rate <= on <= grown(rate, 1000, 3000)
        assert grown(rate, 10, 10, dispersion=spread) == pytest.approx(rate)
    assert (grown(0.0, 10, 20, dispersion=spread), grown(1.0, 10, 20, dispersion=spread)) == (0, 1)
    assert grown(shrunk(1e-3, 1000, 3000), 1000, 3000) == pytest.approx(1e-3)


@pytest.mark.parametrize("spread", [0.05, 0.5, 3.0])
def test_the_dispersion_of_negative_binomial_matches_is_found_and_predicts(spread: float) -> None:
    rng = np.random.default_rng(1)
    rates = 0.3 / spread * rng.gamma(spread, size=40_000)
    found = dispersion(counted(rng.poisson(rates)), 0.5)
    assert found == pytest.approx(spread, rel=0.3)
    small, large = ((rng.poisson(times * rates) > 0).mean() for times in (1, 6))
    assert grown(small, 1000, 6000, dispersion=found) == pytest.approx(large, rel=0.08)
    assert dispersion(counted(rng.poisson(rates)), 0.5, high=True) < 1.05 * found


def test_references_that_do_not_cluster_have_no_dispersion() -> None:
    rng = np.random.default_rng(2)
    assert dispersion(counted(rng.poisson(0.3, 40_000)), 0.5) > 10
    assert dispersion(counted(np.minimum(rng.poisson(0.3, 40_000), 1)), 0.5) == math.inf
    assert dispersion(np.full((10, 3), 0.2), 0.5) == math.inf
    assert dispersion(np.full((10, 3), 0.9), 0.5) == math.inf


def test_thinning_is_the_mean_over_subsamples() -> None:
    rng = np.random.default_rng(1)
    similarities = np.sort(rng.random((400, 12)) * rng.random((400, 1)), axis=1)[:, ::-1]
    drawn = np.mean([(np.where(rng.random(similarities.shape) < 0.3, similarities, -1).max(axis=1) >= 0.7).mean()
                     for _ in range(600)])  # fmt: skip
    assert thinned(similarities, 0.7, 0.3) == pytest.approx(drawn, abs=0.003)


def test_the_formula_bounds_clustered_references() -> None:
    """References in groups of four that are reached together: half of them reach nearly as much as all."""
    rng = np.random.default_rng(2)
    grouped = np.repeat(rng.random((5000, 2)) ** 0.1, 4, axis=1)
    small, full = thinned(grouped, 0.99, 0.5), thinned(grouped, 0.99, 1.0)
    assert small < full < grown(small, 100, 200)
    assert dispersion(grouped, 0.99) < 1


def test_the_error_of_drawing_references_is_the_spread_between_indexes() -> None:
    """Ten of 100 references are matched by a tenth of the pictures each time one of them is in the index."""
    rng = np.random.default_rng(3)
    n, count = 4000, 100
    rates, errors = [], []
    for _ in range(200):
        attraction = rng.gamma(0.1, 0.1, count) * 0.1  # of each reference: the share of pictures that match it
        matches = rng.random((n, count)) < attraction
        rates.append(matches.any(axis=1).mean())
        top = -np.sort(-matches.astype(np.float32), axis=1)[:, :2]
        errors.append(drawing_error(top, matches.argmax(axis=1), 0.5))
    spread = np.std(np.log(rates))
    assert np.sqrt(np.mean(np.square(errors))) == pytest.approx(spread, rel=0.25)


def test_references_that_are_all_alike_add_no_error() -> None:
    top = np.array([[0.9, 0.1]] * 50 + [[0.2, 0.1]] * 50, np.float32)
    assert drawing_error(top, np.arange(100), 0.5) == 0
    assert drawing_error(top, np.arange(100), 0.95) == 0
    assert drawing_error(top, np.zeros(100, np.int64), 0.5) == pytest.approx(1, rel=0.02)
