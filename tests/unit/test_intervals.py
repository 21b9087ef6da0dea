"""Intervals against published and simulated values."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guard.evaluation.intervals import (
    clopper_pearson,
    clustered_mean,
    difference_of_rates,
    paired_difference,
    wilson,
)


def test_wilson_against_worked_values() -> None:
    """15 of 148: 0.0624 to 0.1605 (Newcombe 1998, table I, method 3)."""
    interval = wilson(15, 148)
    assert (interval.low, interval.high) == pytest.approx((0.0624, 0.1605), abs=5e-5)
    assert wilson(0, 20).low == 0
    assert wilson(20, 20).high == 1
    assert (wilson(0, 0).low, wilson(0, 0).high) == (0, 1)


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_holds_its_value(counts: tuple[int, int]) -> None:
    hits, n = counts
    interval = wilson(hits, n)
    assert 0 <= interval.low <= interval.value <= interval.high <= 1


@pytest.mark.parametrize(
    ("hits", "n"), [(0, 10), (3, 100), (10, 10), (1, 10_000), (997, 1000), (2.5, 80.25), (400, 100_000)]
)
def test_clopper_pearson_against_quantiles_of_the_beta_distribution(hits: float, n: float) -> None:
    beta = pytest.importorskip("scipy.stats", reason="the reference is scipy's").beta
    interval = clopper_pearson(hits, n)
    expected = (
        0.0 if hits == 0 else beta.ppf(0.025, hits, n - hits + 1),
        1.0 if hits == n else beta.ppf(0.975, hits + 1, n - hits),
    )
    assert (interval.low, interval.high) == pytest.approx(expected, rel=1e-8)
    assert interval.value == hits / n


def test_clopper_pearson_of_nothing() -> None:
    assert (clopper_pearson(0, 0).low, clopper_pearson(0, 0).high) == (0, 1)
    assert clopper_pearson(0, 3000).high == pytest.approx(1 - 0.025 ** (1 / 3000))


def test_clustered_mean_covers_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for trial in range(200):
        rates = rng.beta(2, 5, size=25)
        interval = clustered_mean(rates.tolist(), resamples=400, seed=trial)
        covered += interval.low <= 2 / 7 <= interval.high
    assert 0.87 <= covered / 200 <= 1


def test_one_cluster_and_none() -> None:
    assert clustered_mean([0.25]).low == clustered_mean([0.25]).high == 0.25
    assert clustered_mean([]).high == 1


def test_difference_of_independent_rates() -> None:
    """Newcombe 1998a, example (a): 56 of 70 against 48 of 80."""
    found = difference_of_rates(56, 70, 48, 80)
    assert found.value == pytest.approx(0.2)
    assert (found.low, found.high) == pytest.approx((0.0524, 0.3339), abs=5e-5)
    assert difference_of_rates(0, 0, 3, 5).low == -1


def test_paired_difference_covers_the_truth() -> None:
    """Of pairs that mostly agree, the interval holds the true difference in about 95 of 100 draws, and is narrower."""
    rng = np.random.default_rng(0)
    shares = np.array([0.4, 0.15, 0.05, 0.4])  # both, first, second, neither: a difference of 0.1
    draws = rng.multinomial(60, shares, size=2_000)
    intervals = [paired_difference(*(int(count) for count in draw)) for draw in draws]
    covered = np.mean([i.low <= 0.1 <= i.high for i in intervals])
    assert 0.93 <= covered <= 0.985
    unpaired = difference_of_rates(33, 60, 27, 60)
    paired = paired_difference(24, 9, 3, 24)
    assert paired.value == pytest.approx(unpaired.value)
    assert paired.high - paired.low < unpaired.high - unpaired.low


def test_paired_difference_at_the_ends() -> None:
    nothing = paired_difference(0, 0, 0, 0)
    assert np.isnan(nothing.value)
    assert (nothing.low, nothing.high) == (-1, 1)
    assert paired_difference(5, 0, 0, 5).value == 0
    everything = paired_difference(0, 20, 0, 0)
    assert everything.value == 1
    assert 0.7 < everything.low < everything.high <= 1
