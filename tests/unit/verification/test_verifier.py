"""Real edits of photographs, look-alikes, and the order of the steps."""

from __future__ import annotations

import numpy as np
import pytest

from guard.evaluation.edits import EDITS
from guard.types import EvidenceKind
from guard.verification.limits import Limits
from guard.verification.verifier import PixelVerifier
from tests.support.photographs import photograph

VERIFIER = PixelVerifier()
OTHERS = ("coffee", "rocket")
KINDS = {
    "jpeg_30": EvidenceKind.NEAR_IDENTICAL,
    "gamma_2": EvidenceKind.EDITED,
    "gamma_0.5": EvidenceKind.EDITED,
    "colour_cast": EvidenceKind.NEAR_IDENTICAL,  # tiled L2 0.144
    "flip_horizontal": EvidenceKind.EDITED,
    "rotate_90": EvidenceKind.EDITED,
    "crop_25": EvidenceKind.PARTIAL,
    "inset_0.4": EvidenceKind.PARTIAL,
    "collage": EvidenceKind.PARTIAL,
    "stickers": EvidenceKind.EDITED,
    "painterly": EvidenceKind.EDITED,
    "new_detail": EvidenceKind.EDITED,
    "strong": EvidenceKind.PARTIAL,
}


@pytest.mark.parametrize("name", KINDS)
def test_edits_are_found_and_named(name: str) -> None:
    others = [photograph(other, 384) for other in OTHERS]
    query = EDITS[name](photograph("astronaut", 384), others, seed=(3,))
    evidence = VERIFIER.verify(query, photograph("astronaut"))
    found = (evidence.kind, round(evidence.agreement, 2), evidence.inliers)
    assert evidence.is_copy, found
    if name in ("painterly", "new_detail"):  # how far these lie from the reference depends on the picture
        assert evidence.kind in (EvidenceKind.EDITED, EvidenceKind.NEAR_IDENTICAL), found
    else:
        assert evidence.kind is KINDS[name], found


@pytest.mark.slow
@pytest.mark.parametrize("name", EDITS)
def test_every_edit_of_the_evaluation_is_found(name: str) -> None:
    others = [photograph(other, 384) for other in OTHERS]
    query = EDITS[name](photograph("astronaut", 384), others, seed=(5,))
    assert VERIFIER.verify(query, photograph("astronaut")).is_copy


PHOTOGRAPHS = ("astronaut", "chelsea", "coffee", "rocket", "camera", "coins", "immunohistochemistry", "retina", "brick")


@pytest.mark.parametrize("query", PHOTOGRAPHS[:4])
def test_other_photographs_are_no_copies(query: str) -> None:
    prepared = VERIFIER.prepare(photograph(query, 320))
    for reference in PHOTOGRAPHS:
        if reference != query:
            evidence = VERIFIER.verify(prepared, photograph(reference))
            assert evidence.kind is EvidenceKind.NONE, (query, reference)
            assert evidence.keypoints is not None


def test_a_settled_copy_needs_no_keypoints() -> None:
    query, reference = VERIFIER.prepare(photograph("coffee", 320)), VERIFIER.prepare(photograph("coffee"))
    evidence = VERIFIER.verify(query, reference)
    assert evidence.kind is EvidenceKind.NEAR_IDENTICAL
    assert evidence.keypoints is None
    assert not query.has_keypoints
    assert not reference.has_keypoints


def test_prepared_and_plain_pictures_give_the_same_evidence() -> None:
    query, reference = photograph("astronaut")[40:200, 30:220], photograph("astronaut")
    plain = VERIFIER.verify(query, reference)
    assert plain == VERIFIER.verify(VERIFIER.prepare(query), VERIFIER.prepare(reference))
    assert plain.kind is EvidenceKind.PARTIAL


def test_the_limits_are_those_that_were_given() -> None:
    query, reference = photograph("astronaut")[40:200, 30:220], photograph("astronaut")
    strict = PixelVerifier(Limits(inliers=10_000, agreement_alone=1.0, some_inliers=10_000))
    assert strict.verify(query, reference).kind is EvidenceKind.NONE


def test_one_layout_with_other_content() -> None:
    """Two pages with the same heading and border, and different photographs."""
    rng = np.random.default_rng(1)
    page = np.full((256, 256, 3), 245, np.uint8)
    heading = rng.integers(0, 2, (10, 60)).repeat(4, axis=0).repeat(4, axis=1)[:36, :236] * 200
    page[8:44, 10:246] = heading[..., None]
    one, other = page.copy(), page.copy()
    one[52:248, 10:246] = photograph("astronaut")[30:226, 10:246]
    other[52:248, 10:246] = np.asarray(photograph("immunohistochemistry"))[30:226, 10:246]
    evidence = VERIFIER.verify(one, other)
    assert evidence.kind is EvidenceKind.SAME_TEMPLATE
    assert evidence.inliers >= 8
    assert not evidence.is_copy
