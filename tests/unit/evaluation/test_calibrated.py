"""Predicted against observed rates, of descriptors whose distribution is known."""

from __future__ import annotations

import numpy as np
import pytest

from guard.errors import ConfigError
from guard.evaluation.calibrated import Pool, evaluate_calibration, predictive
from guard.evaluation.intervals import Interval, clopper_pearson


def pool(n: int, *, dim: int = 12, clusters: int = 0, a_source: int = 1, seed: int = 0) -> Pool:
    """Directions at random; with clusters, around so many of them, one of four groups each."""
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((n, dim))
    groups = ("all",) * n
    if clusters:
        of = rng.integers(0, clusters, n)
        rows += 2 * rng.standard_normal((clusters, dim))[of]
        groups = tuple(f"g{i % 4}" for i in of)
    sources = np.arange(n) // a_source
    rows = rows[sources] + 0.1 * rows if a_source > 1 else rows
    unit = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return Pool(unit, sources, groups)


def coverage(document: dict, kind: str) -> dict:
    return next(c for c in document["coverage"] if c["kind"] == kind and c["references"] is None)


@pytest.mark.slow
def test_predictions_hold_for_independent_pictures() -> None:
    document = evaluate_calibration(pool(1600), [100, 400], resamples=20, targets=(0.2, 0.1, 0.05))
    assert document["sizes"] == [100, 400]
    for kind in ("size", "growth"):
        found = coverage(document, kind)
        assert found["judged"] >= 20, kind
        assert found["share"] >= 0.9, kind


@pytest.mark.slow
def test_a_tail_above_a_tenth_predicts_a_hundredth() -> None:
    document = evaluate_calibration(pool(4800), [100], resamples=20, targets=(0.1,))
    found = coverage(document, "tail")
    assert found["judged"] + document["refused"]["tail"] == 20
    assert found["judged"] >= 14
    assert found["inside"] >= 0.75 * found["judged"]  # 0.94 of 228 samples that share no picture; these do


@pytest.mark.slow
def test_clustered_references_stay_within_or_below() -> None:
    document = evaluate_calibration(pool(1600, clusters=40), [100, 400], resamples=15, targets=(0.2, 0.1, 0.05))
    assert coverage(document, "size")["share"] >= 0.88
    grew = coverage(document, "growth")
    assert grew["share"] >= 0.8
    assert grew["above"] <= 0.05 * grew["judged"]  # the bound holds whatever clusters there are
    assert coverage(document, "groups")["judged"] > 0


def test_one_seed_gives_one_document_and_sources_stay_together() -> None:
    some = pool(400, a_source=4)
    first, again = (evaluate_calibration(some, [50], resamples=3, seed=5) for _ in range(2))
    assert first == again
    assert first != evaluate_calibration(some, [50], resamples=3, seed=6)
    assert first["sources"] == 100
    # Thirteen sources hold 50 references; of the 87 others one half is checked, with one picture each.
    assert {point["pictures"] for point in first["points"] if point["kind"] == "size"} == {44}
    # Had a source been split, nearly every clean picture would find its own kind at 0.99.
    assert all(point["observed"] <= point["pictures"] * 0.6 for point in first["points"])


@pytest.mark.parametrize("rate", [0.012, 0.03, 0.2])
def test_the_predictive_interval_covers_what_a_second_sample_shows(rate: float) -> None:
    rng = np.random.default_rng(0)
    covered = judged = 0
    for _ in range(1200):
        found = clopper_pearson(int(rng.binomial(1000, rate)), 1000)
        seen = rng.binomial(900, rate) / 900
        if found.value * 900 < 10:  # as the evaluation judges
            continue
        low, high = predictive(found, 900)
        judged += 1
        covered += low <= seen <= high
    assert 0.93 <= covered / judged <= 0.99
    assert predictive(Interval(0.02, 0.0, 0.05), 100)[0] == 0
    assert predictive(found, 900, error=0.3)[1] > high


def test_what_cannot_be_had_is_said() -> None:
    document = evaluate_calibration(pool(200), [50, 1000], resamples=1)
    assert (document["sizes"], document["sizes_left_out"]) == ([50], [1000])
    with pytest.raises(ConfigError, match=r"no size of \[1000\]"):
        evaluate_calibration(pool(200), [1000], resamples=1)
    with pytest.raises(ConfigError, match="20 sources are too few"):
        evaluate_calibration(pool(20), [5], resamples=1)


def test_the_nearest_are_the_same_whatever_is_compared_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    some = pool(300)
    whole = evaluate_calibration(some, [50, 120], resamples=2)
    monkeypatch.setattr("guard.evaluation.nearest.BLOCK", 31)
    parts = evaluate_calibration(some, [50, 120], resamples=2)
    assert [point["observed"] for point in parts["points"]] == [point["observed"] for point in whole["points"]]
