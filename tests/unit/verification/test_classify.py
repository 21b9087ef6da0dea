"""Numbers -> kinds, at and around every threshold."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guard.types import EvidenceKind, Mask
from guard.verification.agreement import Comparison
from guard.verification.classify import Judgement, judged
from guard.verification.limits import Limits
from guard.verification.weigh import DOUBT

WHOLE = Comparison(
    agreement=0.95,
    agreeing=0.98,
    structure=150,
    overlap_query=1.0,
    overlap_reference=1.0,
    copied_query=1.0,
    copied_reference=1.0,
    detail=0.9,
    coarse_agreement=0.0,
    coarse_agreeing=0.0,
    coarse_detail=0.0,
    crisp=0.95,
    steady=0.0,
    coloured=0.95,
    tiled_l2=0.05,
    mask=Mask.pack(np.ones((4, 4), bool)),
)
LIMITS = Limits()


def kind(comparison: Comparison = WHOLE, *, inliers: int = 0, few: bool = False, upright: bool = True) -> EvidenceKind:
    return judged(comparison, inliers=inliers, few_keypoints=few, upright=upright, limits=LIMITS).kind


def test_the_same_picture_is_near_identical_and_its_edits_are_not() -> None:
    assert kind() is EvidenceKind.NEAR_IDENTICAL
    assert kind(upright=False) is EvidenceKind.EDITED
    assert kind(replace(WHOLE, tiled_l2=LIMITS.identical_tiled_l2)) is EvidenceKind.NEAR_IDENTICAL
    assert kind(replace(WHOLE, tiled_l2=LIMITS.identical_tiled_l2 + 0.001)) is EvidenceKind.EDITED
    assert kind(replace(WHOLE, overlap_reference=0.85)) is EvidenceKind.EDITED


@pytest.mark.parametrize(
    ("inliers", "few", "needed"),
    [
        (0, False, LIMITS.agreement_alone),
        (4, False, LIMITS.agreement_alone),
        (5, False, LIMITS.agreement_with_some),
        (0, True, LIMITS.agreement_with_some),
        (11, False, LIMITS.agreement_with_some),
        (12, False, LIMITS.agreement_with_inliers),
        (12, True, LIMITS.agreement_with_inliers),
    ],
)
def test_the_fewer_keypoints_agree_the_more_pixels_must(inliers: int, few: bool, needed: float) -> None:
    bent = replace(WHOLE, overlap_query=0.7, coarse_agreement=LIMITS.coarse_agreement_alone, coarse_agreeing=1.0)
    reached, missed = (replace(bent, agreement=needed - less) for less in (0, 0.001))
    assert kind(reached, inliers=inliers, few=few) is EvidenceKind.EDITED
    assert kind(missed, inliers=inliers, few=few) is EvidenceKind.NONE


def test_what_is_the_whole_of_neither_picture_needs_many_keypoints() -> None:
    """Two scenes with one house in them."""
    house = replace(WHOLE, overlap_query=0.37, overlap_reference=0.31, copied_query=0.3, copied_reference=0.25)
    assert kind(house, inliers=LIMITS.inliers_apart - 1) is EvidenceKind.NONE
    assert kind(house, inliers=LIMITS.inliers_apart) is EvidenceKind.PARTIAL
    for whole in ("overlap_query", "overlap_reference"):  # a crop, an inset
        most = replace(house, **{whole: LIMITS.whole_many})
        assert kind(most, inliers=LIMITS.inliers_many) is EvidenceKind.PARTIAL
        assert kind(most, inliers=LIMITS.inliers_many - 1) is EvidenceKind.NONE
        assert (
            kind(replace(house, **{whole: LIMITS.whole_many - 0.001}), inliers=LIMITS.inliers_apart - 1)
            is EvidenceKind.NONE
        )
        assert kind(replace(house, **{whole: LIMITS.whole_few}), inliers=9) is EvidenceKind.PARTIAL
        assert kind(replace(house, **{whole: LIMITS.whole_few - 0.001}), inliers=9) is EvidenceKind.NONE


def test_parts_on_either_side() -> None:
    assert kind(replace(WHOLE, copied_query=0.3, overlap_query=0.3)) is EvidenceKind.PARTIAL
    assert kind(replace(WHOLE, copied_reference=0.3, overlap_reference=0.3)) is EvidenceKind.PARTIAL
    assert kind(replace(WHOLE, copied_query=0.6, overlap_query=0.6)) is EvidenceKind.EDITED


@pytest.mark.parametrize(
    ("changed", "inliers", "moved", "copy"),
    [
        ({}, 0, 0.0, True),
        ({"agreement": LIMITS.agreement_repeating}, 0, LIMITS.still, True),
        ({"agreement": LIMITS.agreement_repeating - 0.001}, 0, 0.0, False),
        ({"coloured": LIMITS.colours_repeating - 0.001}, 0, 0.0, False),
        ({}, 0, LIMITS.still + 0.001, False),
        ({"overlap_query": 0.7}, LIMITS.inliers_many - 1, 0.3, False),
        ({"agreement": 0.9, "overlap_query": 0.7}, LIMITS.inliers_many, 0.3, True),
    ],
)
def test_a_picture_that_repeats_itself_is_known_by_its_frame_or_many_keypoints(
    changed: dict[str, float], inliers: int, moved: float, copy: bool
) -> None:
    def of(repeats: bool) -> Judgement:
        return judged(
            replace(WHOLE, **changed), inliers=inliers, few_keypoints=False, upright=True, limits=LIMITS, moved=moved,
            repeats=lambda _share: repeats,
        )  # fmt: skip

    assert of(repeats=False).strength >= 0
    assert (of(repeats=True).strength >= 0) is copy
    assert of(repeats=True).strength > -DOUBT, "nor is it refuted"
    assert of(repeats=True).kind in ((EvidenceKind.SAME_TEMPLATE,) if not copy else (of(repeats=False).kind,))


@pytest.mark.parametrize(
    ("agreeing", "coloured", "least"),
    [
        (0.85, 1.0, LIMITS.repetition),
        (0.97, 1.0, LIMITS.repetition),
        (0.98, 1.0, 0.9),  # a fifth of what is left of 1 is missing here
        (0.985, 1.0, 0.925),
        (1.0, 0.98, 0.9),
        (1.0, 1.0, 1 - LIMITS.telling_nothing),
    ],
)
def test_what_is_missing_must_be_much_of_what_a_pattern_shows_in_one_place_only(
    agreeing: float, coloured: float, least: float
) -> None:
    asked: list[float] = []

    def repeats(share: float) -> bool:
        asked.append(share)
        return False

    c = replace(WHOLE, agreement=0.9, agreeing=agreeing, coloured=coloured)
    judged(c, inliers=0, few_keypoints=False, upright=True, limits=LIMITS, repeats=repeats)
    assert asked == [pytest.approx(least)]


@pytest.mark.parametrize(
    ("changed", "inliers", "moved", "least"),
    [
        ({}, 0, 0.1, LIMITS.repetition_plain),
        ({"structure": LIMITS.structure_repeating}, 0, 0.1, None),
        ({}, LIMITS.inliers, 0.1, None),
        ({"agreement": 1.0}, 0, LIMITS.still + 0.001, LIMITS.repetition_plain),
        ({}, 0, LIMITS.still, None),
        ({"agreement": LIMITS.agreement_plain}, 6, LIMITS.still, None),
        ({"agreement": LIMITS.agreement_plain - 0.01}, 6, 0.0, LIMITS.repetition_plain),
    ],
)
def test_little_structure_that_repeats_is_known_by_its_frame_or_some_keypoints(
    changed: dict[str, float], inliers: int, moved: float, least: float | None
) -> None:
    asked: list[float] = []

    def of(shown_elsewhere: float) -> Judgement:
        def repeats(share: float) -> bool:
            asked.append(share)
            return shown_elsewhere >= share

        c = replace(WHOLE, structure=100.0)
        return judged(
            replace(c, **changed), inliers=inliers, few_keypoints=False, upright=True, limits=LIMITS, moved=moved,
            repeats=repeats,
        )  # fmt: skip

    assert of(LIMITS.repetition_plain - 0.01).strength >= 0
    assert (least in asked) is (least is not None)
    found = of(LIMITS.repetition_plain)
    assert (found.strength >= 0) is (least is None)
    assert found.strength > -DOUBT, "nor is it refuted"


@pytest.mark.parametrize(
    ("changed", "inliers", "moved", "copy"),
    [
        ({"detail": LIMITS.detail_moved}, 0, 0.1, True),
        ({"detail": LIMITS.detail_moved - 0.001}, 0, 0.1, False),
        ({"detail": LIMITS.detail_moved - 0.001}, 0, LIMITS.still, True),
        ({"detail": LIMITS.detail_moved - 0.001}, LIMITS.inliers_kept, 0.1, True),
        ({"detail": LIMITS.detail_moved - 0.001}, LIMITS.inliers_kept - 1, 0.1, False),
        ({"detail": LIMITS.detail_moved - 0.001, "overlap_query": 0.7}, LIMITS.inliers, 0.1, True),
        ({"detail": LIMITS.detail_moved - 0.001, "overlap_query": 0.7}, LIMITS.inliers - 1, 0.1, False),
        ({"detail": LIMITS.detail_moved - 0.001, "agreeing": LIMITS.agreeing_moved}, 0, 0.1, True),
        ({"agreement": 0.85, "coloured": LIMITS.colours_moved}, 6, 0.1, True),
        ({"agreement": 0.85, "coloured": LIMITS.colours_moved - 0.01}, 6, 0.1, False),
        ({"agreement": 0.85, "coloured": LIMITS.colours_moved - 0.01}, 6, LIMITS.still, True),
        ({"agreement": LIMITS.agreement_alone, "coloured": LIMITS.colours}, 6, 0.1, True),
        ({"detail": 0.9, "structure": LIMITS.structure_moved}, 0, 0.1, True),
        ({"detail": 0.9, "structure": LIMITS.structure_moved - 1}, 0, 0.1, False),
        ({"detail": 0.9, "structure": LIMITS.structure_moved - 1}, 0, LIMITS.still, True),
    ],
)
def test_what_was_moved_must_show_its_detail_and_colours_or_keypoints(
    changed: dict[str, float], inliers: int, moved: float, copy: bool
) -> None:
    c = replace(replace(WHOLE, agreeing=0.9), **changed)
    found = judged(c, inliers=inliers, few_keypoints=False, upright=True, limits=LIMITS, moved=moved)
    assert (found.strength >= 0) is copy


def test_what_was_redrawn_as_a_whole_may_be_moved() -> None:
    """New detail over all of it leaves neither detail nor the reference's fine structure, and some keypoints."""
    c = replace(WHOLE, agreement=0.6, detail=0.58, agreeing=0.71, crisp=0.64, coarse_detail=LIMITS.coarse_detail)
    redrawn = replace(c, coarse_agreement=0.84, coarse_agreeing=LIMITS.kept_coarse)
    for found, copy in (
        (redrawn, True),
        (replace(redrawn, coarse_agreeing=LIMITS.kept_coarse - 0.01), False),
        (replace(redrawn, coarse_agreement=LIMITS.coarse_agreement - 0.01), False),
    ):
        judgement = judged(found, inliers=16, few_keypoints=False, upright=True, limits=LIMITS, moved=0.03)
        assert (judgement.strength >= 0) is copy


@pytest.mark.parametrize(
    ("changed", "inliers", "moved", "asked"),
    [
        ({}, 0, 0.1, True),
        ({}, 0, LIMITS.still, False),
        ({}, LIMITS.some_inliers, 0.1, False),
        ({"agreement": LIMITS.agreement_simple}, 0, 0.1, False),
        ({"agreeing": LIMITS.agreeing_simple}, 0, 0.1, False),
        ({"agreement": LIMITS.agreement_alone - 0.01}, 0, 0.1, False),  # no copy anyway
    ],
)
def test_a_simple_reference_is_known_by_its_place_or_all_of_it(
    changed: dict[str, float], inliers: int, moved: float, asked: bool
) -> None:
    c = replace(
        replace(WHOLE, agreement=LIMITS.agreement_simple - 0.01, agreeing=LIMITS.agreeing_simple - 0.01), **changed
    )
    needed: list[int] = []

    def of(keypoints: int) -> Judgement:
        def simple(fewer_than: int) -> bool:
            needed.append(fewer_than)
            return keypoints < fewer_than

        return judged(
            c, inliers=inliers, few_keypoints=False, upright=True, limits=LIMITS, moved=moved, simple=simple
        )  # fmt: skip

    rich, plain = of(LIMITS.keypoints_simple), of(LIMITS.keypoints_simple - 1)
    assert bool(needed) is asked
    assert (rich == plain) is not asked
    if asked:
        assert rich.strength >= 0 > plain.strength > -DOUBT, "nor is it refuted"


def test_whether_it_repeats_is_asked_only_where_it_matters() -> None:
    def asked(share: float) -> bool:
        raise AssertionError(share)

    for c, inliers in (
        (WHOLE, 0),
        (replace(WHOLE, agreement=0.9), LIMITS.inliers_many),
        (replace(WHOLE, agreement=0.1), 0),
    ):
        judged(c, inliers=inliers, few_keypoints=False, upright=True, limits=LIMITS, repeats=asked)


def test_one_layout_with_other_content_is_a_template() -> None:
    other = replace(WHOLE, agreement=0.55, agreeing=0.3, copied_query=0.4, copied_reference=0.4)
    assert kind(other, inliers=20) is EvidenceKind.SAME_TEMPLATE
    assert kind(replace(other, agreement=0.2), inliers=20) is EvidenceKind.SAME_TEMPLATE
    assert kind(other, inliers=3) is EvidenceKind.NONE
    pasted = replace(other, overlap_query=0.3)  # not one frame: a part of the query shows a part of the reference
    assert kind(pasted, inliers=20) is EvidenceKind.PARTIAL


def test_outlines_that_fit_are_no_copy() -> None:
    hollow = replace(WHOLE, detail=LIMITS.detail - 0.01)
    assert kind(hollow) is EvidenceKind.NONE
    assert kind(hollow, inliers=12) is EvidenceKind.NEAR_IDENTICAL


def test_a_redrawing_keeps_what_is_coarse() -> None:
    fine = replace(WHOLE, agreement=0.65, detail=0.5, agreeing=0.7)  # and crisp where it agrees
    redrawn = replace(fine, coarse_agreement=LIMITS.coarse_agreement, coarse_detail=LIMITS.coarse_detail)
    assert kind(fine) is EvidenceKind.NONE
    assert kind(redrawn) is EvidenceKind.SAME_TEMPLATE
    kept = replace(redrawn, coarse_agreeing=LIMITS.kept_coarse_alone)
    assert kind(kept, inliers=LIMITS.some_inliers) is EvidenceKind.EDITED
    assert kind(kept) is EvidenceKind.SAME_TEMPLATE
    assert kind(replace(kept, coarse_agreement=LIMITS.coarse_agreement_alone)) is EvidenceKind.EDITED
    assert kind(replace(redrawn, coarse_detail=LIMITS.coarse_detail - 0.01)) is EvidenceKind.NONE
    assert kind(replace(redrawn, coarse_agreement=LIMITS.coarse_agreement - 0.01)) is EvidenceKind.NONE


def test_a_drawing_in_other_colours_is_a_template() -> None:
    other = replace(WHOLE, coloured=LIMITS.colours - 0.01)
    assert kind(other) is kind(other, inliers=LIMITS.inliers - 1) is EvidenceKind.SAME_TEMPLATE
    assert kind(other, inliers=LIMITS.inliers_many) is EvidenceKind.NEAR_IDENTICAL
    redrawn = replace(other, agreement=LIMITS.agreement_any_colours - 0.01)
    assert kind(other, inliers=LIMITS.inliers) is EvidenceKind.NEAR_IDENTICAL
    assert kind(redrawn, inliers=LIMITS.inliers) is EvidenceKind.SAME_TEMPLATE
    assert kind(replace(WHOLE, coloured=LIMITS.colours)) is EvidenceKind.NEAR_IDENTICAL


def test_what_agrees_neither_crisply_nor_coarsely_is_another_drawing_of_one_layout() -> None:
    """Each of seven signs makes a copy of it by itself, at its limit and not below."""
    alike = replace(WHOLE, agreement=0.8, crisp=LIMITS.crisp - 0.01)

    def found(c: Comparison = alike, inliers: int = LIMITS.inliers_many, keypoints: int = 500) -> EvidenceKind:
        return judged(
            c, inliers=inliers, few_keypoints=False, upright=True, limits=LIMITS, keypoints=keypoints
        ).kind  # fmt: skip

    assert found() is EvidenceKind.SAME_TEMPLATE
    assert found(replace(alike, crisp=LIMITS.crisp)) is EvidenceKind.NEAR_IDENTICAL
    assert found(replace(alike, agreement=LIMITS.agreement_alone)) is EvidenceKind.NEAR_IDENTICAL
    assert found(inliers=LIMITS.inliers_kept) is EvidenceKind.NEAR_IDENTICAL
    assert found(inliers=LIMITS.inliers_kept - 1) is EvidenceKind.SAME_TEMPLATE
    steady = replace(alike, steady=LIMITS.steady)
    assert found(steady) is EvidenceKind.NEAR_IDENTICAL
    assert found(steady, inliers=LIMITS.inliers_kept_apart - 1) is EvidenceKind.SAME_TEMPLATE
    assert found(replace(steady, steady=LIMITS.steady - 0.01)) is EvidenceKind.SAME_TEMPLATE
    apart = replace(alike, overlap_reference=LIMITS.same_frame - 0.01)
    assert found(apart, inliers=LIMITS.inliers_kept_apart) is EvidenceKind.EDITED
    assert found(apart, inliers=LIMITS.inliers_kept_apart - 1) is EvidenceKind.SAME_TEMPLATE
    assert found(keypoints=4 * LIMITS.inliers_many) is EvidenceKind.NEAR_IDENTICAL
    assert found(keypoints=4 * LIMITS.inliers_many + 1) is EvidenceKind.SAME_TEMPLATE
    assert found(inliers=LIMITS.inliers_kept_few - 1, keypoints=30) is EvidenceKind.SAME_TEMPLATE
    coarse = replace(alike, coarse_agreement=LIMITS.coarse_agreement, coarse_agreeing=LIMITS.kept_coarse)
    assert found(coarse) is EvidenceKind.NEAR_IDENTICAL
    assert found(replace(coarse, coarse_agreeing=LIMITS.kept_coarse - 0.01)) is EvidenceKind.SAME_TEMPLATE
    assert found(coarse, inliers=LIMITS.some_inliers) is EvidenceKind.SAME_TEMPLATE
    alone = replace(coarse, coarse_agreeing=LIMITS.kept_coarse_alone, crisp=0.0)
    assert found(alone, inliers=LIMITS.some_inliers) is EvidenceKind.NEAR_IDENTICAL
    assert found(alone, inliers=0) is EvidenceKind.NONE  # nothing was found by such pixels without an inlier


def test_the_fewer_inliers_the_more_of_the_layout_must_agree() -> None:
    covered = replace(WHOLE, agreement=0.8, agreeing=0.7)
    assert kind(covered, inliers=LIMITS.inliers) is EvidenceKind.SAME_TEMPLATE
    assert kind(covered, inliers=LIMITS.inliers_many) is EvidenceKind.NEAR_IDENTICAL
    hidden = replace(covered, agreeing=LIMITS.template - 0.01)
    assert kind(hidden, inliers=LIMITS.inliers_many) is EvidenceKind.SAME_TEMPLATE
    assert kind(replace(hidden, steady=LIMITS.steady), inliers=LIMITS.inliers_many) is EvidenceKind.NEAR_IDENTICAL
    assert kind(replace(hidden, steady=LIMITS.steady, agreeing=0.49), inliers=60) is EvidenceKind.SAME_TEMPLATE
    few = replace(covered, agreeing=LIMITS.template_few_inliers)
    assert kind(few, inliers=12) is EvidenceKind.NEAR_IDENTICAL
    rough = replace(few, detail=LIMITS.detail - 0.01)
    assert kind(rough, inliers=12) is EvidenceKind.SAME_TEMPLATE
    assert kind(replace(rough, agreeing=LIMITS.template_rough), inliers=12) is EvidenceKind.NEAR_IDENTICAL


def test_too_little_structure_says_nothing() -> None:
    toned = replace(WHOLE, tiled_l2=LIMITS.plain_tiled_l2 + 0.01, coloured=LIMITS.toned_colours - 0.01)
    assert kind(replace(toned, structure=LIMITS.structure_alone)) is EvidenceKind.NEAR_IDENTICAL
    assert kind(replace(toned, structure=LIMITS.structure_alone - 1)) is EvidenceKind.NONE
    assert kind(replace(toned, structure=LIMITS.structure_alone - 1), inliers=12) is EvidenceKind.NEAR_IDENTICAL
    assert kind(replace(toned, structure=LIMITS.structure - 1, overlap_query=0.5), inliers=50) is EvidenceKind.NONE


def test_plain_pictures_are_the_same_only_in_all_their_colours() -> None:
    plain = replace(WHOLE, structure=LIMITS.structure, tiled_l2=LIMITS.plain_tiled_l2, coloured=0.9)
    assert kind(plain) is EvidenceKind.NEAR_IDENTICAL
    toned = replace(plain, tiled_l2=0.2, coloured=LIMITS.toned_colours, structure=LIMITS.structure_toned)
    assert kind(toned) is EvidenceKind.EDITED
    assert kind(replace(toned, structure=LIMITS.structure_toned - 1)) is EvidenceKind.NONE
    assert kind(replace(toned, agreement=LIMITS.agreement_alone - 0.01), few=True) is EvidenceKind.NONE
    assert kind(replace(plain, tiled_l2=LIMITS.plain_tiled_l2 + 0.001)) is EvidenceKind.NONE
    assert kind(replace(plain, structure=LIMITS.structure - 1)) is EvidenceKind.NONE


SHARES = st.floats(0, 1)


@st.composite
def comparisons(draw: st.DrawFn) -> Comparison:
    numbers = {field.name: draw(SHARES) for field in fields(Comparison) if field.name not in ("structure", "mask")}
    return Comparison(**numbers, structure=draw(st.floats(0, 300)), mask=WHOLE.mask)


@settings(deadline=None)
@given(comparisons(), st.integers(0, 60), st.booleans(), st.booleans())
def test_a_copy_has_strength_and_nothing_else_has(c: Comparison, inliers: int, few: bool, upright: bool) -> None:
    found = judged(c, inliers=inliers, few_keypoints=few, upright=upright, limits=LIMITS)
    assert -1 <= found.strength <= 1
    copies = (EvidenceKind.NEAR_IDENTICAL, EvidenceKind.EDITED, EvidenceKind.PARTIAL)
    assert (found.strength >= 0) is (found.kind in copies)


@settings(deadline=None)
@given(comparisons(), st.integers(0, 60), st.sampled_from(["agreement", "agreeing", "detail", "coloured"]), SHARES)
def test_more_of_a_number_never_weakens(c: Comparison, inliers: int, name: str, more: float) -> None:
    raised = replace(c, **{name: max(getattr(c, name), more)})
    before, after = (
        judged(one, inliers=inliers, few_keypoints=False, upright=True, limits=LIMITS) for one in (c, raised)
    )
    assert after.strength >= before.strength


def test_strength_is_the_margin_of_the_weakest_number() -> None:
    twice = judged(replace(WHOLE, agreement=0.75), inliers=24, few_keypoints=False, upright=True, limits=LIMITS)
    assert twice.strength == pytest.approx(0.5)  # twice the inliers; the agreement lies half-way to 1
    least = LIMITS.agreement_with_inliers
    weak = judged(replace(WHOLE, agreement=least + 0.03), inliers=24, few_keypoints=False, upright=True, limits=LIMITS)
    assert weak.strength == pytest.approx(0.03 / (1 - least))
    missed = judged(
        replace(WHOLE, agreement=least - 0.04), inliers=24, few_keypoints=False, upright=True, limits=LIMITS
    )  # fmt: skip
    assert missed.strength == pytest.approx(-0.04 / least)
