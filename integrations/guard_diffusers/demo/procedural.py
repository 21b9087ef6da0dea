"""Procedural pictures of the demo's training set, and their captions. Knows seeds and pixels; not models.

Frozen: the shipped demo weights were trained on exactly these pictures, so a change here
asks for new weights. (The descriptor's training pictures are a richer set of their own.)
Every family is drawn from signed distances and waves with numpy alone at twice the size
and averaged down, which is smooth, quick, and the same on every machine.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from guard_diffusers.demo.pictures import SIZE

__all__ = ["COLOURS", "FAMILIES", "Drawing", "card", "draw"]

Plane = npt.NDArray[np.float64]  # (2 SIZE, 2 SIZE)
Canvas = npt.NDArray[np.float64]  # (2 SIZE, 2 SIZE, 3) RGB in [0, 255]; palettes are (3, 3)
Picture = npt.NDArray[np.uint8]  # (SIZE, SIZE, 3) RGB

COLOURS: dict[str, tuple[int, int, int]] = {
    "black": (16, 16, 20), "white": (245, 245, 240), "grey": (128, 130, 134),
    "red": (205, 40, 40), "orange": (238, 132, 30), "yellow": (245, 214, 60),
    "lime": (150, 205, 50), "green": (30, 130, 60), "teal": (20, 140, 140),
    "cyan": (80, 205, 225), "blue": (35, 80, 200), "navy": (20, 30, 90),
    "purple": (115, 50, 160), "pink": (240, 130, 175), "brown": (115, 70, 35),
    "beige": (222, 202, 165),
}  # fmt: skip

_axis = (np.arange(2 * SIZE) + 0.5) / SIZE - 1  # pixel centres in (-1, 1)
_X, _Y = np.meshgrid(_axis, _axis)


@dataclass(frozen=True, slots=True)
class Drawing:
    picture: Picture
    caption: str


def draw(seed: int) -> Drawing:
    """Draw the picture of a seed: family, two or three colours and geometry all follow from it."""
    rng = np.random.default_rng([2023, seed])
    name = list(FAMILIES)[int(rng.integers(len(FAMILIES)))]
    names = [str(n) for n in rng.permutation(list(COLOURS))[:3]]
    palette = np.array([COLOURS[n] for n in names], np.float64)
    canvas, word = FAMILIES[name](rng, palette)
    return Drawing(_reduce(canvas), f"{word} {name} in {names[0]} and {names[1]} with {names[2]}")


def card(variant: int) -> Drawing:
    """Draw one of the variants of a template: the same card, another emblem and colour."""
    emblem = list(COLOURS)[variant % len(COLOURS)]
    canvas = _fill(COLOURS["beige"])
    _paint(canvas, _box(0, 0, 0.88, 0.94) - 0.03, COLOURS["navy"])
    _paint(canvas, _box(0, 0.05, 0.8, 0.8), COLOURS["white"])
    _paint(canvas, _box(0, -0.84, 0.8, 0.06), COLOURS["yellow"])
    _paint(canvas, _box(0, 0.62, 0.6, 0.05), COLOURS["grey"])
    _paint(canvas, _box(0, 0.76, 0.45, 0.04), COLOURS["grey"])
    radius, angle = np.hypot(_X, _Y + 0.1), np.arctan2(_Y + 0.1, _X)
    petals = 2 + variant % 6
    shape = radius - 0.32 * (1 + 0.45 * np.cos(petals * angle + variant))
    _paint(canvas, shape, COLOURS[emblem] if emblem != "white" else COLOURS["black"])
    return Drawing(_reduce(canvas), f"playing card with {emblem} emblem")


def _reduce(canvas: Canvas) -> Picture:
    small = canvas.reshape(SIZE, 2, SIZE, 2, 3).mean(axis=(1, 3))
    picture: Picture = np.clip(np.round(small), 0, 255).astype(np.uint8)
    return picture


def _fill(colour: npt.ArrayLike) -> Canvas:
    return np.broadcast_to(np.asarray(colour, np.float64), (2 * SIZE, 2 * SIZE, 3)).copy()


def _paint(canvas: Canvas, distance: Plane, colour: npt.ArrayLike) -> None:
    """Paint where the signed distance is below 0, with an edge one pixel wide."""
    cover = np.clip(0.5 - distance * SIZE, 0, 1)[..., None]
    canvas += cover * (np.asarray(colour, np.float64) - canvas)


def _box(x: float, y: float, half_w: float, half_h: float) -> Plane:
    return np.maximum(np.abs(_X - x) - half_w, np.abs(_Y - y) - half_h)


def _turned(angle: float) -> tuple[Plane, Plane]:
    c, s = np.cos(angle), np.sin(angle)
    return c * _X + s * _Y, c * _Y - s * _X


def _blend(weight: Plane, palette: Canvas) -> Canvas:
    """Colour a plane with values in [0, 1] along the palette."""
    at = np.clip(weight, 0, 1) * (len(palette) - 1)
    low = np.minimum(at.astype(np.int64), len(palette) - 2)
    part = (at - low)[..., None]
    blended: Canvas = palette[low] * (1 - part) + palette[low + 1] * part
    return blended


def _noise(rng: np.random.Generator, slope: float) -> Plane:
    """1/f^slope noise, scaled to [0, 1] over its middle 96 %."""
    n = 2 * SIZE
    frequency = np.hypot(np.fft.fftfreq(n)[:, None], np.fft.rfftfreq(n)[None])
    frequency[0, 0] = 1
    spectrum = rng.standard_normal((n, n // 2 + 1)) + 1j * rng.standard_normal((n, n // 2 + 1))
    plane = np.fft.irfft2(spectrum * frequency**-slope, s=(n, n))
    low, high = np.quantile(plane, [0.02, 0.98])
    scaled: Plane = (plane - low) / (high - low)
    return scaled


Family = Callable[[np.random.Generator, Canvas], tuple[Canvas, str]]


def _stripes(rng: np.random.Generator, palette: Canvas) -> tuple[Canvas, str]:
    u, v = _turned(rng.uniform(0, np.pi))
    count, bend = rng.uniform(2, 7), rng.uniform(0, 0.5)
    phase = (u + bend * np.sin(np.pi * v * rng.uniform(0.5, 1.5))) * count + rng.uniform(0, 3)
    return palette[np.floor(phase).astype(np.int64) % 3], "bent" if bend > 0.15 else "straight"


def _checks(rng: np.random.Generator, palette: Canvas) -> tuple[Canvas, str]:
    u, v = _turned(rng.uniform(0, np.pi / 2))
    n, m = rng.uniform(1.5, 5, 2)
    odd = (np.floor(u * n + 9) + np.floor(v * m + 9)).astype(np.int64) % 2
    canvas = palette[odd]
    _paint(
        canvas, np.hypot(_X - rng.uniform(-0.5, 0.5), _Y - rng.uniform(-0.5, 0.5)) - rng.uniform(0.15, 0.4), palette[2]
    )
    return canvas, "wide" if n + m < 6.5 else "narrow"


def _leaves(rng: np.random.Generator, palette: Canvas) -> tuple[Canvas, str]:
    canvas = _fill(palette[0])
    count = int(rng.integers(12, 60))
    for radius in 0.1 + 0.45 * rng.random(count) ** 2:
        x, y = rng.uniform(-1.1, 1.1, 2)
        shade = palette[rng.integers(3)] * rng.uniform(0.7, 1.2)
        _paint(canvas, np.hypot(_X - x, _Y - y) - radius, np.clip(shade, 0, 255))
    return canvas, "dense" if count > 36 else "sparse"


def _rings(rng: np.random.Generator, palette: Canvas) -> tuple[Canvas, str]:
    x, y = rng.uniform(-0.6, 0.6, 2)
    radius = np.hypot(_X - x, (_Y - y) * rng.uniform(0.6, 1.6))
    count = rng.uniform(2, 7)
    return palette[np.floor(radius * count).astype(np.int64) % 3], "broad" if count < 4.5 else "thin"


def _cells(rng: np.random.Generator, palette: Canvas) -> tuple[Canvas, str]:
    count = int(rng.integers(6, 30))
    points = rng.uniform(-1, 1, (count, 2))
    distance = np.stack([np.hypot(_X - x, _Y - y) for x, y in points])
    order = np.sort(distance, axis=0)[:2]
    shade = palette[rng.integers(0, 3, count)] * rng.uniform(0.75, 1.15, (count, 1))
    canvas = np.clip(shade[distance.argmin(axis=0)], 0, 255)
    _paint(canvas, order[1] - order[0] - 0.03, (0, 0, 0))
    return canvas, "many" if count > 16 else "few"


def _clouds(rng: np.random.Generator, palette: Canvas) -> tuple[Canvas, str]:
    slope = rng.uniform(1.3, 2.4)
    return _blend(_noise(rng, slope), palette), "soft" if slope > 1.8 else "rough"


def _hills(rng: np.random.Generator, palette: Canvas) -> tuple[Canvas, str]:
    canvas = _blend((_Y + 1) / 2, palette[:2])
    x, y = rng.uniform(-0.8, 0.8), rng.uniform(-0.9, -0.1)
    _paint(canvas, np.hypot(_X - x, _Y - y) - rng.uniform(0.12, 0.35), palette[2])
    ridges = int(rng.integers(1, 4))
    for i in range(ridges):
        wave = sum(rng.uniform(0.05, 0.25) * np.sin(rng.uniform(1, 6) * _X + rng.uniform(0, 7)) for _ in range(3))
        _paint(canvas, rng.uniform(-0.1, 0.2) + 0.3 * i - _Y + wave, palette[1] * (0.75 - 0.22 * i))
    return canvas, "rolling" if ridges > 1 else "lone"


def _flowers(rng: np.random.Generator, palette: Canvas) -> tuple[Canvas, str]:
    canvas = _fill(palette[0])
    count = int(rng.integers(1, 6))
    for _ in range(count):
        x, y = rng.uniform(-0.6, 0.6, 2) * (count > 1)
        size, petals = rng.uniform(0.25, 0.75) / count**0.4, int(rng.integers(3, 9))
        radius, angle = np.hypot(_X - x, _Y - y), np.arctan2(_Y - y, _X - x)
        _paint(canvas, radius - size * (1 + 0.4 * np.cos(petals * angle + rng.uniform(0, 6))), palette[1])
        _paint(canvas, radius - 0.35 * size, palette[2])
    return canvas, "several" if count > 2 else "single"


def _panels(rng: np.random.Generator, palette: Canvas) -> tuple[Canvas, str]:
    canvas = _fill(palette[0])
    boxes = [(-1.0, -1.0, 1.0, 1.0)]
    splits = int(rng.integers(4, 11))
    for _ in range(splits):
        area = [(b[2] - b[0]) * (b[3] - b[1]) for b in boxes]
        x0, y0, x1, y1 = boxes.pop(int(np.argmax(area)))
        t = rng.uniform(0.3, 0.7)
        if x1 - x0 > y1 - y0:
            m = x0 + t * (x1 - x0)
            boxes += [(x0, y0, m, y1), (m, y0, x1, y1)]
        else:
            m = y0 + t * (y1 - y0)
            boxes += [(x0, y0, x1, m), (x0, m, x1, y1)]
    for x0, y0, x1, y1 in boxes:
        shade = np.clip(palette[rng.integers(3)] * rng.uniform(0.8, 1.2), 0, 255)
        _paint(canvas, _box((x0 + x1) / 2, (y0 + y1) / 2, (x1 - x0) / 2 - 0.025, (y1 - y0) / 2 - 0.025), shade)
    return canvas, "crowded" if splits > 7 else "large"


def _contours(rng: np.random.Generator, palette: Canvas) -> tuple[Canvas, str]:
    levels = rng.uniform(4, 11)
    plane = _noise(rng, 2.2) * levels
    line = np.abs(plane - np.round(plane)) < 0.14
    canvas = _blend(np.round(plane) / levels, palette[:2])
    canvas[line] = palette[2]
    return canvas, "close" if levels > 7 else "spaced"


def _waves(rng: np.random.Generator, palette: Canvas) -> tuple[Canvas, str]:
    total = np.zeros_like(_X)
    count = int(rng.integers(2, 6))
    for _ in range(count):
        u, _unused = _turned(rng.uniform(0, np.pi))
        total += np.sin(u * rng.uniform(2, 12) + rng.uniform(0, 7))
    return _blend(0.5 + total / (1.6 * count), palette), "crossed" if count > 3 else "calm"


def _rays(rng: np.random.Generator, palette: Canvas) -> tuple[Canvas, str]:
    x, y = rng.uniform(-0.7, 0.7, 2)
    count, twist = int(rng.integers(3, 13)), rng.uniform(-3, 3)
    angle = np.arctan2(_Y - y, _X - x) / (2 * np.pi) + twist * np.hypot(_X - x, _Y - y) / 6
    canvas = palette[np.floor(angle * 2 * count).astype(np.int64) % 2]
    _paint(canvas, np.hypot(_X - x, _Y - y) - rng.uniform(0.1, 0.35), palette[2])
    return canvas, "twisted" if abs(twist) > 1.2 else "plain"


FAMILIES: dict[str, Family] = {
    "stripes": _stripes, "checks": _checks, "discs": _leaves, "rings": _rings,
    "cells": _cells, "clouds": _clouds, "hills": _hills, "flowers": _flowers,
    "panels": _panels, "contours": _contours, "waves": _waves, "rays": _rays,
}  # fmt: skip
