"""The drawn evidence shows what the numbers say."""

from __future__ import annotations

import numpy as np
from PIL import Image

from guard.types import Evidence, EvidenceKind, Mask
from guard.verification.picture import OUTLINE, PANEL, evidence_strip, marked, overlay, sheet, summary
from guard.verification.verifier import PixelVerifier
from tests.support.photographs import photograph

NONE = Evidence(EvidenceKind.NONE)


def spread(picture: Image.Image) -> np.ndarray:
    """(h, w) how far the channels lie apart: 0 where the overlay is grey."""
    values = np.asarray(picture, np.float32)
    return values.max(axis=2) - values.min(axis=2)


def test_what_is_aligned_is_grey_in_the_overlay() -> None:
    reference = photograph("astronaut")
    query = np.ascontiguousarray(reference[30:200, 40:230, ::1][:, ::-1])  # a crop, mirrored
    evidence = PixelVerifier().verify(query, reference)
    assert evidence.mirrored
    aligned = overlay(Image.fromarray(query), Image.fromarray(reference), evidence)
    shifted = Evidence(EvidenceKind.PARTIAL, (1.0, 0.0, 0.3, 0.0, 1.0, 0.0))
    wrong = overlay(Image.fromarray(query), Image.fromarray(reference), shifted)
    assert aligned.size == (query.shape[1], query.shape[0])
    assert spread(aligned).mean() < 6
    assert spread(wrong).mean() > 25


def test_the_overlay_shows_the_query_in_grey_beyond_the_reference() -> None:
    query = Image.fromarray(photograph("coffee"))
    small = Evidence(EvidenceKind.PARTIAL, (0.2, 0.0, 0.0, 0.0, 0.2, 0.0))
    drawn = overlay(query, Image.fromarray(photograph("astronaut")), small)
    assert spread(drawn)[:, query.width // 2 :].max() == 0
    assert spread(drawn)[: query.height // 6, : query.width // 6].mean() > 10


def test_the_mask_is_outlined_and_the_rest_pale() -> None:
    cells = np.zeros((10, 10), bool)
    cells[2:5, 3:7] = True
    picture = Image.fromarray(np.full((100, 100, 3), 60, np.uint8))
    drawn = np.asarray(marked(picture, Mask.pack(cells)))
    assert tuple(drawn[20, 50]) == OUTLINE
    assert tuple(drawn[35, 50]) == (60, 60, 60)
    assert drawn[80, 80].min() > 150
    np.testing.assert_array_equal(np.asarray(marked(picture, None)), np.asarray(picture))


def test_a_strip_has_four_panels_for_any_pair() -> None:
    evidence = PixelVerifier().verify(photograph("coffee"), photograph("coffee"))
    strips = [
        evidence_strip(photograph("coffee", 320), photograph("coffee"), evidence, title="block: a long title " * 20),
        evidence_strip(photograph("coffee"), photograph("chelsea"), NONE),
        evidence_strip(np.zeros((1, 400, 3), np.uint8), np.zeros((400, 1, 3), np.uint8), NONE, title="lines"),
    ]
    assert len({strip.size for strip in strips}) == 1
    assert strips[0].width > 4 * PANEL
    page = sheet(strips)
    assert page.size == (strips[0].width, 3 * strips[0].height)
    np.testing.assert_array_equal(np.asarray(page)[: strips[0].height], np.asarray(strips[0]))


def test_the_summary_says_the_kind_and_the_numbers() -> None:
    found = Evidence(
        EvidenceKind.EDITED, (-1.0, 0.0, 1.0, 0.0, 1.0, 0.0), 12, 0.5, 0.75, None, tiled_l2=0.1, agreement=0.9
    )
    assert summary(found) == (
        "edited, mirrored: agreement 0.90, 12 inliers, shows 75% of the reference on 50% of the picture, tiled L2 0.100"
    )
    assert summary(NONE) == "none: nothing could be aligned"
