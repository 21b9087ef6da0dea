"""Procedural pictures by seed: a family a file, one function that draws. No picture made by a person goes in.

`picture(program, kind, size)` is deterministic for a version of this package, numpy and OpenCV.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from guard.training.generators import (
    composites,
    contours,
    expressions,
    figures,
    fractals,
    graphics,
    layouts,
    leaves,
    scans,
    scenes,
    spectra,
    stills,
)
from guard.training.generators.base import Canvas, Dice, Draw, Family, Sources, as_canvas
from guard.training.generators.colours import LUMA
from guard.training.generators.fields import noise

__all__ = ["FAMILIES", "Dice", "Draw", "Family", "Kin", "Sources", "family_of", "kindred", "likeness", "picture"]

FAMILIES: Mapping[str, Family] = MappingProxyType(
    {
        family.name: family
        for family in (
            Family("leaves", leaves.draw, 2.4),
            Family("expressions", expressions.draw, 1.3),
            Family("fractals", fractals.draw, 0.8),
            Family("spectra", spectra.draw, 1.4),
            Family("contours", contours.draw, 1.2, near=(0.08, 0.3)),
            Family("layouts", layouts.draw, 1.6, recolours=False),
            Family("scenes", scenes.draw, 2.2, recolours=False),
            Family("stills", stills.draw, 2.4, recolours=False),
            Family("graphics", graphics.draw, 1.8, near=(0.25, 0.6)),
            Family("scans", scans.draw, 1.5, near=(0.35, 0.8)),
            Family("figures", figures.draw, 0.9, near=(0.35, 0.8)),
            Family("composites", composites.draw, 2.4, recolours=False),
        )
    }
)
"""A read-only view, in the order in which programs choose."""

LOWEST_DEVIATION = 7.0  # of 255: below, a picture is too plain to be told from others
HIGHEST_LIKENESS = 0.975  # correlation of luma at 44 px, either sign: above, an edit could have made one of the other
TRIES = 6
GIVE_UP_NUDGING = 4
VARIANT_NUDGE = 0.5  # for families whose content is colour only


class Kin(IntEnum):
    """How a picture is related to the first one of its program. All four are different pictures: none is a copy."""

    FIRST = 0
    SIBLING = 1
    """Another layout."""
    VARIANT = 2
    """The same layout, other content."""
    NEAR = 3
    """Every discrete choice the same, every continuous one moved a little."""


def family_of(program: int) -> Family:
    """The family that a program's seed belongs to."""
    families = list(FAMILIES.values())
    return Dice(program, 0xFA).pick(families, [family.weight for family in families])


def picture(program: int, size: int = 176, *, family: Family | None = None) -> npt.NDArray[np.uint8]:
    """(size, size, 3) uint8 RGB: the first picture of the program with this seed (>= 0); family: None for its own."""
    return _first(family or family_of(program), program, size)[0]


def kindred(program: int, size: int = 176, *, family: Family | None = None) -> npt.NDArray[np.uint8]:
    """(4, size, size, 3) uint8 RGB: one picture for each `Kin`, in that order.

    A relation that came out nearly equal to the first picture is drawn again, further away: what an edit could
    have made of it must not stand for another picture.
    """
    chosen = family or family_of(program)
    first, attempt = _first(chosen, program, size)
    pictures = [first]
    for kin in (Kin.SIBLING, Kin.VARIANT, Kin.NEAR):
        for push in range(TRIES):
            drawn = _draw(chosen, program, kin, attempt, push, size)
            if likeness(first, drawn) <= HIGHEST_LIKENESS:
                break
        pictures.append(drawn)
    return np.stack(pictures)


def likeness(a: npt.NDArray[np.uint8], b: npt.NDArray[np.uint8]) -> float:
    """|correlation| of luma at a quarter of the size, in [0, 1]: 1 for any change of brightness, contrast or sign."""
    small = []
    for image in (a, b):
        side = len(image) // 4
        luma = image[: 4 * side, : 4 * side].astype(np.float32) @ LUMA
        plane = luma.reshape(side, 4, side, 4).mean((1, 3))
        plane -= plane.mean()
        small.append(plane / (np.linalg.norm(plane) + 1e-6))
    return abs(float((small[0] * small[1]).sum()))


def _first(family: Family, program: int, size: int) -> tuple[npt.NDArray[np.uint8], int]:
    """The first attempt that is not too plain, and its number."""
    for attempt in range(TRIES):
        drawn = _draw(family, program, Kin.FIRST, attempt, 0, size)
        if drawn[::2, ::2].std(axis=(0, 1)).max() >= LOWEST_DEVIATION:
            break
    return drawn, attempt


def _draw(family: Family, program: int, kin: Kin, attempt: int, push: int, size: int) -> npt.NDArray[np.uint8]:
    """push: how often this relation came out too much like the first picture."""
    nudge = 0.0
    if kin is Kin.NEAR:
        nudge = min(1.0, Dice(program, 0x4E).uniform(*family.near) * (1 + 0.7 * push))
    elif kin is Kin.VARIANT:
        nudge = min(1.0, VARIANT_NUDGE * family.recolours + 0.25 * push)
    other = kin is Kin.SIBLING or push >= GIVE_UP_NUDGING  # as for tilings, where every choice is discrete
    layout = 100 * attempt + (10 * kin + push if other else 0)
    content = 100 * attempt + (10 * kin + push if kin is Kin.VARIANT else 0)
    dice = Sources(
        program=Dice(program, 0x9A),
        layout=Dice(program, 0x1A, layout, nudge=nudge, nudge_seed=kin),
        content=Dice(program, 0xC0, content, nudge=nudge / 2 if kin is Kin.NEAR else 0.0),
    )
    with np.errstate(all="ignore"):  # expression graphs overflow now and then
        canvas = np.clip(np.nan_to_num(family.draw(dice, size)), 0, 1).astype(np.float32)
    finished = _finish(canvas, Dice(program, 0xF1), dice.content)
    return (np.clip(finished, 0, 1) * 255 + 0.5).astype(np.uint8)


def _finish(canvas: Canvas, program: Dice, content: Dice) -> Canvas:
    """What cameras and printers do to any picture: chroma, tone, grain. The same for all kin of a program."""
    grey = as_canvas(canvas @ LUMA)[..., None]
    chroma = program.pick((0.0, 1.0, program.uniform(0.2, 0.8)), (0.1, 0.55, 0.35))
    canvas = as_canvas(grey + (canvas - grey) * chroma)
    if program.chance(0.35):
        canvas = as_canvas(np.clip(canvas, 0, 1) ** np.exp(program.uniform(-0.5, 0.5)))
    if program.chance(0.3):
        low, high = program.uniform(0, 0.2), program.uniform(0.75, 1)
        canvas = as_canvas(low + (high - low) * canvas)
    if program.chance(0.35):
        canvas = canvas + np.float32(program.uniform(0, 0.04)) * noise(content, len(canvas), 0.2)[..., None]
    return canvas.astype(np.float32)
