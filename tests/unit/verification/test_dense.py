"""Whole pictures laid on one another, without keypoints."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from guard.verification.dense import TURNS, in_shares, moved, part, refined, whole
from guard.verification.features import Prepared
from tests.support.photographs import photograph


def smooth(rng: np.random.Generator, knots: int, side: int) -> np.ndarray:
    coarse = Image.fromarray(rng.integers(0, 256, (knots, knots, 3), dtype=np.uint8))
    return np.asarray(coarse.resize((side, side), Image.Resampling.BICUBIC))


def corners(unit: np.ndarray) -> np.ndarray:
    return np.array([[0, 0], [1, 0], [1, 1], [0, 1]]) @ unit[:, :2].T + unit[:, 2]


@pytest.mark.parametrize("turns", range(4))
@pytest.mark.parametrize("flipped", [False, True])
def test_flips_and_quarter_turns_are_told_apart(turns: int, flipped: bool) -> None:
    reference = photograph("coffee")
    seen = np.rot90(reference[:, ::-1] if flipped else reference, turns)
    q, r = Prepared(np.ascontiguousarray(seen)), Prepared(reference)
    found = whole(q, r)
    assert found.correlation > 0.98
    marked = np.zeros((*reference.shape[:2], 1))
    marked[:20, :30] = 1  # where the reference's own corner went
    y, x = np.argwhere(np.rot90(marked[:, ::-1] if flipped else marked, turns)[..., 0]).mean(axis=0)
    at = found.matrix[:, :2] @ [14.5, 9.5] + found.matrix[:, 2]
    np.testing.assert_allclose(at, [x, y], atol=1.0)


def test_other_pictures_do_not_correlate() -> None:
    assert whole(Prepared(photograph("coffee")), Prepared(photograph("chelsea"))).correlation < 0.25


def test_tone_does_not_count() -> None:
    reference = photograph("chelsea")
    dark = (255 * (reference / 255) ** 2).astype(np.uint8)
    assert whole(Prepared(dark), Prepared(reference)).correlation > 0.9


def test_refinement_finds_a_small_crop() -> None:
    reference = photograph("astronaut")
    cropped = np.ascontiguousarray(reference[10:246, 14:250])
    q, r = Prepared(cropped), Prepared(reference)
    found = refined(q, r, whole(q, r).matrix)
    np.testing.assert_allclose(found, [[1, 0, -14], [0, 1, -10]], atol=0.6)


def test_refinement_without_anything_to_hold_on_to_changes_nothing() -> None:
    flat = Prepared(np.full((60, 80, 3), 120, np.uint8))
    start = whole(flat, flat).matrix
    np.testing.assert_array_equal(refined(flat, flat, start), start)


@pytest.mark.parametrize("flipped", [False, True])
def test_a_smooth_picture_is_found_inside_another(flipped: bool) -> None:
    rng = np.random.default_rng(4)
    small, page = (smooth(rng, 6, 200) for _ in range(2))
    seen = np.asarray(
        Image.fromarray(small[:, ::-1] if flipped else small).resize((100, 100), Image.Resampling.BICUBIC)
    )
    query = page.copy()
    query[40:140, 60:160] = np.asarray(seen)
    q, r = Prepared(query), Prepared(small)
    found = part(q, r)
    assert found.correlation > 0.8
    box = corners(in_shares(found.matrix, q, r))
    np.testing.assert_allclose([box.min(axis=0), box.max(axis=0)], [[0.3, 0.2], [0.8, 0.7]], atol=0.03)
    assert bool(np.linalg.det(found.matrix[:, :2]) < 0) is flipped


def test_a_crop_of_a_smooth_picture_is_found_in_it() -> None:
    rng = np.random.default_rng(5)
    reference = smooth(rng, 8, 240)
    q, r = Prepared(np.ascontiguousarray(reference[48:192, 24:168])), Prepared(reference)
    found = part(q, r)
    assert found.correlation > 0.8
    np.testing.assert_allclose(found.matrix, [[1, 0, -24], [0, 1, -48]], atol=6)


@pytest.mark.parametrize("turn", range(8))
def test_how_far_a_corner_is_moved_is_told_from_flips_and_quarter_turns(turn: int) -> None:
    unit = TURNS[turn].copy()
    assert moved(unit) == pytest.approx(0)
    unit[0, 2] += 0.03
    unit[1, 2] -= 0.04
    assert moved(unit) == pytest.approx(0.05)
    stretched = np.diag([1.1, 1.0]) @ TURNS[turn]
    assert moved(stretched) == pytest.approx(0.1)
