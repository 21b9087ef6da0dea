"""Palettes and colour maps. Knows RGB in [0, 1]; no shapes."""

from __future__ import annotations

import numpy as np

from guard.training.generators.base import Canvas, Dice, as_canvas

__all__ = ["apply_palette", "from_hsv", "palette"]

LUMA = np.array([0.299, 0.587, 0.114], np.float32)


def palette(dice: Dice, count: int | None = None) -> Canvas:
    """(count, 3) float32 in [0, 1]; one of six tempers, from garish to nearly grey."""
    count = count or dice.integer(3, 9)
    temper = dice.pick(("random", "harmony", "natural", "two_tone", "grey", "pastel"), (1, 1.2, 2.5, 0.8, 0.8, 0.5))
    if temper == "random":
        colours = dice.uniforms(0, 1, count, 3)
    elif temper == "harmony":  # hues around one, two or three centres
        centres = dice.uniform(0, 1) + np.arange(dice.integer(1, 4)) / dice.pick((2.0, 3.0, 12.0))
        hue = centres[dice.integers(0, len(centres), count)] + 0.04 * dice.normals(count)
        saturation = np.clip(dice.uniform(0.2, 1) + 0.2 * dice.normals(count), 0, 1)
        colours = from_hsv(hue, saturation, dice.uniforms(0.08, 1, count)).astype(np.float64)
    elif temper == "natural":  # photographs: luma varies most, then blue to yellow, then green to magenta
        luma = dice.uniforms(0, 1, count)[:, None]
        blue, green = 0.14 * dice.normals(count, 1), 0.05 * dice.normals(count, 1)
        cast = 0.06 * dice.normals(3)
        colours = luma + blue * np.array([1, 0.1, -1]) + green * np.array([-0.5, 1, -0.5]) + cast
    elif temper == "two_tone":  # everything between two colours
        ends = dice.uniforms(0, 1, 2, 3)
        share = np.sort(dice.uniforms(0, 1, count))[:, None]
        colours = ends[0] * (1 - share) + ends[1] * share + 0.03 * dice.normals(count, 3)
    elif temper == "grey":
        colours = dice.uniforms(0, 1, count, 1) + dice.pick((0.0, 0.02, 0.05)) * dice.normals(count, 3)
    else:
        colours = 1 - dice.uniform(0.15, 0.5) * dice.uniforms(0, 1, count, 3)
    return np.clip(colours, 0, 1).astype(np.float32)


def from_hsv(hue: object, saturation: object, value: object) -> Canvas:
    """Arrays (n,), hue in turns -> (n, 3) RGB."""
    h, s, v = (np.asarray(a, np.float64) for a in (hue, saturation, value))
    offsets = np.array([5.0, 3.0, 1.0])
    k = (offsets + (h[..., None] % 1) * 6) % 6
    rgb = v[..., None] * (1 - s[..., None] * np.clip(np.minimum(k, 4 - k), 0, 1))
    return as_canvas(rgb)


def apply_palette(plane: Canvas, colours: Canvas, *, smooth: bool = True) -> Canvas:
    """(h, w) in [0, 1] -> (h, w, 3): the palette as a ramp, or as steps."""
    last = len(colours) - 1
    place = np.clip(plane, 0, 1) * last
    if not smooth:
        steps: Canvas = colours[np.round(place).astype(np.intp)]
        return steps
    low = np.minimum(place.astype(np.intp), max(last - 1, 0))
    share = (place - low)[..., None].astype(np.float32)
    ramp: Canvas = colours[low] * (1 - share) + colours[np.minimum(low + 1, last)] * share
    return ramp
