"""One drawing in other colours, or with a part changed; and drawings that only look like one another."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from guard.evaluation.edits import EDITS
from guard.evaluation.same_drawing import SAME_DRAWING, same_contours
from guard.pixels import RGBArray
from tests.support.photographs import photograph


def square(name: str) -> RGBArray:
    return photograph(name, 256)[:160, :160]


def rings(*places: tuple[int, int], ink: tuple[int, int, int] = (240, 200, 40), ground: int = 30) -> RGBArray:
    picture = np.full((256, 256, 3), ground, np.uint8)
    for x, y in places:
        cv2.circle(picture, (x, y), 34, ink, 6)
        cv2.rectangle(picture, (x - 12, y - 12), (x + 12, y + 12), ink[::-1], -1)
    return picture


GRID = [(64 * x + 32, 64 * y + 32) for x in range(4) for y in range(4)]


def test_a_picture_agrees_with_itself_and_not_with_others() -> None:
    cat, cup = square("chelsea"), square("coffee")
    assert same_contours(cat, cat) == pytest.approx(1)
    assert same_contours(cat, cup) == same_contours(cup, cat) < SAME_DRAWING / 2
    assert same_contours(np.full_like(cat, 80), cat) == 0  # nothing is drawn in it


@pytest.mark.parametrize("ink", [(20, 90, 250), (90, 160, 90)])
def test_other_colours_are_the_same_drawing(ink: tuple[int, int, int]) -> None:
    assert same_contours(rings(*GRID), rings(*GRID, ink=ink, ground=120)) >= SAME_DRAWING


def test_a_few_other_parts_are_the_same_drawing_and_many_are_not() -> None:
    first = rings(*GRID)
    moved = [(x + 14, y + 16) for x, y in GRID]
    assert same_contours(first, rings(*GRID[:15], moved[15])) >= SAME_DRAWING
    assert same_contours(first, rings(*GRID[:8], *moved[8:])) < SAME_DRAWING
    assert same_contours(first, rings(*GRID[:8])) < SAME_DRAWING, "what is missing counts both ways"


def test_dense_patterns_are_not_the_same_by_chance() -> None:
    one, other = (np.random.default_rng(seed).integers(0, 256, (64, 64, 3), dtype=np.uint8) for seed in (1, 2))
    both = [cv2.resize(noise, (256, 256), interpolation=cv2.INTER_NEAREST) for noise in (one, other)]
    assert same_contours(*both) < 0.2


@pytest.mark.parametrize("name", ["colour_transfer", "equalise", "jpeg_30", "stickers"])
def test_what_an_edit_leaves_is_the_same_drawing(name: str) -> None:
    """What the measure rests on: an edit of the protocol makes no other picture."""
    drawing = rings(*GRID)
    assert same_contours(drawing, EDITS[name](drawing, [square("coffee")], seed=(1, 1))) >= SAME_DRAWING
