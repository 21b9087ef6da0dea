"""Pictures that can be laid on themselves elsewhere, and copies of them."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest

from guard.evaluation.edits import EDITS
from guard.pixels import RGBArray
from guard.verification.features import Prepared
from guard.verification.repeats import shown_elsewhere
from guard.verification.verifier import PixelVerifier
from guard.verification.weigh import DOUBT
from tests.support.photographs import photograph

VERIFIER = PixelVerifier()
LIMITS = VERIFIER.limits


def stripes(period: float, angle: float) -> RGBArray:
    y, x = np.mgrid[0:256, 0:256]
    wave = np.sin((np.cos(angle) * x + np.sin(angle) * y) * 2 * np.pi / period)
    return np.repeat((wave * 90 + 120).astype(np.uint8)[..., None], 3, axis=2)


def motifs(seed: int, lean: float = 20) -> RGBArray:
    """Leaves in rows; which of them are red differs by the seed. lean: of each, in degrees."""
    picture = np.full((256, 256, 3), (120, 170, 200), np.uint8)
    rng = np.random.default_rng(seed)
    for y in range(7):
        for x in range(7):
            ink = (170, 30, 40) if rng.random() < 0.15 else (20, 110, 50)
            cv2.ellipse(picture, (18 + 37 * x, 18 + 37 * y), (14, 6), lean, 0, 360, ink, -1)
    return picture


def marks(seed: int, step: int = 24) -> RGBArray:
    """Rings and squares by turns; some are darker, some have a dot."""
    picture = np.full((256, 256, 3), 255, np.uint8)
    rng = np.random.default_rng(seed)
    for y in range(11):
        for x in range(11):
            ink, centre = (70 if rng.random() < 0.12 else 140), (step * x, step * y)
            if (x + y) % 2:
                cv2.circle(picture, centre, 9, (ink,) * 3, 2)
            else:
                square = cv2.boxPoints(((float(centre[0]), float(centre[1])), (18.0, 18.0), 25.0))
                cv2.fillPoly(picture, [square.astype(np.int32)], (ink,) * 3)
            if rng.random() < 0.15:
                cv2.circle(picture, centre, 4, (60,) * 3, -1)
    return picture


def cross(x: int, y: int, width: int) -> RGBArray:
    """Two bars with borders, as flags have them; x, y: where they cross."""
    flag = np.full((256, 256, 3), (120, 76, 20), np.uint8)
    for half, ink in ((width // 2, (30, 200, 20)), (width // 4, (20, 140, 110))):
        flag[y - half : y + half] = ink
        flag[:, x - half : x + half] = ink
    return flag


def discs(seed: int) -> RGBArray:
    """Large ones in two inks on a lattice that lies a little further on with each seed; four fit along a side."""
    picture = np.full((256, 256, 3), (240, 200, 30), np.uint8)
    rng = np.random.default_rng(seed)
    for y in range(-1, 5):
        for x in range(-1, 6):
            ink = (10, 40, 150) if rng.random() < 0.3 else (12, 12, 12)
            centre = (20 + 70 * x + 18 * (y % 2) + 5 * (seed % 3), 30 + 66 * y + 4 * (seed % 2))
            cv2.circle(picture, centre, 25, ink, -1, cv2.LINE_AA)
    return picture


def flag(*widths: int) -> RGBArray:
    """Stripes of these widths, in px."""
    inks = np.array([(190, 30, 40), (240, 240, 240), (20, 40, 140), (230, 180, 20)], np.uint8)
    rows = np.repeat(inks[: len(widths)], widths, axis=0)
    return np.repeat(rows[:, None], 256, axis=1)


@pytest.mark.parametrize(
    ("picture", "least"),
    [
        (stripes(60, 0.6), 1),
        (stripes(25, 0.0), 1),
        (flag(80, 90, 86), 1),
        (motifs(1), 0.9),
        (marks(1), 0.8),
        (discs(1), 0.9),
    ],
)
def test_patterns_repeat(picture: RGBArray, least: float) -> None:
    assert least - 0.005 <= shown_elsewhere(Prepared(picture)) <= 1


@pytest.mark.parametrize("name", ["coffee", "chelsea", "astronaut", "text", "brick"])
def test_photographs_do_not(name: str) -> None:
    assert shown_elsewhere(Prepared(photograph(name))) < LIMITS.repetition


@pytest.mark.parametrize("left", [0, 60, 110])
def test_what_is_the_same_in_a_mirror_or_turned_does_not_wherever_it_lies(left: int) -> None:
    """A crop of what is symmetric has its mirror line beside its middle."""
    cat = photograph("chelsea")
    half = np.concatenate([cat, cat[:, ::-1]], axis=1)
    assert shown_elsewhere(Prepared(np.ascontiguousarray(half[:, left:]))) < LIMITS.repetition
    whole = np.concatenate([half, half[::-1, ::-1]], axis=0)
    assert shown_elsewhere(Prepared(np.ascontiguousarray(whole[left:, left:]))) < LIMITS.repetition


@pytest.mark.parametrize(("height", "width"), [(1, 1), (300, 2), (8, 8), (13, 200), (40, 1000)])
def test_any_size_will_do(height: int, width: int) -> None:
    y, x = np.mgrid[:height, :width]
    checks = np.repeat((((x // 5) + (y // 5)) % 2 * 200).astype(np.uint8)[..., None], 3, axis=2)
    assert 0 <= shown_elsewhere(Prepared(checks)) <= 1


def test_nothing_does_not() -> None:
    assert shown_elsewhere(Prepared(np.full((200, 200, 3), 90, np.uint8))) == 0


def test_another_picture_of_the_same_pattern_is_no_copy_and_an_edit_of_it_is() -> None:
    one, other = motifs(1), motifs(2, lean=50)
    assert not VERIFIER.verify(other, one).is_copy
    for name in ("jpeg_30", "gamma_2", "rotate_90", "grey"):
        assert VERIFIER.verify(EDITS[name](one, [other], seed=(1, 1)), one).is_copy, name


@pytest.mark.parametrize("drawn", [marks, discs])
@pytest.mark.parametrize("seed", [1, 3, 7])
def test_other_marks_of_one_pattern_are_no_copy(drawn: Callable[[int], RGBArray], seed: int) -> None:
    one, other = drawn(seed), drawn(seed + 1)
    assert not VERIFIER.verify(other, one).is_copy
    for name in ("jpeg_30", "gamma_2", "rotate_90"):
        assert VERIFIER.verify(EDITS[name](one, [other], seed=(1, 1)), one).is_copy, name


def test_stripes_on_stripes_are_no_copy() -> None:
    bent = stripes(90, 0.9)
    assert not VERIFIER.verify(stripes(80, 0.9), bent).is_copy
    assert VERIFIER.verify(EDITS["jpeg_30"](bent, [bent], seed=(1, 1)), bent).is_copy


@pytest.mark.parametrize("widths", [(70, 96, 90), (86, 80, 90)])
def test_stripes_of_other_widths_are_no_copy(widths: tuple[int, ...]) -> None:
    one = flag(80, 90, 86)
    assert not VERIFIER.verify(flag(*widths), one).is_copy
    for name in ("jpeg_30", "rotate_90", "flip_vertical"):
        assert VERIFIER.verify(EDITS[name](one, [one], seed=(1, 1)), one).is_copy, name


@pytest.mark.parametrize("other", [(80, 128, 16), (118, 128, 20), (150, 100, 26)])
def test_bars_that_cross_are_known_by_their_place(other: tuple[int, int, int]) -> None:
    """What is thinner or elsewhere may be another cross, and what was moved is not refuted."""
    one = cross(100, 128, 40)
    assert not VERIFIER.verify(cross(*other), one).is_copy
    for name in ("jpeg_30", "rotate_90"):
        assert VERIFIER.verify(EDITS[name](one, [one], seed=(1, 1)), one).is_copy, name
    for name in ("crop_60", "rotate_5"):
        moved = VERIFIER.verify(EDITS[name](one, [one], seed=(1, 1)), one)
        assert 0 > moved.strength > -DOUBT, name


def test_what_a_pattern_shows_in_one_place_only_tells_a_copy() -> None:
    """Stripes with two crests, turned a little: neither their frame nor many keypoints lay them on one another."""
    one = flag(80, 90, 86)
    cv2.ellipse(one, (70, 120), (34, 26), 20, 0, 300, (20, 90, 40), -1, cv2.LINE_AA)
    cv2.ellipse(one, (190, 200), (40, 30), 60, 0, 250, (220, 190, 40), -1, cv2.LINE_AA)
    assert VERIFIER.verify(EDITS["rotate_5"](one, [one], seed=(1, 1)), one).is_copy
