"""Decisions where references are in several collections: who blocks, who flags, who excuses."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guard import Decision, Match, Record
from guard.policy import CollectionPolicy
from guard.types import Evidence, EvidenceKind, Verdict
from tests.support.deciding import decide

SAME = Evidence(EvidenceKind.NEAR_IDENTICAL, (1.0, 0.0, 0.0, 0.0, 1.0, 0.0), 40, 1.0, 1.0, None, 0.02, 0.97)
EDITED = Evidence(EvidenceKind.EDITED, (1.0, 0.0, 0.0, 0.0, 1.0, 0.0), 40, 0.9, 0.9, None, 0.2, 0.9)
ORDER = [Decision.ALLOW, Decision.FLAG, Decision.BLOCK]


def match(
    similarity: float, *collections: str, uri: str = "a.png", bits: int | None = None, evidence: Evidence | None = None
) -> Match:
    number = sum(map(ord, uri))
    return Match(Record(number, uri, "", collections=collections or ("training",)), similarity, bits, evidence)


def verdict(*candidates: Match, **settings: Any) -> Verdict:
    return decide(candidates, flag=0.5, block=0.8, **settings)


def says(evidence: Evidence | None, why_not: str = "") -> Any:
    return lambda _: (evidence, why_not)


@pytest.mark.parametrize(
    ("collections", "decision", "by"),
    [
        (("training",), Decision.FLAG, "training"),
        (("opt-out",), Decision.BLOCK, "opt-out"),
        (("protected",), Decision.BLOCK, "protected"),
        (("training", "opt-out"), Decision.BLOCK, "opt-out"),
        (("museum",), Decision.FLAG, "museum"),
        (("canary",), Decision.FLAG, "canary"),
        (("allow",), Decision.ALLOW, ""),
    ],
)
def test_a_match_between_flag_and_block(collections: tuple[str, ...], decision: Decision, by: str) -> None:
    found = verdict(match(0.7, *collections))
    assert (found.decision, found.collection) == (decision, by)
    assert found.to_dict()["collection"] == (by or None)
    assert found.to_dict()["matches"][0]["collections"] == list(collections)
    if by:
        word = decision.value
        assert f"similarity 0.700 to a.png ({by}) reaches {word} 0.500" in found.reasons


@pytest.mark.parametrize("similarity", [0.9, 0.7])
def test_a_canary_is_flagged_and_never_withheld(similarity: float) -> None:
    found = verdict(match(similarity, "canary", bits=0))
    assert (found.decision, found.collection) == (Decision.FLAG, "canary")
    assert "canary: at most flag" in found.reasons
    both = verdict(match(similarity, "canary", "training", bits=0))
    assert (both.decision, both.collection) == (Decision.BLOCK, "training")


def test_a_further_match_with_a_stricter_collection_weighs_more() -> None:
    found = verdict(match(0.75), match(0.6, "opt-out", uri="b.png"))
    assert (found.decision, found.collection) == (Decision.BLOCK, "opt-out")
    assert found.reasons[:2] == (
        "similarity 0.750 to a.png (training) reaches flag 0.500",
        "similarity 0.600 to b.png (opt-out) reaches block 0.500",
    )


def test_own_thresholds_and_actions() -> None:
    own = {"opt-out": CollectionPolicy(flag=0.3, block=0.6), "museum": CollectionPolicy(identical="flag")}
    assert verdict(match(0.35, "opt-out"), collections=own).decision is Decision.FLAG
    assert verdict(match(0.65, "opt-out"), collections=own).decision is Decision.BLOCK
    assert verdict(match(0.35), collections=own).decision is Decision.ALLOW
    assert verdict(match(0.1, "museum", bits=3), collections=own).decision is Decision.FLAG
    assert verdict(match(0.1, "training", bits=3), collections=own).decision is Decision.BLOCK


def test_pixels_refute_a_default_block_of_an_opt_out_and_not_a_set_one() -> None:
    nothing = Evidence(EvidenceKind.NONE, keypoints=(200, 200))
    seen = match(0.7, "opt-out", evidence=nothing)
    assert verdict(seen, verified=True).decision is Decision.ALLOW
    assert verdict(match(0.85, "opt-out", evidence=nothing), verified=True).decision is Decision.ALLOW
    assert verdict(match(0.95, "opt-out", evidence=nothing), verified=True).decision is Decision.BLOCK
    own = {"opt-out": CollectionPolicy(block=0.6)}
    assert verdict(seen, verified=True, collections=own).decision is Decision.BLOCK


def test_what_is_allowed_wins_if_it_is_closer_and_near_identical() -> None:
    candidates = (match(0.97, "allow", uri="logo.png"), match(0.9))
    found = verdict(*candidates, compare=says(SAME))
    assert (found.decision, found.collection) == (Decision.ALLOW, "")
    assert found.matches[0].evidence == SAME
    assert any(r.startswith("logo.png (allow) is allowed, closer (similarity 0.970)") for r in found.reasons)
    assert any("reaches block" in r for r in found.reasons), "what spoke against it is still said"


@pytest.mark.parametrize(
    ("candidates", "evidence"),
    [
        ((match(0.95, "allow", uri="logo.png"), match(0.9)), EDITED),
        ((match(0.95, "allow", uri="logo.png"), match(0.9)), Evidence(EvidenceKind.SAME_TEMPLATE)),
        ((match(0.95, "allow", uri="logo.png"), match(0.9)), None),
        ((match(0.95), match(0.9, "allow", uri="logo.png")), SAME),  # not the closer one
        ((match(0.95, "allow", uri="logo.png"), match(0.9, bits=2)), SAME),  # not by the hash
        ((match(0.95, "allow", uri="logo.png", bits=8), match(0.9, bits=2)), SAME),
        ((match(0.45, "allow", uri="logo.png"), match(0.4, bits=None), match(0.3, bits=9, uri="c")), SAME),  # no match
    ],
)
def test_what_is_allowed_opens_no_way_round(candidates: tuple[Match, ...], evidence: Evidence | None) -> None:
    assert verdict(*candidates, compare=says(evidence, "no thumbnail to compare with")).decision is Decision.BLOCK


def test_without_pixels_an_identical_hash_speaks_for_what_is_allowed_and_is_said_so() -> None:
    candidates = (match(0.95, "allow", uri="logo.png", bits=3), match(0.9))
    found = verdict(*candidates, compare=says(None, "OpenCV is not installed to compare pixels"))
    assert found.decision is Decision.ALLOW
    assert any("PDQ: 3 of 256 bits differ" in r and "OpenCV is not installed" in r for r in found.reasons)
    assert verdict(*candidates).decision is Decision.ALLOW
    no_hash = verdict(match(0.95, "allow", uri="logo.png"), match(0.9), compare=says(None, "no thumbnail"))
    assert no_hash.decision is Decision.BLOCK
    assert any("closer, and excuses nothing: no identical hash" in r for r in no_hash.reasons)
    with_pixels = verdict(*candidates, compare=says(EDITED))
    assert with_pixels.decision is Decision.BLOCK, "pixels that were compared say more than a hash"


def test_what_is_allowed_is_not_held_against_itself_by_training() -> None:
    assert verdict(match(0.95, "training", "allow"), compare=says(SAME)).decision is Decision.ALLOW
    for stronger in ("opt-out", "protected", "museum"):
        assert verdict(match(0.95, "allow", stronger), compare=says(SAME)).decision is Decision.BLOCK


def test_a_closer_opt_out_stands_when_training_falls() -> None:
    found = verdict(
        match(0.97, "opt-out", uri="o.png"), match(0.95, "allow", uri="l.png"), match(0.9), compare=says(SAME)
    )
    assert (found.decision, found.collection) == (Decision.BLOCK, "opt-out")


def test_pixels_are_compared_for_an_excuse_only_where_one_is_needed() -> None:
    asked: list[Match] = []

    def compare(m: Match) -> tuple[Evidence | None, str]:
        asked.append(m)
        return SAME, ""

    verdict(match(0.9, "allow"), match(0.4, uri="b"), compare=compare)
    verdict(match(0.9), match(0.7, "allow", uri="b"), compare=compare)
    assert asked == []
    verdict(match(0.9, "allow"), match(0.6, uri="b"), compare=compare)
    assert len(asked) == 1


def test_exempted_pairs_count_for_nothing_and_are_said() -> None:
    found = verdict(match(0.4, uri="b.png"), exempted=[match(0.95, uri="a.png"), match(0.2, uri="c.png")])
    assert found.decision is Decision.ALLOW
    assert [m.record.uri for m in found.matches] == ["b.png"]
    assert "a reviewer called this no copy of a.png" in found.reasons
    assert not any("c.png" in reason for reason in found.reasons)


names = st.lists(st.sampled_from(["training", "opt-out", "canary", "museum"]), min_size=1, max_size=3, unique=True)
found_ones = st.lists(st.tuples(st.floats(-1, 1), names, st.none() | st.integers(0, 31)), max_size=5)


@given(found_ones, st.floats(-1, 1), st.floats(-1, 1), st.floats(-1, 1))
def test_an_allowance_that_is_not_near_identical_changes_nothing(found, a, b, near) -> None:
    flag, block = sorted((a, b))
    candidates = [match(s, *of, uri=str(i), bits=bits) for i, (s, of, bits) in enumerate(found)]
    allowed = match(near, "allow", uri="allowed")
    together = sorted([*candidates, allowed], key=lambda m: -m.similarity)
    candidates.sort(key=lambda m: -m.similarity)
    without = decide(candidates, flag=flag, block=block)
    assert decide(together, flag=flag, block=block, compare=says(EDITED)).decision is without.decision
    excused = decide(together, flag=flag, block=block, compare=says(SAME))
    assert ORDER.index(excused.decision) <= ORDER.index(without.decision)
    if any(m.similarity >= near for m in candidates):
        top = max(candidates, key=lambda m: m.similarity)
        alone = decide([top], flag=flag, block=block)
        assert ORDER.index(excused.decision) >= ORDER.index(alone.decision), "what is closer stands"


@given(found_ones, st.floats(-1, 1), st.floats(-1, 1))
def test_another_collection_never_softens_a_decision(found, a, b) -> None:
    flag, block = sorted((a, b))
    candidates = [match(s, *of, uri=str(i), bits=bits) for i, (s, of, bits) in enumerate(found)]
    candidates.sort(key=lambda m: -m.similarity)
    more = [
        match(m.similarity, *{*m.record.collections, "protected"}, uri=m.record.uri, bits=m.bits) for m in candidates
    ]
    before, after = (decide(one, flag=flag, block=block).decision for one in (candidates, more))
    assert ORDER.index(after) >= ORDER.index(before)
