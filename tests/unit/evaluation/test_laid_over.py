"""Blocks whose place is determined, found in another picture; and what may not be explained by them."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from guard.evaluation.laid_over import SHARED_BLOCKS, places_kept, shared_blocks
from guard.evaluation.related import InCommon, related
from guard.evaluation.same_drawing import SAME_DRAWING
from guard.pixels import RGBArray
from tests.support.photographs import photograph


def square(name: str) -> RGBArray:
    return cv2.resize(photograph(name, 256)[:160, :160], (256, 256), interpolation=cv2.INTER_CUBIC)


def noise(seed: int) -> RGBArray:
    coarse = np.random.default_rng(seed).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    return cv2.resize(coarse, (256, 256), interpolation=cv2.INTER_CUBIC)


def pattern(*other: tuple[int, int]) -> RGBArray:
    """Discs, one every 32 px; those at the cells of `other` are squares."""
    picture = np.full((256, 256, 3), 60, np.uint8)
    for y in range(8):
        for x in range(8):
            centre = (32 * x + 16, 32 * y + 16)
            if (x, y) in other:
                cv2.rectangle(
                    picture, (centre[0] - 8, centre[1] - 8), (centre[0] + 8, centre[1] + 8), (200, 40, 60), -1
                )
            else:
                cv2.circle(picture, centre, 9, (40, 200, 160), -1)
    return picture


def test_a_picture_keeps_its_own_places_and_no_other_ones() -> None:
    cat, cup = square("chelsea"), square("coffee")
    assert places_kept(cat, cat) == 1
    assert places_kept(cat, cup) == places_kept(cup, cat) < 0.3
    assert shared_blocks(cat, cat) > 4 * SHARED_BLOCKS
    assert shared_blocks(cat, cup) == shared_blocks(cup, cat) < SHARED_BLOCKS


def test_what_was_moved_a_little_and_toned_is_one_drawing() -> None:
    cat = square("chelsea")
    moved = np.roll(cat, (10, -12), (0, 1)) // 2 + 70
    assert places_kept(cat, moved) >= SAME_DRAWING
    assert related(cat, moved).in_common is InCommon.ONE_DRAWING
    assert places_kept(cat, np.roll(cat, (70, 90), (0, 1))) < SAME_DRAWING


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("quarters", range(4))
def test_a_drawing_that_was_turned_is_one_drawing_still(quarters: int, mirrored: bool) -> None:
    cat = square("chelsea")
    turned = np.ascontiguousarray(np.rot90(cat[:, ::-1] if mirrored else cat, quarters)) // 2 + 60
    assert related(cat, turned).in_common is related(turned, cat).in_common is InCommon.ONE_DRAWING
    assert related(square("coffee"), turned).in_common is InCommon.OTHER_CONTENT


@pytest.mark.parametrize("rows", [16, 64])
def test_a_part_counts_by_its_area_wherever_it_lies(rows: int) -> None:
    """A quarter of another picture's grain is shared; a sixteenth of it is too little to say so."""
    one, other = noise(1), noise(2)
    other[:rows] = one[-rows:] // 2 + 40
    assert (shared_blocks(one, other) >= SHARED_BLOCKS) == (shared_blocks(other, one) >= SHARED_BLOCKS)
    assert (related(one, other).in_common is InCommon.SHARED_PART) == (rows == 64)


def test_other_light_on_one_texture_is_a_shared_part() -> None:
    one = noise(3)
    light = cv2.resize(np.array([[0.3, 1.0], [0.9, 0.4]], np.float32), (256, 256), interpolation=cv2.INTER_LINEAR)
    assert shared_blocks(one, (one * light[..., None]).astype(np.uint8)) >= SHARED_BLOCKS


def test_patterns_stripes_and_outlines_are_nothing_in_common() -> None:
    """What a verifier may take for a copy by mistake is not explained away."""
    stripes = np.broadcast_to((np.sin(np.arange(256) / 8) * 90 + 120)[:, None, None], (256, 256, 3)).astype(np.uint8)
    assert related(stripes, np.roll(stripes, 5, 0)).in_common is InCommon.OTHER_CONTENT
    assert (places_kept(stripes, stripes), shared_blocks(stripes, stripes)) == (0, 0)
    one, other = pattern((1, 1), (6, 3)), pattern((4, 5), (2, 6))
    assert max(places_kept(one, other), shared_blocks(one, other)) < SAME_DRAWING
    rings = []
    for x, y in ((90, 100), (150, 170)):
        ring = np.full((256, 256, 3), 20, np.uint8)
        cv2.circle(ring, (128, 128), 110, (180, 180, 180), -1)
        cv2.circle(ring, (x, y), 16, (90, 90, 90), -1)
        rings.append(ring)
    assert places_kept(*rings) < SAME_DRAWING
    assert shared_blocks(*rings) < SHARED_BLOCKS
