"""Flat graphics: banners, emblems, pictograms, repeat patterns, abstract posters. Knows few colours and clean edges.

Many programs share one of a small number of schemes (a banner of three bars; a round face with two eyes), so that a
batch holds graphics that differ in a colour, a sign or a proportion: what a descriptor must not take for copies.
"""

from __future__ import annotations

import numpy as np

from guard.training.generators.base import Canvas, Dice, Floats, Sources
from guard.training.generators.colours import palette
from guard.training.generators.fields import grid
from guard.training.generators.glyphs import make_script, write_line
from guard.training.generators.shapes import OUTLINES, Painter, ellipse, outline, rectangle, star

__all__ = ["draw"]

SIGNALS = np.array(  # the few colours that flags and signs share
    [[0.8, 0.1, 0.15], [0.0, 0.2, 0.6], [1, 1, 1], [0.95, 0.8, 0.1], [0.0, 0.5, 0.25], [0.05, 0.05, 0.05],
     [0.9, 0.45, 0.1], [0.4, 0.7, 0.9]], np.float32)  # fmt: skip


def draw(dice: Sources, size: int) -> Canvas:
    make = dice.program.pick((_banner, _emblem, _pictogram, _pattern, _poster), (1.5, 1, 1.5, 1, 1))
    return make(dice, size)


def _colours(program: Dice, count: int) -> Canvas:
    if program.chance(0.5):
        return SIGNALS[program.order(len(SIGNALS))[:count]]
    return palette(program, count)


def _banner(dice: Sources, size: int) -> Canvas:
    program, layout, content = dice.program, dice.layout, dice.content
    colours = _colours(content if program.chance(0.4) else program, 5)
    painter = Painter.plain(size, colours[0])
    scheme = program.integer(0, 7)
    bars = program.pick((2, 3, 3, 3, 4, 5, 9, 13))
    upright = program.chance(0.4)
    cuts = np.cumsum(np.concatenate([[0], 1 + 0.35 * np.abs(layout.normals(bars)) * program.pick((0.0, 1.0))]))
    cuts = cuts / cuts[-1] * size
    order = layout.order(5) if program.chance(0.6) else np.arange(5)
    if scheme <= 3:
        for i in range(bars):
            box = np.array([[0, cuts[i]], [size, cuts[i]], [size, cuts[i + 1]], [0, cuts[i + 1]]])
            painter.fill(box[:, ::-1] if upright else box, colours[order[i % min(bars, 3 + bars % 2)]])
    if scheme in (2, 4):  # a cross, centred or towards the hoist
        cx, w = size * layout.uniform(0.3, 0.55), size * layout.uniform(0.08, 0.25)
        for share, colour in ((1.0, colours[order[1]]), (0.45, colours[order[2]])):
            painter.fill(rectangle(cx, size / 2, w * share, size), colour)
            painter.fill(rectangle(size / 2, size / 2, size, w * share), colour)
    if scheme in (3, 5):  # a wedge or a canton at the hoist
        w, h = size * layout.uniform(0.3, 0.6), size * layout.uniform(0.3, 0.6)
        corner = ([[0, 0], [w, 0], [w, h], [0, h]], [[0, 0], [w, size / 2], [0, size]])[program.integer(0, 2)]
        painter.fill(np.array(corner, np.float64), colours[order[3]])
        spots = layout.integer(0, 8)
        for x, y in layout.uniforms(0.1, 0.9, spots, 2) * [w, h]:
            painter.fill(star(float(x), float(y), w * 0.09, 5, 0.45), colours[order[2]])
    if scheme == 6:
        for i in range(8):  # rays
            a = (np.array([i, i + 0.5]) * np.pi / 4) + layout.uniform(0, 0.3)
            rays = size / 2 + size * 1.5 * np.stack([np.cos(a), np.sin(a)], axis=-1)
            painter.fill(np.concatenate([[[size / 2, size / 2]], rays]), colours[order[1]])
    if program.chance(0.5):
        _sign(dice, painter, (size * layout.uniform(0.35, 0.65), size * layout.uniform(0.4, 0.6)), colours[order[4]])
    return _cloth(dice, painter.canvas()) if program.chance(0.15) else painter.canvas()


def _cloth(dice: Sources, image: Canvas) -> Canvas:
    x, y = grid(len(image))
    fold = np.sin(dice.program.uniform(4, 12) * x + dice.layout.uniform(0, 6) + dice.program.uniform(-2, 2) * y)
    return np.clip(image * (1 + 0.15 * fold[..., None]), 0, 1).astype(np.float32)


def _sign(dice: Sources, painter: Painter, centre: tuple[float, float], colour: Canvas) -> None:
    layout = dice.layout
    kind = OUTLINES[layout.integer(0, len(OUTLINES))]
    painter.fill(outline(layout, kind, *centre, painter.size * layout.uniform(0.07, 0.2)), colour)


def _emblem(dice: Sources, size: int) -> Canvas:
    """Rings, a symmetric device, and invented letters."""
    program, layout, content = dice.program, dice.layout, dice.content
    colours = _colours(program, 5)
    painter = Painter.plain(size, program.pick((np.ones(3, np.float32), colours[0])))
    c, radius = size / 2, size * program.uniform(0.3, 0.47)
    frame = program.pick(("disc", "regular", "box", "star", "none"))
    if frame != "none":
        for i, share in enumerate((1.0, program.uniform(0.8, 0.95), program.uniform(0.5, 0.78))):
            painter.fill(outline(program, frame, c, c, radius * share), colours[(i + 1) % 5])
    fold = program.pick((1, 2, 3, 4, 5, 6, 8, 12))
    for _ in range(program.integer(1, 4)):
        away, own = radius * layout.uniform(0, 0.6), radius * layout.uniform(0.08, 0.4)
        shape = outline(layout, OUTLINES[layout.integer(0, len(OUTLINES))], away, 0, own)
        colour = colours[content.integer(0, 5)]
        for k in range(fold):
            a = 2 * np.pi * k / fold - np.pi / 2
            turn = np.array([[np.cos(a), np.sin(a)], [-np.sin(a), np.cos(a)]])
            painter.fill(shape @ turn + c, colour)
    if program.chance(0.6):
        height = size * program.uniform(0.06, 0.25)
        y = program.pick((c - height / 2, size - 1.3 * height, 0.3 * height))
        start = size * program.uniform(0.05, 0.4)
        write_line(painter, content, make_script(program), (start, y), height, content.integer(2, 9), colours[4])
    return painter.canvas()


def _pictogram(dice: Sources, size: int) -> Canvas:
    """A face, a sign or a figure on one colour: same parts, other places."""
    program, layout = dice.program, dice.layout
    colours = _colours(program, 6)
    painter = Painter.plain(size, program.pick((np.ones(3, np.float32), np.zeros(3, np.float32), colours[5])))
    c, r = size / 2, size * program.uniform(0.34, 0.48)
    body = program.pick(("disc", "disc", "blob", "box", "regular", "leaf"))
    painter.fill(outline(program, body, c, c, r), colours[0])
    if program.chance(0.4):
        painter.line(outline(program, "disc", c, c, r), colours[1] * 0.4, size * 0.02, closed=True)
    apart, up = r * layout.uniform(0.25, 0.55), r * layout.uniform(-0.05, 0.4)
    eye, kind = r * layout.uniform(0.07, 0.24), layout.pick(("disc", "ellipse", "star", "box", "ring_arc"))
    for side in (-1, 1):
        painter.fill(outline(layout, kind, c + side * apart, c - up, eye), colours[2] * 0.3)
        if layout.chance(0.3):
            painter.fill(ellipse(c + side * apart, c - up, eye * 0.5, eye * 0.5), np.ones(3))
        if layout.chance(0.3):
            brow = np.array([[-1, 0], [1, layout.uniform(-0.6, 0.6)]]) * eye * 1.4
            painter.line(brow + np.array([c + side * apart, c - up - 1.8 * eye]), colours[2] * 0.3, size * 0.02)
    _mouth(layout, painter, c, r, colours)
    for _ in range(layout.integer(0, 3)):
        _sign(dice, painter, (float(c + 0.6 * r * layout.normal()), float(c + 0.6 * r * layout.normal())), colours[3])
    return painter.canvas()


def _mouth(layout: Dice, painter: Painter, c: float, r: float, colours: Canvas) -> None:
    width, curve, down = r * layout.uniform(0.15, 0.6), r * layout.uniform(-0.35, 0.4), r * layout.uniform(0.25, 0.55)
    t = np.linspace(-1, 1, 14)
    lip: Floats = np.stack([c + width * t, c + down + curve * (1 - t * t)], axis=-1)
    if layout.chance(0.4):
        painter.fill(lip, colours[4] * 0.6)
    painter.line(lip, colours[2] * 0.3, r * 0.08, closed=layout.chance(0.3))


def _pattern(dice: Sources, size: int) -> Canvas:
    """One or two motifs repeated over a lattice: wallpaper, cloth."""
    program, layout, content = dice.program, dice.layout, dice.content
    colours = _colours(program, 4)
    painter = Painter.plain(size, colours[0])
    across = program.integer(3, 10)
    step = size / across
    motifs = [
        outline(layout, OUTLINES[layout.integer(0, len(OUTLINES))], 0, 0, step * layout.uniform(0.2, 0.55))
        for _ in range(2)
    ]
    shifted, mixed = program.chance(0.5), program.chance(0.5)
    ox, oy = layout.uniforms(-0.5, 0.5, 2) * step
    for i in range(-1, across + 2):
        for j in range(-1, across + 2):
            which = (i + j) % 2 if mixed else 0
            place = [(j + 0.5 * (i % 2) * shifted) * step + ox, i * step + oy]
            colour = colours[1 + which] if content.chance(0.9) else colours[3]
            painter.fill(motifs[which] + place, colour)
            if program.chance(0.3):
                painter.fill(motifs[which] * 0.45 + place, colours[3])
    return painter.canvas()


def _poster(dice: Sources, size: int) -> Canvas:
    """A handful of big plain shapes, sometimes mirrored, sometimes with a word."""
    program, layout, content = dice.program, dice.layout, dice.content
    colours = _colours(program, program.integer(3, 6))
    painter = Painter.plain(size, colours[0])
    kinds = [OUTLINES[i] for i in program.order(len(OUTLINES))[: program.integer(1, 4)]]
    for _ in range(program.integer(2, 12)):
        cx, cy = layout.uniforms(0.05, 0.95, 2) * size
        kind = kinds[layout.integer(0, len(kinds))]
        points = outline(layout, kind, cx, cy, size * layout.log_uniform(0.04, 0.4))
        painter.fill(points, colours[content.integer(0, len(colours))])
    if program.chance(0.3):
        half = painter.picture[:, : size // 2]
        painter.picture[:, size - half.shape[1] :] = half[:, ::-1]
    if program.chance(0.35):
        height = size * program.uniform(0.06, 0.3)
        corner = (size * layout.uniform(0.03, 0.5), size * layout.uniform(0.05, 0.9) - height / 2)
        write_line(painter, content, make_script(program), corner, height, 9, colours[-1])
    return painter.canvas()
