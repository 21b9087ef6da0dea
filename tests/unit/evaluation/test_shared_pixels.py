"""What one picture shows of another pixel by pixel."""

from __future__ import annotations

import numpy as np
import pytest

from guard.evaluation.shared_pixels import SHARED, shared_pixels
from tests.support.photographs import photograph


def square(name: str) -> np.ndarray:
    return photograph(name, 256)[:160, :160]


def test_a_picture_shows_all_of_itself_and_nothing_of_another() -> None:
    cat, cup = square("chelsea"), square("coffee")
    assert shared_pixels(cat, cat) == 1
    assert shared_pixels(cat, cup) < SHARED / 2
    assert shared_pixels(np.full_like(cat, 80), cat) == 0  # nothing in it to be shown


@pytest.mark.parametrize("kept", [0.0, 0.5])
def test_a_part_counts_by_its_area_wherever_it_lies(kept: float) -> None:
    """The lower half of one picture in the upper half of another."""
    cat, other = square("chelsea"), square("coffee").copy()
    rows = int(len(cat) * kept)
    if rows:
        other[:rows] = cat[-rows:]
    assert (shared_pixels(cat, other) >= SHARED) == bool(rows)
    assert (shared_pixels(cat, other // 2 + 60) >= SHARED) == bool(rows)  # brightness and contrast aside


def test_a_pattern_shows_nothing_distinctive() -> None:
    """Stripes are everywhere in their own picture; another picture with the same stripes shows no part of it."""
    stripes = np.broadcast_to((np.arange(160) // 10 % 2 * 200)[:, None, None], (160, 160, 3)).astype(np.uint8)
    assert shared_pixels(stripes, np.ascontiguousarray(stripes)) == 0
