"""What evidence does to a decision: every row of the table in docs/verification.md."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guard.types import Decision, Evidence, EvidenceKind, Match, Record, Verdict
from guard.verification.weigh import DOUBT, KEYPOINTS_TO_REFUTE, settles, standing
from tests.support.deciding import decide

IDENTITY = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
NOTHING = Evidence(EvidenceKind.NONE, keypoints=(200, 200))
TEMPLATE = Evidence(EvidenceKind.SAME_TEMPLATE, IDENTITY, inliers=20, agreement=0.4, keypoints=(200, 200))
UNSEEN = Evidence(EvidenceKind.NONE, keypoints=(KEYPOINTS_TO_REFUTE - 1, 200))


def copy(
    kind: EvidenceKind = EvidenceKind.EDITED, agreement: float = 0.95, inliers: int = 0, strength: float = 0.2
) -> Evidence:
    return Evidence(kind, IDENTITY, inliers, 0.9, 0.9, None, 0.1, agreement, strength=strength)


def match(similarity: float, evidence: Evidence | None = None, uri: str = "a.png") -> Match:
    return Match(Record(0, uri, ""), similarity, evidence=evidence)


def verdict(*candidates: Match, **settings: object) -> Verdict:
    return decide(candidates, flag=0.6, block=0.8, **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("similarity", "evidence", "decision"),
    [
        (0.5, copy(EvidenceKind.NEAR_IDENTICAL), Decision.BLOCK),
        (0.5, copy(EvidenceKind.EDITED), Decision.BLOCK),
        (0.5, copy(agreement=0.87), Decision.FLAG),
        (0.5, copy(agreement=0.6, inliers=16), Decision.BLOCK),
        (0.5, copy(agreement=0.6, inliers=15), Decision.FLAG),
        (0.5, copy(EvidenceKind.PARTIAL), Decision.FLAG),
        (0.85, copy(EvidenceKind.PARTIAL), Decision.BLOCK),
        (0.5, NOTHING, Decision.ALLOW),
        (0.7, NOTHING, Decision.ALLOW),
        (0.7, TEMPLATE, Decision.ALLOW),
        (0.7, UNSEEN, Decision.FLAG),
        (0.7, None, Decision.FLAG),
        (0.85, NOTHING, Decision.ALLOW),
        (0.85, TEMPLATE, Decision.ALLOW),
        (0.9, NOTHING, Decision.BLOCK),  # halfway from block to identity
        (0.9, TEMPLATE, Decision.BLOCK),
        (0.85, UNSEEN, Decision.BLOCK),
        (0.85, None, Decision.BLOCK),
    ],
)
def test_pixels_and_similarity(similarity: float, evidence: Evidence | None, decision: Decision) -> None:
    found = verdict(match(similarity, evidence), verified=True)
    assert found.decision is decision, found.reasons
    assert found.verified is True
    if evidence is not None and (evidence.is_copy or similarity >= 0.6) and evidence is not UNSEEN:
        assert any("agreement" in reason or "nothing could be aligned" in reason for reason in found.reasons)


def test_a_copy_that_was_missed_by_a_little_is_left_to_the_similarity() -> None:
    clearly, nearly = replace(TEMPLATE, strength=-DOUBT), replace(TEMPLATE, strength=-DOUBT / 2)
    assert verdict(match(0.7, clearly), verified=True).decision is Decision.ALLOW
    assert verdict(match(0.7, nearly), verified=True).decision is Decision.FLAG
    assert verdict(match(0.5, nearly), verified=True).decision is Decision.ALLOW


def test_a_copy_below_the_threshold_becomes_a_match() -> None:
    found = verdict(match(0.5, copy(), "copy.png"), match(0.45, NOTHING, "other.png"), verified=True)
    assert [m.record.uri for m in found.matches] == ["copy.png"]
    assert "pixels of copy.png (training): edited" in found.reasons[0]


def test_one_match_that_was_not_compared_keeps_the_flag() -> None:
    assert verdict(match(0.7, NOTHING), match(0.65), verified=True).decision is Decision.FLAG
    assert verdict(match(0.7, NOTHING), match(0.65, TEMPLATE, "b"), verified=True).decision is Decision.ALLOW


def test_what_its_pixels_refute_leaves_the_others_to_decide() -> None:
    found = verdict(match(0.85, NOTHING), match(0.7, UNSEEN, "b.png"), verified=True)
    assert found.decision is Decision.FLAG
    assert found.reasons[0].startswith("similarity 0.700 to b.png (training) reaches flag")
    assert any(reason.startswith("its pixels show no copy of a.png") for reason in found.reasons)
    assert verdict(match(0.85, NOTHING), match(0.81, None, "b.png"), verified=True).decision is Decision.BLOCK


def test_a_block_that_the_pixels_do_not_confirm_says_so() -> None:
    found = verdict(match(0.9, NOTHING), verified=True)
    assert any("do not confirm" in reason for reason in found.reasons)


def test_what_was_not_verified_is_said() -> None:
    found = verdict(match(0.7), verified=False, unverified="no thumbnail")
    assert (found.decision, found.verified) == (Decision.FLAG, False)
    assert "not verified (no thumbnail): the similarity decides" in found.reasons


def test_an_echo_stays_an_echo() -> None:
    found = verdict(match(0.85, copy()), verified=True, input_similarity=0.9)
    assert found.decision is Decision.ALLOW
    assert sum("echoes" in reason for reason in found.reasons) == 1
    assert verdict(match(0.85, copy()), verified=True, input_similarity=0.7).decision is Decision.BLOCK


def test_pixels_of_an_unusable_image_do_not_count() -> None:
    assert verdict(match(0.9, copy()), usable=False).decision is Decision.ALLOW


def test_the_verdict_as_json_holds_the_evidence() -> None:
    plain = verdict(match(0.5, copy()), verified=True).to_dict()
    assert plain["verified"] is True
    assert plain["matches"][0]["evidence"]["kind"] == "edited"
    assert verdict(match(0.7)).to_dict()["matches"][0]["evidence"] is None


SIMILARITIES = st.floats(-1, 1, width=32)
EVIDENCE = st.none() | st.sampled_from([NOTHING, TEMPLATE, UNSEEN, copy(), copy(EvidenceKind.PARTIAL, strength=0.0)])
CANDIDATES = st.lists(
    st.builds(Match, st.just(Record(0, "a", "")), SIMILARITIES, st.none() | st.integers(0, 31), EVIDENCE)
)


@settings(deadline=None)
@given(CANDIDATES, SIMILARITIES, SIMILARITIES)
def test_what_stands_at_a_threshold_is_what_is_flagged_there(found: list[Match], a: float, b: float) -> None:
    flag, block = sorted((a, b))
    nearest_first = sorted(found, key=lambda m: -m.similarity)
    decision = decide(nearest_first, flag=flag, block=block, verified=True).decision
    highest = max((standing(m, block=block) for m in found), default=-4.0)
    assert (decision is not Decision.ALLOW) is (highest >= flag)


def test_the_order_of_standings() -> None:
    weak, strong = copy(EvidenceKind.PARTIAL, strength=0.1), copy(strength=0.9)
    ranked = [match(0.99, NOTHING), match(0.5), match(0.9), match(-1.0, weak), match(-1.0, strong)]
    identical = Match(Record(0, "", ""), -1.0, 31)
    values = [standing(m, block=1.0) for m in (*ranked, identical)]
    assert values == sorted(values)
    assert values[0] < -1
    assert standing(match(0.9, NOTHING), block=0.8) == pytest.approx(0.8)
    assert standing(match(0.95, NOTHING), block=0.8) == pytest.approx(0.9)  # a block at 0.9 is sure from 0.95 on
    assert standing(match(0.89, NOTHING), block=0.8) < -1


def test_only_a_whole_and_strong_copy_settles() -> None:
    assert settles(copy())
    assert settles(copy(agreement=0.6, inliers=16))
    assert not settles(copy(agreement=0.6, inliers=15))
    assert not settles(copy(EvidenceKind.PARTIAL))
    assert not settles(NOTHING)
