"""A few large lit things with parts before a ground out of focus, as a camera sees them. Knows objects; no horizon."""

from __future__ import annotations

import numpy as np

from guard.training.generators import expressions, leaves, scenes, spectra
from guard.training.generators.base import Canvas, Sources, as_canvas
from guard.training.generators.colours import palette
from guard.training.generators.fields import blur, grid, noise, texture
from guard.training.generators.shapes import OUTLINES, Painter, outline, smooth_blob

__all__ = ["draw"]

GROUNDS = (leaves.draw, expressions.draw, spectra.draw, scenes.draw)


def draw(dice: Sources, size: int) -> Canvas:
    program, layout, content = dice.program, dice.layout, dice.content
    painter = Painter.over(_ground(dice, size))
    count = program.pick((1, 1, 2, 3, 4, 6))
    largest = 0.46 / count**0.4
    alike = program.chance(0.35)  # several of a kind: fruit, cups, birds
    kind = OUTLINES[program.integer(0, len(OUTLINES))]
    light = (layout.uniform(0, 2 * np.pi), program.uniform(0.2, 0.7))
    colours = palette(program)
    for i in range(count):
        if not alike:
            kind = OUTLINES[program.integer(0, len(OUTLINES))]
        radius = size * layout.uniform(0.45, 1) * largest
        cx, cy = layout.uniforms(0.15, 0.85, 2) * size if count > 1 else layout.uniforms(0.35, 0.65, 2) * size
        if i > 0 and not alike:
            colours = palette(program)
        _thing(dice, painter, kind, (float(cx), float(cy), radius), colours, light)
    image = painter.canvas()
    x, y = grid(size)
    lamp = 1 + program.uniform(0, 0.5) * (np.cos(light[0]) * x + np.sin(light[0]) * y)
    if program.chance(0.3):
        lamp = lamp * np.exp(-program.uniform(0, 0.6) * (x * x + y * y))
    grain = program.uniform(0, 0.06) * noise(content, size, 0.3)
    return as_canvas(image * (lamp + grain)[..., None])


def _ground(dice: Sources, size: int) -> Canvas:
    program, content = dice.program, dice.content
    kind = program.integer(0, 6)
    if kind == 0:  # a studio: one colour with a soft gradient
        _, y = grid(size)
        return as_canvas(palette(program, 3)[0] * (1 + 0.3 * program.uniform(-1, 1) * y)[..., None])
    if kind == 1:  # a table before a wall
        wall, table = (texture(program, content, size, palette(program)) for _ in range(2))
        edge = int(dice.layout.uniform(0.4, 0.8) * size)
        return np.concatenate([wall[:edge], table[edge:]])
    ground = GROUNDS[program.integer(0, len(GROUNDS))](dice, size)
    return blur(np.ascontiguousarray(np.clip(ground, 0, 1), np.float32), size * program.uniform(0.005, 0.04))


def _thing(
    dice: Sources,
    painter: Painter,
    kind: str,
    place: tuple[float, float, float],
    colours: Canvas,
    light: tuple[float, float],
) -> None:
    """A body, its shadow, and parts on it; place is (x, y, radius) in px."""
    program, layout, content = dice.program, dice.layout, dice.content
    cx, cy, radius = place
    size = painter.size
    body = outline(layout, kind, cx, cy, radius)
    if program.chance(0.7):
        away = radius * 0.2
        cast = body - away * np.array([np.cos(light[0]), np.sin(light[0])])
        painter.blend((0, 0, 0), 0.55 * painter.mask(cast, radius * 0.12 + 1))
    painter.paint(body, texture(program, content, size, colours), (content.uniform(0, 1), content.uniform(0, 1)), light)
    if program.chance(0.5):  # gloss
        shine = smooth_blob(layout, cx + radius * 0.35 * np.cos(light[0]), cy + radius * 0.35 * np.sin(light[0]),
                            radius * 0.25, radius * 0.15)  # fmt: skip
        inside = painter.mask(body) * painter.mask(shine, radius * 0.08)
        painter.blend((1, 1, 1), program.uniform(0.2, 0.8) * inside)
    for _ in range(program.integer(0, 7)):
        px, py = np.array([cx, cy]) + 0.45 * radius * layout.normals(2)
        part = outline(layout, OUTLINES[program.integer(0, len(OUTLINES))], px, py, radius * layout.uniform(0.08, 0.4))
        if program.chance(0.4):
            at = (content.uniform(0, 1), content.uniform(0, 1))
            painter.paint(part, texture(program, content, size, palette(content)), at, light)
        else:
            painter.fill(part, colours[content.integer(0, len(colours))])
            if program.chance(0.3):
                painter.line(part, colours[0] * 0.3, 1, closed=True)
