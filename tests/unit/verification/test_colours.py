"""One change of tone leaves the colours the same; other colours do not."""

from __future__ import annotations

import numpy as np
import pytest

from guard.verification.colours import same_colour
from tests.support.photographs import photograph

RED, BLUE, WHITE, BLACK = (206, 17, 38), (0, 56, 168), (255, 255, 255), (0, 0, 0)


def stripes(*colours: tuple[int, int, int]) -> np.ndarray:
    return np.repeat(np.uint8([colours]), 96 // len(colours), axis=1).repeat(96, axis=0)


def share(ours: np.ndarray, theirs: np.ndarray) -> float:
    return float(same_colour(ours, theirs, np.ones(ours.shape[:2], bool)).mean())


@pytest.mark.parametrize("change", ["dark", "pale", "cast", "grey", "vivid", "gamma"])
def test_a_change_of_the_whole_is_the_same_picture(change: str) -> None:
    picture = photograph("coffee").astype(np.float64)
    luma = picture @ [0.299, 0.587, 0.114]
    changed = {
        "dark": picture * 0.5,
        "pale": 120 + picture * 0.4,
        "cast": picture * [1, 0.8, 0.6],
        "grey": np.repeat(luma[..., None], 3, axis=2),
        "vivid": luma[..., None] + 1.4 * (picture - luma[..., None]),
        "gamma": 255 * (picture / 255) ** 1.6,
    }[change]
    assert share(np.clip(changed, 0, 255).astype(np.uint8), photograph("coffee")) > 0.85


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ((RED, WHITE, BLACK), (BLUE, WHITE, BLUE)),
        ((RED, BLUE, WHITE), (BLUE, RED, WHITE)),
        ((WHITE, BLACK), (BLACK, WHITE)),
    ],
)
def test_other_colours_in_one_layout_are_another_picture(one: tuple, other: tuple) -> None:
    assert share(stripes(*one), stripes(*other)) < 0.75
    assert share(stripes(*one), stripes(*one)) == 1


def test_what_lies_over_a_picture_does_not_set_the_tone() -> None:
    reference = photograph("chelsea")
    covered = reference.copy()
    covered[20:90, 30:150] = (20, 200, 60)
    same = same_colour(covered, reference, np.ones(reference.shape[:2], bool))
    assert same[100:].mean() > 0.98
    assert same[24:86, 34:146].mean() < 0.1


def test_what_is_not_seen_is_not_the_same() -> None:
    picture = photograph("chelsea")
    seen = np.zeros(picture.shape[:2], bool)
    seen[:, :100] = True
    same = same_colour(picture, picture, seen)
    assert same[:, 100:].sum() == 0
    assert same[:, :96].all()


def test_pixels_that_lie_apart_say_nothing() -> None:
    picture = photograph("chelsea")
    seen = np.zeros(picture.shape[:2], bool)
    seen[::3, ::3] = True
    assert not same_colour(picture, picture, seen).any()
