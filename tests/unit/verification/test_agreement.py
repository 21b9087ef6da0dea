"""What an alignment shows: agreement, areas, Carlini's distance, the mask."""

from __future__ import annotations

import numpy as np
import pytest

from guard.verification.agreement import compare, tiled_l2
from guard.verification.features import Prepared
from tests.support.photographs import photograph

IDENTITY = np.eye(2, 3)


def test_a_picture_agrees_with_itself() -> None:
    prepared = Prepared(photograph("astronaut"))
    found = compare(prepared, prepared, IDENTITY)
    assert found is not None
    assert found.agreement > 0.98
    assert found.tiled_l2 == 0
    assert found.copied_query == found.copied_reference == 1
    assert found.overlap_query == pytest.approx(1)
    assert found.mask.cells().all()


@pytest.mark.parametrize("change", ["dark", "pale", "cast", "grey"])
def test_tone_changes_the_distance_and_not_the_agreement(change: str) -> None:
    picture = photograph("coffee").astype(np.float64)
    changed = {
        "dark": picture * 0.5,
        "pale": 128 + picture * 0.4,
        "cast": picture * [1, 0.8, 0.5],
        "grey": np.repeat(picture.mean(axis=2, keepdims=True), 3, axis=2),
    }[change]
    found = compare(Prepared(np.clip(changed, 0, 255).astype(np.uint8)), Prepared(photograph("coffee")), IDENTITY)
    assert found is not None
    assert found.agreement > 0.9
    assert found.tiled_l2 > 0.08
    assert found.copied_query > 0.9


def test_a_picture_under_another_is_drawn_in_one_strength_and_a_changed_one_is_not() -> None:
    picture, other = (photograph(name, 256).astype(np.float64) for name in ("astronaut", "chelsea"))
    height, width = (min(sides) for sides in zip(picture.shape[:2], other.shape[:2], strict=True))
    picture, other = picture[:height, :width], other[:height, :width]
    blended, changed = 0.65 * picture + 0.35 * other, picture.copy()
    changed[:, width // 2 :] = other[:, width // 2 :]
    reference = Prepared(picture.astype(np.uint8))
    blend, half = (compare(Prepared(q.astype(np.uint8)), reference, IDENTITY) for q in (blended, changed))
    assert blend is not None
    assert half is not None
    assert blend.steady > 0.9
    assert 0.3 < half.steady < 0.75
    assert half.crisp > blend.crisp
    itself = compare(reference, reference, IDENTITY)
    assert itself is not None
    assert itself.steady == itself.coarse_agreement == 0  # not needed


def test_other_pictures_do_not_agree() -> None:
    found = compare(Prepared(photograph("coffee")), Prepared(photograph("chelsea")), IDENTITY)
    assert found is not None
    assert found.agreement < 0.4
    assert found.tiled_l2 > 0.25


def test_the_mask_is_where_the_copy_is() -> None:
    reference = photograph("astronaut")
    query = np.ascontiguousarray(np.rot90(photograph("chelsea"), 1)[:180, :150]).copy()
    query = np.pad(query, ((0, 60), (0, 60), (0, 0)), mode="reflect")
    query[40:168, 50:178] = reference[::2, ::2]
    q, r = Prepared(query), Prepared(reference)
    found = compare(q, r, np.array([[0.5, 0, 49.75], [0, 0.5, 39.75]]))
    assert found is not None
    cells = found.mask.cells()
    y, x = np.argwhere(cells).min(axis=0), np.argwhere(cells).max(axis=0) + 1
    cell = query.shape[0] / cells.shape[0]
    np.testing.assert_allclose(np.array([y, x]) * cell, [[40, 50], [168, 178]], atol=1.5 * cell)
    assert found.copied_query == pytest.approx(128 * 128 / (query.shape[0] * query.shape[1]), abs=0.05)
    assert found.copied_reference > 0.9
    assert found.overlap_reference == pytest.approx(1, abs=1e-6)


def test_what_lies_over_the_copy_is_not_in_the_mask() -> None:
    reference = photograph("astronaut")
    query = reference.copy()
    query[64:192, 64:192] = photograph("coffee")[20:148, 60:188]
    found = compare(Prepared(query), Prepared(reference), IDENTITY)
    assert found is not None
    cells = found.mask.cells()
    middle = cells[16:32, 16:32]  # of a grid of 48
    assert middle.mean() < 0.5
    assert cells[:8].mean() > 0.9
    assert 0.6 < found.agreeing < 0.95


def test_a_flow_takes_up_what_an_affine_transform_cannot() -> None:
    from guard.evaluation.edits import EDITS

    reference = photograph("chelsea")
    bent = EDITS["elastic"](reference, [reference], seed=(2,))
    found = compare(Prepared(bent), Prepared(reference), IDENTITY)
    assert found is not None
    assert found.agreement > 0.8


def test_pictures_that_do_not_meet_are_not_compared() -> None:
    prepared = Prepared(photograph("coffee"))
    assert compare(prepared, prepared, np.array([[1.0, 0, 5000], [0, 1, 0]])) is None
    assert compare(prepared, prepared, np.array([[1.0, 0, prepared.width - 4], [0, 1, 0]])) is None
    assert compare(prepared, prepared, np.array([[0.01, 0, 3], [0, 0.01, 3]])) is None


def test_tiled_l2_is_the_largest_tile() -> None:
    a = np.full((64, 64, 3), 100, np.uint8)
    b = a.copy()
    b[:16, 16:32] = 151  # one whole tile of sixteen
    seen = np.ones((64, 64), bool)
    assert tiled_l2(a, b, seen) == pytest.approx(51 / 255)
    assert np.sqrt(((a / 255 - b / 255) ** 2).mean()) == pytest.approx(51 / 255 / 4)


def test_tiled_l2_is_the_plain_definition() -> None:
    rng = np.random.default_rng(0)
    a, b = (rng.integers(0, 256, (40, 64, 3), dtype=np.uint8) for _ in range(2))
    tiles = [
        np.sqrt(np.mean((a[y : y + 10, x : x + 16] / 255 - b[y : y + 10, x : x + 16] / 255) ** 2))
        for y in range(0, 40, 10)
        for x in range(0, 64, 16)
    ]
    assert tiled_l2(a, b, np.ones((40, 64), bool)) == pytest.approx(max(tiles), abs=1e-6)


def test_tiles_that_are_hardly_seen_do_not_count() -> None:
    a = np.zeros((64, 64, 3), np.uint8)
    b = a.copy()
    b[:16, :16] = 255
    seen = np.ones((64, 64), bool)
    seen[:16, :12] = False
    assert tiled_l2(a, b, seen) == 0
