"""From similarities to a decision and its reasons."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guard import ConfigError, Decision, Match, Policy, Record
from guard.embedders.base import Thresholds
from guard.policy import decide


def match(similarity: float, *, cluster: int = 1) -> Match:
    return Match(Record(7, "a.png", "", cluster_size=cluster), similarity)


@pytest.mark.parametrize(
    ("similarity", "decision"),
    [(0.5, Decision.FLAG), (0.4999, Decision.ALLOW), (0.8, Decision.BLOCK), (0.7999, Decision.FLAG)],
)
def test_bounds_are_inclusive(similarity: float, decision: Decision) -> None:
    assert decide([match(similarity)], flag=0.5, block=0.8).decision is decision


def test_what_matched_is_listed_nearest_first() -> None:
    verdict = decide([match(0.9, cluster=12), match(0.6), match(0.2)], flag=0.5, block=0.8)
    assert [m.similarity for m in verdict.matches] == [0.9, 0.6]
    assert "0.900 to a.png reaches block 0.800" in verdict.reasons[0]
    assert any("12 times" in reason for reason in verdict.reasons)


def test_the_nearest_is_shown_even_if_nothing_matched() -> None:
    verdict = decide([match(0.2), match(0.1)], flag=0.5, block=0.8)
    assert [m.similarity for m in verdict.matches] == [0.2]
    assert decide([], flag=0.5, block=0.8).reasons == ("the index is empty, below flag 0.500",)


def test_too_little_detail_never_counts() -> None:
    verdict = decide([match(1.0)], flag=0.5, block=0.8, usable=False)
    assert verdict.decision is Decision.ALLOW
    assert "too little detail" in verdict.reasons[0]


@pytest.mark.parametrize(
    ("input_similarity", "own_input", "decision"),
    [
        (0.9, "allow", Decision.ALLOW),
        (0.9, "flag", Decision.FLAG),
        (0.9, "ignore", Decision.BLOCK),
        (0.85, "allow", Decision.BLOCK),  # the training image is nearer than the input: memorised
        (0.3, "allow", Decision.BLOCK),
        (None, "allow", Decision.BLOCK),
    ],
)
def test_an_echo_of_the_input_is_no_memorisation(input_similarity, own_input, decision) -> None:
    verdict = decide([match(0.9)], flag=0.5, block=0.8, input_similarity=input_similarity, own_input=own_input)
    assert verdict.decision is decision


def test_unset_thresholds_come_from_the_embedder() -> None:
    advice = Thresholds(0.6, 0.8, "measured")
    assert Policy().resolve(advice) == (0.6, 0.8)
    assert Policy(block=0.5).resolve(advice) == (0.5, 0.5)
    assert Policy(flag=0.9).resolve(advice) == (0.9, 0.9)
    with pytest.raises(ConfigError, match=r"policy\.flag is not set"):
        Policy(block=0.5).resolve(None)


@given(st.lists(st.floats(-1, 1), max_size=6), st.floats(-1, 1), st.floats(-1, 1))
def test_a_nearer_reference_never_softens_the_decision(similarities, a, b) -> None:
    flag, block = sorted((a, b))
    order = [Decision.ALLOW, Decision.FLAG, Decision.BLOCK]
    candidates = [match(s) for s in sorted(similarities, reverse=True)]
    before = decide(candidates, flag=flag, block=block).decision
    after = decide([match(1.0), *candidates], flag=flag, block=block).decision
    assert order.index(after) >= order.index(before)
