"""Rates and thresholds of samples whose distribution is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guard.calibration.rates import Rates
from guard.calibration.sample import GRID, Sample
from guard.calibration.tail import Tail, TailRefused, fit_tail
from guard.errors import ConfigError

N = 2000


def similarities(n: int, seed: int, concentration: float = 40.0) -> np.ndarray:
    """Largest of 50 values of a Beta distribution: bounded, with an upper tail of shape about -1/25."""
    return np.random.default_rng(seed).beta(10, concentration, (n, 50)).max(axis=1)


def true_rate(threshold: float) -> float:
    beta = pytest.importorskip("scipy.stats", reason="the true distribution is scipy's").beta
    return float(-np.expm1(50 * np.log1p(-beta.sf(threshold, 10, 40))))


def rates(sample: Sample) -> Rates:
    try:
        return Rates(sample, fit_tail(sample))
    except TailRefused as exc:
        return Rates(sample, None, str(exc))


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=40), st.integers(0, 3), st.floats(-1, 1))
def test_a_sample_counts_as_the_plain_comparison_does(values: list[float], identical: int, threshold: float) -> None:
    sample = Sample.of(values, identical=identical)
    at = round(threshold / GRID) * GRID
    rounded = np.ceil(np.array(values) / GRID - 1e-6) * GRID
    assert sample.reaching(at) == identical + int((rounded >= at - 1e-9).sum())
    assert sample.n == len(values) + identical
    for most in range(identical, sample.n + 1):
        lowest = sample.reached_by(most)
        assert sample.reaching(lowest) <= most
        assert most == sample.n or sample.reaching(lowest - GRID) > most


def test_pictures_that_match_nothing_count_as_pictures() -> None:
    sample = Sample.of([0.3, -np.inf, 0.5])
    assert (sample.n, int(sample.counts.sum()), sample.reaching(-1)) == (3, 2, 2)


def test_where_data_suffice_the_bound_of_the_count_decides() -> None:
    sample = Sample.of(np.arange(N) / N)
    found = rates(sample).threshold(0.05)
    assert found.method == "empirical"
    assert found.estimate == pytest.approx(0.95, abs=1e-3)
    assert found.low < found.estimate < found.similarity
    interval = Rates(sample, None).rate(found.similarity)
    assert interval.high <= 0.05 < Rates(sample, None).rate(found.similarity - 1 / N).high


def test_the_tail_goes_on_where_the_counts_end() -> None:
    found = rates(Sample.of(similarities(N, 1)))
    assert found.tail is not None
    at = found.tail.start + 2 * GRID
    assert found.rate(at).value == pytest.approx(found.rate(at - 3 * GRID).value, rel=0.05)
    empirical, beyond = found.threshold(0.006), found.threshold(0.004)
    assert (empirical.method, beyond.method) == ("empirical", "tail")
    assert empirical.estimate < beyond.estimate
    assert beyond.low < beyond.estimate < beyond.similarity


def test_rate_and_threshold_are_inverses_in_the_tail() -> None:
    found = rates(Sample.of(similarities(N, 2)))
    for wanted in (3e-3, 1e-3, 1e-4):
        threshold = found.threshold(wanted)
        assert found.rate(threshold.estimate).value == pytest.approx(wanted, rel=1e-6)
        assert found.rate(threshold.similarity).high == pytest.approx(wanted, rel=0.05)  # the grid rounds it up


@pytest.mark.slow
def test_intervals_cover_the_true_rate() -> None:
    """Fitted on 2,000, at the similarity that one in 10,000 reaches; 95 % nominal, 60 trials."""
    at = float(np.quantile(similarities(400_000, 99), 1 - 1e-4))
    truth = true_rate(at)
    covered = kept = refused = 0
    for seed in range(60):
        found = rates(Sample.of(similarities(N, seed)))
        if found.tail is None:
            refused += 1
            continue
        interval = found.rate(at)
        covered += interval.low <= truth <= interval.high
        kept += true_rate(found.threshold(1e-3).similarity) <= 1e-3
    judged = 60 - refused
    assert judged >= 50
    assert covered >= 0.88 * judged
    assert kept >= 0.9 * judged  # 97.5 % nominal


def test_what_the_data_do_not_support_is_refused_with_what_is_missing() -> None:
    found = rates(Sample.of(similarities(N, 3)))
    with pytest.raises(ConfigError, match=r"give 8000 more clean pictures \(10000 in all\)"):
        found.threshold(1e-5)
    few = rates(Sample.of(similarities(300, 3)))
    assert few.tail is None
    with pytest.raises(ConfigError, match=r"too few for a tail.*give 3389 more"):
        few.threshold(1e-3)
    assert few.threshold(0.02).method == "empirical"  # no count would do, but the bound of none is 1.2 %


def test_a_second_population_is_not_extrapolated() -> None:
    """60 near-duplicates that nobody excluded: no tail, and so no rate beyond the data."""
    rng = np.random.default_rng(0)
    mixed = np.concatenate([similarities(N - 60, 4), rng.normal(0.93, 0.005, 60)])
    found = rates(Sample.of(mixed))
    assert found.tail is None
    assert "no generalised Pareto tail" in found.refused
    with pytest.raises(ConfigError, match=r"do not support a rate of 0\.0001"):
        found.threshold(1e-4)
    assert found.threshold(0.01).similarity > 0.9


def test_identical_pictures_match_at_any_threshold() -> None:
    found = rates(Sample.of(similarities(N, 5), identical=4))
    assert found.rate(0.999).value == pytest.approx(4 / (N + 4), rel=0.1)
    with pytest.raises(ConfigError, match="4 of 2004 clean pictures are identical"):
        found.threshold(1e-3)
    assert found.threshold(0.02).similarity > Rates(Sample.of(similarities(N, 5)), None).threshold(0.02).similarity


def test_design_effects_widen() -> None:
    values = similarities(N, 6)
    alone, twice = (Sample.of(values, design_effect=d) for d in (1, 2))
    assert rates(twice).threshold(0.05).similarity > rates(alone).threshold(0.05).similarity
    assert isinstance(fit_tail(twice), Tail)
    assert fit_tail(twice).threshold(1e-3).high > fit_tail(alone).threshold(1e-3).high


def test_a_threshold_above_the_largest_similarity_is_refused() -> None:
    values = np.random.default_rng(0).exponential(0.15, N)  # its tail has no end
    with pytest.raises(ConfigError, match=r"no similarity keeps a rate of 0\.0001"):
        rates(Sample.of(values[values < 1])).threshold(1e-4)
