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
    assert shared_pixels(cat, 255 - other) < SHARED
