"""Lines: isolines, curves, hatching, waves, tilings, wire nets, sketches. Knows strokes; fills only lightly."""

from __future__ import annotations

import numpy as np

from guard.training.generators.base import Canvas, Dice, Sources
from guard.training.generators.colours import apply_palette, palette
from guard.training.generators.fields import noise, stretch, texture
from guard.training.generators.shapes import OUTLINES, Painter, outline

__all__ = ["draw"]


def draw(dice: Sources, size: int) -> Canvas:
    program, content = dice.program, dice.content
    colours = palette(content, 6)
    if program.chance(0.5):  # on paper, light or dark
        colours[0] = program.pick((0.97, 0.9, 0.08)) + 0.03 * content.normals(3)
        if program.chance(0.5):
            colours[1:] = 1 - colours[0].mean().round()
    if program.chance(0.2):
        ground = texture(program, content, size, palette(content)) * 0.35 + colours[0] * 0.65
        painter = Painter.over(ground)
    else:
        painter = Painter.plain(size, colours[0])
    make = (_isolines, _curves, _waves, _sketch, _hatched, _tiles, _net)[program.integer(0, 7)]
    make(dice, painter, np.clip(colours, 0, 1))
    return painter.canvas()


def _width(program: Dice, size: int) -> float:
    return program.pick((1.0, 1.0, 2.0, 3.0, 4.0)) * size / 176


def _isolines(dice: Sources, painter: Painter, colours: Canvas) -> None:
    program, layout = dice.program, dice.layout
    height = stretch(noise(layout, painter.size, program.uniform(1.6, 2.6))) * program.uniform(4, 16)
    gy, gx = np.gradient(height)
    slope = np.hypot(gx, gy) + 1e-3
    away = np.abs(height - np.round(height)) / slope  # px to the nearest line
    if program.chance(0.35):
        painter.blend(apply_palette(np.floor(height) / height.max(), colours), np.ones_like(height))
    painter.blend(colours[1], np.clip(_width(program, painter.size) * 0.6 + 0.5 - away, 0, 1).astype(np.float32))


def _curves(dice: Sources, painter: Painter, colours: Canvas) -> None:
    program, layout = dice.program, dice.layout
    width, knots = _width(program, painter.size), program.integer(3, 9)
    t = np.linspace(0, knots - 1, 48)
    for _ in range(program.integer(3, 30)):
        corners = layout.uniforms(-0.1, 1.1, knots, 2) * painter.size
        points = np.stack([np.interp(t, np.arange(knots), corners[:, a]) for a in (0, 1)], axis=-1)
        for _ in range(10):
            points[1:-1] = (points[:-2] + 2 * points[1:-1] + points[2:]) / 4
        painter.line(points, colours[layout.integer(1, 6)], width, closed=layout.chance(0.15))


def _waves(dice: Sources, painter: Painter, colours: Canvas) -> None:
    program, layout = dice.program, dice.layout
    lines, width = program.integer(8, 40), _width(program, painter.size)
    xs = np.linspace(-4, painter.size + 4, 60)
    filled, steep = program.chance(0.5), program.uniform(0.3, 2.5)
    hills = stretch(noise(layout, 64, program.uniform(1.4, 2.2)))
    for i in range(lines):  # joy-plot: each line hides what lies behind it
        row = hills[int(i / lines * 63)]
        base = (i + 0.7) / lines * painter.size
        ys = base - steep * painter.size / 9 * np.interp(xs, np.linspace(0, painter.size, 64), row) ** 2
        if filled:
            below = np.array([[painter.size + 4.0, painter.size + 4.0], [-4.0, painter.size + 4.0]])
            painter.fill(np.concatenate([np.stack([xs, ys], -1), below]), colours[0])
        painter.line(np.stack([xs, ys], axis=-1), colours[1 + i % 5], width)


def _sketch(dice: Sources, painter: Painter, colours: Canvas) -> None:
    """Outlined shapes, some washed with colour, drawn two or three times with an unsteady hand."""
    program, layout, content = dice.program, dice.layout, dice.content
    width, passes, tremble = _width(program, painter.size), program.integer(1, 4), program.uniform(0.2, 2.5)
    washed = program.uniform(0, 0.6)
    for _ in range(program.integer(5, 40)):
        kind = OUTLINES[layout.integer(0, len(OUTLINES))]
        cx, cy = layout.uniforms(0, painter.size, 2)
        points = outline(layout, kind, cx, cy, painter.size * layout.log_uniform(0.03, 0.35))
        if content.chance(washed):
            painter.fill(points, colours[content.integer(1, 6)] * 0.5 + colours[0] * 0.5)
        for _ in range(passes):
            painter.line(points + tremble * layout.normals(*points.shape), colours[1], width, closed=True)


def _hatched(dice: Sources, painter: Painter, colours: Canvas) -> None:
    """Tone by line density, as in an engraving."""
    program, layout = dice.program, dice.layout
    size = painter.size
    tone = stretch(noise(layout, size, program.uniform(1.6, 2.3)))
    ys, xs = np.mgrid[0:size, 0:size].astype(np.float32)
    bend = program.uniform(0, 12) * noise(layout, size, 2.4)
    for i in range(program.integer(1, 4)):
        angle = program.uniform(0, np.pi) + i * np.pi / 3
        across = np.cos(angle) * xs + np.sin(angle) * ys + bend
        wave = np.cos(across * 2 * np.pi / program.uniform(3.5, 8)) * 0.5 + 0.5
        ink = np.clip((wave - tone - 0.15 * i) * 5, 0, 1).astype(np.float32)
        painter.blend(colours[1 + i], ink)


def _tiles(dice: Sources, painter: Painter, colours: Canvas) -> None:
    """Truchet tiles: quarter arcs or diagonals, turned at random. Source: Smith & Boucher 1987."""
    program, layout = dice.program, dice.layout
    count, arcs = program.integer(4, 15), program.chance(0.6)
    side, width = painter.size / count, max(1.0, painter.size / count * program.uniform(0.06, 0.45))
    a = np.linspace(0, np.pi / 2, 10)
    for i in range(count):
        for j in range(count):
            x, y, colour = i * side, j * side, colours[layout.integer(1, 3)]
            if not arcs:
                ends = ((0.0, 0.0), (side, side)) if layout.chance(0.5) else ((side, 0.0), (0.0, side))
                painter.line(np.array(ends) + np.array([x, y]), colour, width)
                continue
            corners = ((0, 0, 0), (1, 1, 2)) if layout.chance(0.5) else ((1, 0, 1), (0, 1, 3))
            for cx, cy, quarter in corners:
                turned = a + quarter * np.pi / 2
                arc = np.stack([np.cos(turned), np.sin(turned)], axis=-1) * side / 2
                painter.line(arc + np.array([x + cx * side, y + cy * side]), colour, width)


def _net(dice: Sources, painter: Painter, colours: Canvas) -> None:
    """A surface as a wire net in perspective, or points joined to their neighbours."""
    program, layout = dice.program, dice.layout
    size, width = painter.size, min(2.0, _width(program, painter.size))
    if program.chance(0.5):
        n = program.integer(12, 26)
        height = noise(layout, 32, program.uniform(1.6, 2.3))[:n, :n] * program.uniform(0.02, 0.1)
        u, v = np.meshgrid(np.linspace(-1, 1, n), np.linspace(0.4, 2, n))
        xs, ys = 0.5 + 0.75 * u / v, program.uniform(0.15, 0.4) + (0.35 - height) / v
        net = np.stack([xs, ys], axis=-1) * size
        for i in range(n):
            painter.line(net[i], colours[1], width)
            painter.line(net[:, i], colours[2], width)
        return
    points = layout.uniforms(0.03, 0.97, program.integer(20, 80), 2) * size
    apart = np.linalg.norm(points[:, None] - points[None], axis=-1)
    for i, j in np.argwhere((apart < size * program.uniform(0.12, 0.3)) & (apart > 0)):
        if i < j:
            painter.line(points[[i, j]], colours[1], width)
    for point in points:
        painter.fill(outline(program, "disc", point[0], point[1], size * 0.015), colours[3])
