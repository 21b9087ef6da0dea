"""Pictures that can be laid on themselves elsewhere, and copies of them."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from guard.evaluation.edits import EDITS
from guard.pixels import RGBArray
from guard.verification.features import Prepared
from guard.verification.repeats import repeats
from guard.verification.verifier import PixelVerifier
from tests.support.photographs import photograph

VERIFIER = PixelVerifier()


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


@pytest.mark.parametrize("picture", [stripes(60, 0.6), stripes(25, 0.0), motifs(1), marks(1)])
def test_patterns_repeat(picture: RGBArray) -> None:
    assert repeats(Prepared(picture))


@pytest.mark.parametrize("name", ["coffee", "chelsea", "astronaut", "text", "brick"])
def test_photographs_do_not(name: str) -> None:
    assert not repeats(Prepared(photograph(name)))


@pytest.mark.parametrize("left", [0, 60, 110])
def test_what_is_the_same_in_a_mirror_or_turned_does_not_wherever_it_lies(left: int) -> None:
    """A crop of what is symmetric has its mirror line beside its middle."""
    cat = photograph("chelsea")
    half = np.concatenate([cat, cat[:, ::-1]], axis=1)
    assert not repeats(Prepared(np.ascontiguousarray(half[:, left:])))
    whole = np.concatenate([half, half[::-1, ::-1]], axis=0)
    assert not repeats(Prepared(np.ascontiguousarray(whole[left:, left:])))


def test_nothing_does_not() -> None:
    assert not repeats(Prepared(np.full((200, 200, 3), 90, np.uint8)))


def test_another_picture_of_the_same_pattern_is_no_copy_and_an_edit_of_it_is() -> None:
    one, other = motifs(1), motifs(2, lean=50)
    assert not VERIFIER.verify(other, one).is_copy
    for name in ("jpeg_30", "gamma_2", "rotate_90", "grey"):
        assert VERIFIER.verify(EDITS[name](one, [other], seed=(1, 1)), one).is_copy, name


@pytest.mark.parametrize("seed", [1, 3, 7])
def test_other_marks_of_one_pattern_are_no_copy(seed: int) -> None:
    one, other = marks(seed), marks(seed + 1)
    assert not VERIFIER.verify(other, one).is_copy
    for name in ("jpeg_30", "gamma_2", "rotate_90"):
        assert VERIFIER.verify(EDITS[name](one, [other], seed=(1, 1)), one).is_copy, name


def test_stripes_on_stripes_are_no_copy() -> None:
    bent = stripes(90, 0.9)
    assert not VERIFIER.verify(stripes(80, 0.9), bent).is_copy
    assert VERIFIER.verify(EDITS["jpeg_30"](bent, [bent], seed=(1, 1)), bent).is_copy
