"""Writing in scripts that do not exist. Knows strokes on a small grid; no font and no language.

A script is drawn from its seed: thirty signs of two to five strokes, their weight, slant and width. Fonts would tie
the pictures to somebody's design and to the version of a library.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from guard.training.generators.base import Dice, Floats
from guard.training.generators.shapes import Colour, Painter

__all__ = ["Script", "known_script", "make_script", "write_block", "write_line"]

SIGNS, POOL = 30, 64


@dataclass(frozen=True, slots=True, eq=False)
class Script:
    signs: tuple[tuple[Floats, tuple[slice, ...]], ...]
    """Points (n, 2) of a sign in [0, 1] x [0, 1], y down, and which of them make a stroke."""
    advance: float
    """Width of a sign with its gap, in heights."""
    weight: float
    """Stroke width in heights."""
    connected: bool
    """A bar joins the signs of a word."""


def make_script(dice: Dice) -> Script:
    columns, rows = dice.integer(2, 4), dice.integer(3, 5)
    curved, slant = dice.uniform(0, 1), dice.pick((0.0, 0.0, 0.2, 0.35))
    signs = []
    for _ in range(SIGNS):
        strokes = []
        for _ in range(dice.integer(2, 5)):
            a, b = dice.integers(0, columns, 2) / (columns - 1), dice.integers(0, rows, 2) / (rows - 1)
            ends = np.stack([a, b], axis=-1)
            if dice.chance(curved):
                bow = dice.uniform(-0.6, 0.6)
                t = np.linspace(0, 1, 7)[:, None]
                normal = np.array([ends[0, 1] - ends[1, 1], ends[1, 0] - ends[0, 0]])
                strokes.append(ends[0] * (1 - t) + ends[1] * t + 4 * bow * t * (1 - t) * (normal + 0.15))
            else:
                strokes.append(ends)
        for stroke in strokes:
            stroke[:, 0] = stroke[:, 0] * 0.8 + slant * (1 - stroke[:, 1])
        ends_at = np.cumsum([0, *map(len, strokes)])
        slices = tuple(slice(int(a), int(b)) for a, b in itertools.pairwise(ends_at))
        signs.append((np.concatenate(strokes), slices))
    return Script(tuple(signs), dice.uniform(0.6, 1.05), dice.uniform(0.07, 0.24), dice.chance(0.15))


@lru_cache(maxsize=POOL)
def known_script(number: int) -> Script:
    """One of POOL scripts that are kept, for edits: making one takes longer than writing a line."""
    return make_script(Dice(number % POOL, 0x6C))


def write_line(
    painter: Painter,
    dice: Dice,
    script: Script,
    corner: tuple[float, float],
    height: float,
    count: int,
    colour: Colour,
    right: float | None = None,
) -> float:
    """Write about `count` signs from the top left corner, in px, not beyond `right`; returns where the line ended.

    Below 5 px a word is a bar, as on a page seen from afar.
    """
    x, y = corner
    right = painter.size if right is None else right
    step = script.advance * height
    strokes: list[npt.NDArray[np.int32]] = []
    word = dice.integer(2, 9)
    for _ in range(count):
        if x + step > right:
            break
        if word == 0:
            x += 0.7 * step
            word = dice.integer(2, 9)
            continue
        word -= 1
        if height < 5:
            strokes.append(_sixteenths(((x, y + height / 2), (x + step, y + height / 2))))
        else:
            points, slices = script.signs[dice.integer(0, SIGNS)]
            placed = _sixteenths(points * (step, height) + (x, y))
            strokes.extend(placed[part] for part in slices)
            if script.connected:
                strokes.append(_sixteenths(((x, y), (x + step, y))))
        x += step
    painter.strokes(strokes, colour, height * (0.4 if height < 5 else script.weight))
    return x


def write_block(
    painter: Painter,
    dice: Dice,
    script: Script,
    box: tuple[float, float, float, float],
    height: float,
    colour: Colour,
    spacing: float = 1.6,
) -> None:
    """Fill the box (left, top, right, bottom; px) with ragged lines and now and then a gap between paragraphs."""
    left, top, right, bottom = box
    y = top
    while y + height <= bottom:
        if not dice.chance(0.1):
            longest = int((right - left) / (script.advance * height)) + 1
            write_line(painter, dice, script, (left, y), height, dice.integer(longest // 2, longest + 2), colour, right)
        y += spacing * height


def _sixteenths(points: npt.ArrayLike) -> npt.NDArray[np.int32]:
    return np.round(np.asarray(points) * 16).astype(np.int32)
