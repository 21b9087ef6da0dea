"""One drawing in other colours, and what is none: edits of the whole, and what is pasted on a picture."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw

from guard.dedup.recoloured import recoloured
from guard.evaluation.edits import EDITS
from guard.pixels import RGBArray
from tests.support.photographs import photograph


def garment(colour: tuple[int, int, int]) -> RGBArray:
    """A figure of one colour on a coloured ground with a frame."""
    image = Image.new("RGB", (160, 200), "#e8e0d0")
    pen = ImageDraw.Draw(image)
    pen.rectangle((4, 4, 155, 195), outline="#203060", width=6)
    pen.polygon([(50, 40), (110, 40), (140, 80), (118, 92), (112, 160), (48, 160), (42, 92), (20, 80)], fill=colour)
    pen.rectangle((60, 100, 100, 112), fill="#c03020")
    return np.asarray(image)


@pytest.mark.parametrize(
    ("one", "other"),
    [((30, 30, 30), (30, 130, 60)), ((130, 130, 130), (20, 140, 140)), ((200, 40, 40), (60, 60, 200))],
)
def test_a_garment_in_another_colour(one: tuple[int, int, int], other: tuple[int, int, int]) -> None:
    assert recoloured(garment(one), garment(other))
    assert recoloured(garment(other), garment(one))
    assert not recoloured(garment(one), garment(one))


WHOLE = ("jpeg_10", "blur", "grey", "saturation", "low_contrast", "vignette", "caption", "noise")


@pytest.mark.parametrize("edit", WHOLE)
@pytest.mark.parametrize("name", ["astronaut", "coffee", "chelsea"])
def test_an_edit_of_the_whole_is_none(name: str, edit: str) -> None:
    picture = photograph(name)
    assert not recoloured(picture, EDITS[edit](picture, [photograph("rocket")]))


def test_a_sticker_brings_its_own_outlines() -> None:
    picture = photograph("chelsea").copy()
    stuck = picture.copy()
    stuck[20:90, 40:130] = (30, 180, 90)
    stuck[40:70, 60:110] = (250, 240, 40)
    assert not recoloured(picture, stuck)


def test_sizes_need_not_agree() -> None:
    small = np.asarray(Image.fromarray(garment((200, 40, 40))).resize((80, 100)))
    assert recoloured(small, garment((60, 60, 200)))
    assert not recoloured(small, garment((200, 40, 40)))
