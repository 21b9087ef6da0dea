"""Growth with the number of references, against simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest

from guard.calibration.growth import exponent, grown, shrunk, thinned


def test_independent_references_grow_as_the_formula_says() -> None:
    rng = np.random.default_rng(0)
    p, n, to = 2e-4, 500, 2000
    hits = rng.random((20_000, 4)) < -math.expm1(n * math.log1p(-p))  # four lots of n references
    small, large = hits[:, 0].mean(), hits.any(axis=1).mean()
    assert grown(-math.expm1(n * math.log1p(-p)), n, to) == pytest.approx(-math.expm1(to * math.log1p(-p)))
    assert grown(small, n, to) == pytest.approx(large, rel=0.1)


def test_shrunk_undoes_grown_and_the_ends_stay() -> None:
    for rate in (1e-6, 1e-3, 0.2):
        assert grown(shrunk(rate, 1000, 3000), 1000, 3000) == pytest.approx(rate)
    assert (grown(0.0, 10, 20), grown(1.0, 10, 20), grown(0.3, 10, 10)) == (0, 1, pytest.approx(0.3))


def test_thinning_is_the_mean_over_subsamples() -> None:
    rng = np.random.default_rng(1)
    similarities = np.sort(rng.random((400, 12)) * rng.random((400, 1)), axis=1)[:, ::-1]
    drawn = np.mean([(np.where(rng.random(similarities.shape) < 0.3, similarities, -1).max(axis=1) >= 0.7).mean()
                     for _ in range(600)])  # fmt: skip
    assert thinned(similarities, 0.7, 0.3) == pytest.approx(drawn, abs=0.003)


def test_clustered_references_grow_slower_and_the_formula_is_the_upper_bound() -> None:
    """References in groups of four that are reached together: half of them reach nearly as much as all."""
    rng = np.random.default_rng(2)
    alone = rng.random((5000, 8)) ** 0.1
    grouped = np.repeat(alone[:, ::4], 4, axis=1)
    at = 0.99
    assert exponent(alone, at) == pytest.approx(1, abs=0.1)
    assert exponent(grouped, at) < 0.3
    for share in (0.25, 0.5):
        small, full = thinned(grouped, at, share), thinned(grouped, at, 1.0)
        assert full <= grown(small, 100, round(100 / share))
        slope = exponent(grouped, at, share=share)
        assert grown(small, 100, round(100 / share), exponent=slope) == pytest.approx(full, rel=1e-6)


def test_without_a_match_there_is_no_exponent() -> None:
    assert math.isnan(exponent(np.full((10, 3), 0.2), 0.5))
