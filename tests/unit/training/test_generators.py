"""Procedural pictures: the same for the same seed, another for any kin, from every family."""

from __future__ import annotations

import numpy as np
import pytest

from guard.training.generators import FAMILIES, Dice, Kin, family_of, kindred, likeness, picture
from guard.training.generators.colours import palette
from guard.training.generators.fields import noise

SIZE = 48


@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_a_seed_gives_the_same_pictures_again(name: str) -> None:
    family = FAMILIES[name]
    first = kindred(3, SIZE, family=family)
    picture(4, SIZE, family=family)  # nothing is carried over from one picture to the next
    np.testing.assert_array_equal(kindred(3, SIZE, family=family), first)
    np.testing.assert_array_equal(picture(3, SIZE, family=family), first[Kin.FIRST])


@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_pictures_have_their_form_and_something_to_see(name: str) -> None:
    for seed in range(3):
        drawn = picture(seed, SIZE, family=FAMILIES[name])
        assert drawn.shape == (SIZE, SIZE, 3)
        assert drawn.dtype == np.uint8
        assert drawn.std() > 2


@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_kin_are_other_pictures(name: str) -> None:
    first, *kin = kindred(5, SIZE, family=FAMILIES[name])
    for other in kin:
        assert likeness(first, other) < 0.99
        assert np.abs(first.astype(int) - other).mean() > 0.5


@pytest.mark.parametrize("name", ["scans", "figures", "graphics"])
def test_near_kin_of_look_alikes_are_nearer_than_strangers(name: str) -> None:
    family = FAMILIES[name]
    near, strangers = [], []
    for seed in range(4):
        pictures = kindred(seed, SIZE, family=family)
        near.append(likeness(pictures[Kin.FIRST], pictures[Kin.NEAR]))
        strangers.append(likeness(pictures[Kin.FIRST], picture(seed + 50, SIZE, family=family)))
    assert np.mean(near) > np.mean(strangers) + 0.1


def test_programs_spread_over_all_families() -> None:
    names = [family_of(seed).name for seed in range(400)]
    assert set(names) == set(FAMILIES)
    assert max(names.count(name) for name in FAMILIES) < 100


def test_likeness_sees_through_tone_and_sign() -> None:
    drawn = picture(1, SIZE)
    assert likeness(drawn, drawn) == pytest.approx(1, abs=1e-4)
    assert likeness(drawn, 255 - drawn) == pytest.approx(1, abs=1e-3)
    assert likeness(drawn, (drawn * 0.5 + 40).astype(np.uint8)) > 0.99
    assert likeness(drawn, picture(2, SIZE)) < 0.9


def test_nudged_dice_repeat_choices_and_move_numbers_a_little() -> None:
    plain, nudged = Dice(1, 2), Dice(1, 2, nudge=0.2)
    for _ in range(20):
        assert plain.integer(0, 100) == nudged.integer(0, 100)
        assert plain.pick("abc", (1, 2, 3)) == nudged.pick("abc", (1, 2, 3))
        assert plain.chance(0.5) == nudged.chance(0.5)
    a, b = plain.uniforms(0, 1, 500), nudged.uniforms(0, 1, 500)
    assert 0.01 < np.abs(a - b).mean() < 0.1
    assert b.min() >= 0
    assert b.max() <= 1
    a, b = plain.normals(2000), nudged.normals(2000)
    assert np.corrcoef(a, b)[0, 1] == pytest.approx(np.sqrt(1 - 0.2**2), abs=0.02)


def test_noise_has_the_asked_spectrum() -> None:
    plane = noise(Dice(0), 128, 1.0)
    power = np.abs(np.fft.rfft2(plane))[1:20, 1:20]
    radius = np.hypot(*np.mgrid[1:20, 1:20])
    slope = np.polyfit(np.log(radius.ravel()), np.log(power.ravel()), 1)[0]
    assert slope == pytest.approx(-1, abs=0.2)
    assert plane.std() == pytest.approx(1, abs=1e-3)


def test_palettes_are_colours() -> None:
    for seed in range(30):
        colours = palette(Dice(seed), 5)
        assert colours.shape == (5, 3)
        assert colours.dtype == np.float32
        assert colours.min() >= 0
        assert colours.max() <= 1
