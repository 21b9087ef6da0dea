"""Metrics against slow obvious forms: plain loops over repeated lists instead of weights and cumulative sums."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from guard.evaluation.metrics import micro_ap, pair_rate, rate, rate_above, resampled, thresholds

LEVELS = st.sampled_from([-1.0, 0.0, 0.25, 0.5, 0.75, 1.0])  # few, so that ties are many
UNITS = 4


@st.composite
def queries(draw: st.DrawFn, least: int = 1) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(similarity, unit, weights (2, UNITS)): the first row of weights is ones."""
    n = draw(st.integers(least, 25))
    similarity = np.array(draw(st.lists(LEVELS, min_size=n, max_size=n)), np.float32)
    units = np.array(draw(st.lists(st.integers(0, UNITS - 1), min_size=n, max_size=n)), np.intp)
    weights = np.ones((2, UNITS))
    weights[1] = draw(st.lists(st.integers(0, 3), min_size=UNITS, max_size=UNITS))
    return similarity, units, weights


def repeated(values: np.ndarray, units: np.ndarray, weights: np.ndarray) -> list[float]:
    """The sample that the weights stand for."""
    return [v for v, u in zip(values.tolist(), units.tolist(), strict=True) for _ in range(int(weights[u]))]


@given(queries(), st.sampled_from([0.3, 0.1, 0.05, 0.01]))
@example((np.zeros(20, np.float32), np.zeros(20, np.intp), np.ones((2, UNITS))), 0.1)
def test_thresholds_against_trying_each(data: tuple[np.ndarray, np.ndarray, np.ndarray], fpr: float) -> None:
    """The lowest level above which at most the share fpr of the negatives lies."""
    similarity, units, weights = data
    found = thresholds(similarity, units, weights, fpr)
    for row, limit in zip(weights, found, strict=True):
        sample = repeated(similarity, units, row)
        if not sample:
            assert limit == math.inf
            continue
        fits = [t for t in sample if sum(v > t for v in sample) <= fpr * len(sample) * (1 + 1e-12)]
        assert limit == min(fits)


@given(queries(), LEVELS)
def test_rate_above_against_counting(data: tuple[np.ndarray, np.ndarray, np.ndarray], level: float) -> None:
    similarity, units, weights = data
    found = rate_above(similarity, units, weights, np.array([level, level]))
    hits = rate(similarity > level, units, weights)
    for row, one, other in zip(weights, found, hits, strict=True):
        sample = repeated(similarity, units, row)
        wanted = sum(v > level for v in sample) / len(sample) if sample else math.nan
        assert one == pytest.approx(wanted, nan_ok=True)
        assert other == pytest.approx(wanted, nan_ok=True)


@given(queries(), st.data())
def test_micro_ap_against_a_loop(data: tuple[np.ndarray, np.ndarray, np.ndarray], more: st.DataObject) -> None:
    similarity, units, weights = data
    n = len(similarity)
    correct = np.array(more.draw(st.lists(st.booleans(), min_size=n, max_size=n)))
    positive = correct | np.array(more.draw(st.lists(st.booleans(), min_size=n, max_size=n)))
    found = micro_ap(similarity, correct, units, positive, weights)
    assert found[0] == pytest.approx(slow_ap(similarity, correct, positive), nan_ok=True)


def slow_ap(similarity: np.ndarray, correct: np.ndarray, positive: np.ndarray) -> float:
    """Wrong ones first among equals; precision at each right one, over all positives."""
    ranked = sorted(zip((-similarity).tolist(), correct.tolist(), strict=True))
    right, total = 0, 0.0
    for place, (_, is_right) in enumerate(ranked, start=1):
        right += is_right
        total += right / place if is_right else 0
    return total / positive.sum() if positive.any() else math.nan


def test_micro_ap_of_a_resample_is_that_of_the_repeated_sample() -> None:
    """Exactly, where no two right answers of one rank share a unit's repetition: precision after whole blocks."""
    similarity = np.array([0.9, 0.8, 0.7, 0.6], np.float32)
    correct = np.array([True, False, True, False])
    found = micro_ap(similarity, correct, np.arange(4), np.array([True, False, True, True]),
                     np.array([[1.0, 1, 1, 1], [1, 2, 1, 0]]))  # fmt: skip
    assert found.tolist() == pytest.approx([(1 + 2 / 3) / 3, (1 + 2 / 4) / 2])


def test_ties_are_against_us() -> None:
    same = np.full(10, 0.5, np.float32)
    units, weights = np.arange(10), np.ones((1, 10))
    limit = thresholds(same, units, weights, 0.01)
    assert rate_above(same, units, weights, limit)[0] == 0
    positive = np.arange(10) < 5
    assert micro_ap(same, positive, units, positive, weights)[0] == pytest.approx(
        sum((i + 1) / (i + 6) for i in range(5)) / 5
    )


def test_few_negatives_give_the_largest_and_none_gives_nothing() -> None:
    weights = np.ones((1, 3))
    assert thresholds(np.array([0.1, 0.7, 0.4]), np.arange(3), weights, 0.001)[0] == 0.7
    assert thresholds(np.zeros(0), np.zeros(0, np.intp), weights, 0.01)[0] == math.inf
    assert math.isnan(rate_above(np.zeros(0), np.zeros(0, np.intp), weights, np.array([0.5]))[0])


def test_pairs_against_two_loops() -> None:
    rng = np.random.default_rng(0)
    hits, valid = (m | m.T for m in (rng.random((6, 6)) < 0.3, rng.random((6, 6)) < 0.5))
    weights = rng.integers(0, 3, (3, 6)).astype(float)
    for row, found in zip(weights, pair_rate(hits, valid, weights), strict=True):
        pairs = [(row[i] * row[j], hits[i, j]) for i in range(6) for j in range(6) if valid[i, j]]
        assert found == pytest.approx(sum(w * h for w, h in pairs) / sum(w for w, _ in pairs))


def test_resamples_keep_every_group_at_its_size() -> None:
    weights = resampled([0, 0, 1, 1, 1], 50, seed=1)
    assert (weights[0] == 1).all()
    assert (weights[:, :2].sum(axis=1) == 2).all()
    assert (weights[:, 2:].sum(axis=1) == 3).all()
    np.testing.assert_array_equal(weights, resampled([0, 0, 1, 1, 1], 50, seed=1))
