"""The generalised Pareto fit against known distributions and scipy."""

from __future__ import annotations

import numpy as np
import pytest

from guard.calibration.gpd import Gpd, anderson_darling, fit, goodness_of_fit, likely


def drawn(shape: float, scale: float, n: int, seed: int) -> np.ndarray:
    return Gpd(shape, scale).quantile(np.random.default_rng(seed).uniform(1e-12, 1, n))


@pytest.mark.parametrize("shape", [-0.4, -0.1, 0.0, 0.3])
def test_survival_and_quantile_are_scipys_and_each_other_s_inverse(shape: float) -> None:
    genpareto = pytest.importorskip("scipy.stats", reason="the reference is scipy's").genpareto
    y = np.linspace(0, 0.19, 30)
    gpd = Gpd(shape, 0.08)
    np.testing.assert_allclose(gpd.survival(y), genpareto.sf(y, shape, scale=0.08), rtol=1e-6)
    above = gpd.survival(y)
    np.testing.assert_allclose(gpd.quantile(above[above > 1e-6]), y[above > 1e-6], atol=1e-7)


def test_beyond_its_end_nothing_survives() -> None:
    assert Gpd(-0.5, 0.1).survival([0.19, 0.2, 0.5]).tolist() == pytest.approx([0.0025, 0, 0])


@pytest.mark.parametrize("shape", [-0.3, -0.1, 0.2])
def test_the_fit_finds_the_parameters(shape: float) -> None:
    found = np.array([(one.shape, one.scale) for seed in range(40) for one in [fit(drawn(shape, 0.05, 500, seed))]])
    # Zhang and Stephens report a bias well below the standard error, which is about (1 + shape) / sqrt(n)
    assert found[:, 0].mean() == pytest.approx(shape, abs=0.03)
    assert found[:, 1].mean() == pytest.approx(0.05, rel=0.04)
    assert found[:, 0].std() < 1.5 * (1 + shape) / np.sqrt(500)


def test_the_order_of_the_excesses_does_not_matter() -> None:
    x = drawn(-0.1, 0.05, 200, 3)
    assert fit(x) == fit(x[::-1])
    assert anderson_darling(x, fit(x)) == anderson_darling(np.sort(x), fit(x))


def test_what_fits_is_accepted_about_as_often_as_it_says() -> None:
    ps = []
    for seed in range(60):
        x = drawn(-0.15, 0.05, 150, seed)
        ps.append(goodness_of_fit(x, fit(x), resamples=99, seed=seed)[1])
    assert 0.02 <= np.mean(np.array(ps) < 0.2) <= 0.4  # 0.2 expected, 60 trials


def test_two_humps_are_refused() -> None:
    """A tail that a second population joins is no generalised Pareto tail."""
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.exponential(0.02, 300), rng.normal(0.3, 0.01, 60)])
    assert goodness_of_fit(x, fit(x), resamples=199)[1] < 0.02


def test_doubled_excesses_count_once() -> None:
    x = drawn(-0.1, 0.05, 250, 1)
    twice = np.concatenate([x, x])
    once, p = goodness_of_fit(x, fit(x), seed=5)
    statistic, doubled = goodness_of_fit(twice, fit(twice), design_effect=2, seed=5)
    assert statistic == pytest.approx(once, rel=0.1)
    assert doubled == pytest.approx(p, abs=0.1)


def test_the_likelihood_region_covers_the_true_quantile() -> None:
    """Of 95 % intervals, with room for 100 trials."""
    true = Gpd(-0.1, 0.05)
    wanted = float(true.quantile(0.01))
    covered = 0
    for seed in range(100):
        x = drawn(true.shape, true.scale, 120, seed)
        region = likely(x, fit(x))
        ends = [float(Gpd(float(a), float(b)).quantile(0.01)) for a, b in zip(region.shape, region.scale, strict=True)]
        covered += min(ends) <= wanted <= max(ends)
    assert 88 <= covered <= 100


def test_clustering_widens_the_region() -> None:
    x = drawn(-0.1, 0.05, 300, 2)
    narrow, wide = likely(x, fit(x)), likely(x, fit(x), design_effect=2)
    assert np.ptp(wide.shape) > 1.2 * np.ptp(narrow.shape)
