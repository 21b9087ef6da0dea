"""From similarities to a decision and its reasons."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guard import ConfigError, Decision, Match, Policy, Record
from guard.embedders.base import Thresholds
from tests.support.deciding import decide


def match(similarity: float, *, cluster: int = 1, bits: int | None = None, uri: str = "a.png") -> Match:
    return Match(Record(7, uri, "", cluster_size=cluster), similarity, bits)


@pytest.mark.parametrize(
    ("similarity", "decision"),
    [(0.5, Decision.FLAG), (0.4999, Decision.ALLOW), (0.8, Decision.BLOCK), (0.7999, Decision.FLAG)],
)
def test_bounds_are_inclusive(similarity: float, decision: Decision) -> None:
    assert decide([match(similarity)], flag=0.5, block=0.8).decision is decision


def test_what_matched_is_listed_nearest_first() -> None:
    verdict = decide([match(0.9, cluster=12), match(0.6), match(0.2)], flag=0.5, block=0.8)
    assert [m.similarity for m in verdict.matches] == [0.9, 0.6]
    assert "0.900 to a.png (training) reaches block 0.800" in verdict.reasons[0]
    said = "a.png stands 12 times in the reference set, with its near-duplicates: heavy duplication"
    assert any(reason.startswith(said) for reason in verdict.reasons)


def test_the_nearest_is_shown_even_if_nothing_matched() -> None:
    verdict = decide([match(0.2), match(0.1)], flag=0.5, block=0.8)
    assert [m.similarity for m in verdict.matches] == [0.2]
    assert decide([], flag=0.5, block=0.8).reasons == ("the index is empty",)


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


@pytest.mark.parametrize(
    ("identical", "decision"), [("block", Decision.BLOCK), ("flag", Decision.FLAG), ("ignore", Decision.ALLOW)]
)
def test_an_identical_hash_counts_as_the_policy_says(identical, decision) -> None:
    candidates = [match(0.4), match(0.1, bits=6, uri="b.png")]
    verdict = decide(candidates, flag=0.5, block=0.8, identical=identical)
    assert verdict.decision is decision
    if identical != "ignore":
        assert verdict.matches == (candidates[1],)
        assert verdict.reasons == ("PDQ: 6 of 256 bits differ from b.png (training), at most 31 count as identical",)
    else:
        assert verdict.matches == (candidates[0],)


def test_the_more_severe_of_both_kinds_of_evidence_holds() -> None:
    candidates = [match(0.9), match(0.2, bits=30, uri="b.png"), match(0.1, bits=2, uri="c.png")]
    verdict = decide(candidates, flag=0.5, block=0.8, identical="flag")
    assert verdict.decision is Decision.BLOCK
    assert [m.record.uri for m in verdict.matches] == ["c.png", "b.png", "a.png"]  # identical first, fewest bits first
    assert verdict.reasons[0].startswith("PDQ: 2 of 256 bits differ from c.png")
    assert "similarity 0.900 to a.png (training) reaches block" in verdict.reasons[1]
    assert decide(candidates[1:], flag=0.5, block=0.8, identical="flag").decision is Decision.FLAG


def test_a_hash_has_a_quality_of_its_own() -> None:
    verdict = decide([match(0.9, bits=3)], flag=0.5, block=0.8, usable=False)
    assert verdict.decision is Decision.BLOCK
    assert verdict.reasons[0].startswith("PDQ: 3 of 256")


@pytest.mark.parametrize(
    ("bits", "input_bits", "input_similarity", "decision"),
    [
        (2, 0, 1.0, Decision.ALLOW),
        (2, 6, 1.0, Decision.ALLOW),  # as near as rounding can tell
        (2, 7, 1.0, Decision.BLOCK),  # the descriptor's excuse does not hold for the hash
        (29, 31, 1.0, Decision.ALLOW),
        (29, 32, 1.0, Decision.BLOCK),  # the input itself is not identical
        (2, None, 1.0, Decision.ALLOW),  # an input without a hash: by similarity
        (2, None, 0.2, Decision.BLOCK),
        (2, None, None, Decision.BLOCK),
        (2, 0, 0.2, Decision.ALLOW),
    ],
)
def test_an_echo_is_told_by_the_measure_that_matched(bits, input_bits, input_similarity, decision) -> None:
    verdict = decide(
        [match(0.3, bits=bits)], flag=0.5, block=0.8, input_bits=input_bits, input_similarity=input_similarity
    )
    assert verdict.decision is decision
    assert any("echoes" in reason for reason in verdict.reasons) == (decision is Decision.ALLOW)


def test_an_echo_by_one_measure_does_not_excuse_the_other() -> None:
    candidates = [match(0.95), match(0.6, bits=2, uri="b.png")]
    assert decide(candidates, flag=0.5, block=0.8, input_bits=1, input_similarity=0.7).decision is Decision.BLOCK
    assert decide(candidates, flag=0.5, block=0.8, input_bits=1, input_similarity=0.95).decision is Decision.ALLOW
    assert decide(candidates, flag=0.5, block=0.8, input_bits=20, input_similarity=0.95).decision is Decision.BLOCK


def test_an_unknown_word_is_refused() -> None:
    with pytest.raises(ConfigError, match="'deny' is unknown; known: block, flag, ignore"):
        Policy(identical="deny")  # type: ignore[arg-type]
