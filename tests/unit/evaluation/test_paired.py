"""Differences of two entrants on the same queries."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from guard.errors import ConfigError
from guard.evaluation.edits import EDITS
from guard.evaluation.paired import difference, holm, p_below, paired
from guard.evaluation.pictures import PictureFile
from guard.evaluation.protocol import Plan, Results, evaluate, plan, summary
from guard.evaluation.scores import Scores

SOME = [EDITS[name] for name in ("blur", "flip_horizontal")]
N = 60


@pytest.fixture(scope="module")
def drawn() -> Plan:
    return plan([PictureFile(Path(f"{i}.png"), f"group{i % 2}", f"{i:064}", i) for i in range(N + 3)], splits=2)


def scores(drawn: Plan, *, found: float, lost: int = 0) -> Scores:
    """Each query finds its own with a probability; of the first `lost` pictures, which are drawn alike, none does."""
    n = len(drawn.pictures)
    rng = np.random.default_rng(5)
    own = np.where(rng.random((n, 3)) < found, 0.9, 0.1).astype(np.float32)
    own[:lost] = 0.1
    best_other = rng.uniform(0.2, 0.6, (2, n, 3)).astype(np.float32)
    return Scores(own[None], best_other, rng.uniform(0, 0.5, (1, n, n)).astype(np.float32))


def results(drawn: Plan, *, resamples: int = 200, **how: float) -> Results:
    return evaluate(drawn, SOME, scores(drawn, **how), resamples=resamples)  # type: ignore[arg-type]


def test_an_entrant_does_not_differ_from_itself(drawn: Plan) -> None:
    one = results(drawn, found=0.7)
    for by_edit in paired(one, one).values():
        for found in by_edit.values():
            for interval in (found.recall_at_1, found.micro_ap, *found.recall_at_fpr.values()):
                assert (interval.value, interval.low, interval.high) == (0, 0, 0)


def test_a_small_loss_shows_in_the_difference_where_the_intervals_overlap(drawn: Plan) -> None:
    better, worse = results(drawn, found=0.6), results(drawn, found=0.6, lost=8)
    apart = [summary(one.figures["pooled"]["all_edits"].recall_at_fpr[0.01]) for one in (better, worse)]
    assert apart[0].low < apart[1].high  # each by itself says nothing
    found = paired(better, worse)["pooled"]["all_edits"].recall_at_fpr[0.01]
    assert found.value == pytest.approx(apart[0].value - apart[1].value)
    assert 0 < found.low <= found.value <= found.high
    other_way = paired(worse, better)["pooled"]["all_edits"].recall_at_fpr[0.01]
    assert (other_way.value, other_way.low, other_way.high) == pytest.approx((-found.value, -found.high, -found.low))


def test_the_file_names_every_figure(drawn: Plan) -> None:
    found = paired(results(drawn, found=0.6), results(drawn, found=0.5))
    assert set(found) == {"group0", "group1", "pooled"}
    assert list(found["group0"]) == ["blur", "flip_horizontal", "family:photometric", "family:geometric", "all_edits"]
    document = json.loads(json.dumps(found["group1"]["all_edits"].to_dict(), allow_nan=False))
    assert set(document) == {"recall_at_fpr", "recall_at_own_fpr", "recall_at_1", "micro_ap"}
    assert set(document["recall_at_fpr"]) == {"0.01", "0.001", "0.0001"}
    assert document["recall_at_1"]["low"] <= document["recall_at_1"]["value"] <= document["recall_at_1"]["high"]


def test_what_was_not_evaluated_alike_is_refused(drawn: Plan) -> None:
    one = results(drawn, found=0.6)
    with pytest.raises(ConfigError, match="one number"):
        paired(one, results(drawn, found=0.6, resamples=50))
    with pytest.raises(ConfigError, match="one plan"):
        paired(one, evaluate(drawn, SOME[:1], scores(drawn, found=0.6), resamples=200))


def test_nothing_to_count_is_no_difference() -> None:
    nothing = np.full(5, np.nan)
    found = difference(nothing, np.ones(5))
    assert np.isnan(found.value)
    assert (found.low, found.high) == (-1, 1)
    found = difference(np.array([0.5, np.nan, 0.4]), np.array([0.25, 0.0, 0.2]))  # a resample without queries
    assert (found.value, found.low, found.high) == pytest.approx((0.25, 0.2, 0.25))


def test_holm_after_its_definition() -> None:
    adjusted = holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": float("nan")})
    assert adjusted["a"] == pytest.approx(0.03)
    assert adjusted["c"] == adjusted["b"] == pytest.approx(0.06)  # 2 * 0.03, and never less than one before
    assert np.isnan(adjusted["d"])
    assert holm({"a": 0.9, "b": 0.8}) == {"a": 1.0, "b": 1.0}


def test_p_of_being_below() -> None:
    a, b = np.full(1001, 0.5), np.full(1001, 0.4)
    assert p_below(b, a) == pytest.approx(1 / 1001)
    assert p_below(a, b) == p_below(a, a) == 1
    half = np.concatenate([[0.4], np.where(np.arange(1000) % 2, 0.3, 0.5)])
    assert p_below(half, b) == pytest.approx(501 / 1001)
    assert np.isnan(p_below(np.full(5, np.nan), a[:5]))
