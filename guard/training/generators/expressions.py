"""Colour fields from random expression graphs, and domain-warped noise. Knows formulas; no shapes.

Sources: Stanley 2007 (compositional pattern-producing networks); Quilez 2002 (domain warping).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from guard.training.generators.base import Canvas, Dice, Sources, as_canvas
from guard.training.generators.colours import apply_palette, palette
from guard.training.generators.fields import grid, noise, stretch, warp

__all__ = ["draw"]

UNARY: tuple[Callable[[Canvas], Canvas], ...] = (
    np.sin,
    np.cos,
    np.abs,
    np.tanh,
    lambda t: np.sin(3 * t),
    lambda t: np.exp(-t * t),
    lambda t: t - np.floor(t),
    lambda t: np.sign(t) * 0.5 + t * 0.2,
    lambda t: np.maximum(t, 0),
    lambda t: np.sin(8 * t) * np.exp(-np.abs(t)),
)


def draw(dice: Sources, size: int) -> Canvas:
    return _warped(dice, size) if dice.program.chance(0.35) else _graph(dice, size)


def _graph(dice: Sources, size: int) -> Canvas:
    program, layout, content = dice.program, dice.layout, dice.content
    x, y = grid(size)
    turn, zoom = layout.uniform(0, 2 * np.pi), program.uniform(0.5, 2.5)
    c, s = np.cos(turn), np.sin(turn)
    ox, oy = layout.uniforms(-1, 1, 2)
    x, y = (
        ((c * x - s * y + ox) * zoom).astype(np.float32),
        ((s * x + c * y + oy) * zoom).astype(np.float32),
    )
    nodes = [x, y, np.hypot(x, y), np.arctan2(y, x) / 3]
    if program.chance(0.5):
        nodes.append(noise(layout, size, program.uniform(1.4, 2.5)))
    for _ in range(program.integer(6, 15)):
        # later nodes are likelier, so that the graph is deep and not only wide
        i, j = (min(len(nodes) - 1, int(len(nodes) * program.uniform(0, 1) ** 0.6)) for _ in range(2))
        weights = program.uniforms(-2, 2, 3) + 0.15 * layout.normals(3)
        if program.chance(0.65):
            mixed = weights[0] * nodes[i] + weights[1] * nodes[j] + weights[2]
        else:
            mixed = weights[0] * nodes[i] * nodes[j] + weights[1]
        nodes.append(UNARY[program.integer(0, len(UNARY))](mixed.astype(np.float32)).astype(np.float32))
    detailed = sorted(nodes[4:], key=_detail)[-3:]
    if program.chance(0.5):
        return apply_palette(stretch(detailed[-1]), palette(content), smooth=program.chance(0.75))
    planes = np.stack([stretch(plane) for plane in detailed], axis=-1)
    mix = content.normals(3, 3) * 0.35 + np.eye(3) * program.uniform(0.2, 0.6)
    return as_canvas((planes - 0.5) @ mix.astype(np.float32) + 0.5)


def _detail(plane: Canvas) -> float:
    """How far the plane is from being constant, after clipping its extremes."""
    return float(stretch(plane[::4, ::4]).std())


def _warped(dice: Sources, size: int) -> Canvas:
    program, layout, content = dice.program, dice.layout, dice.content
    plane = _start(program, layout, size)
    for _ in range(program.integer(1, 4)):
        strength, beta = program.uniform(0.03, 0.25), program.uniform(1.5, 2.4)
        plane = warp(plane, strength * noise(layout, size, beta), strength * noise(layout, size, beta))
    image = apply_palette(stretch(plane), palette(content), smooth=program.chance(0.7))
    if program.chance(0.5):  # a second, slower colour over it
        share = stretch(noise(layout, size, 2.2))[..., None] * program.uniform(0.3, 1)
        image = image * (1 - share) + palette(content, 3)[0] * share
    return image


def _start(program: Dice, layout: Dice, size: int) -> Canvas:
    x, y = grid(size)
    pitch, angle = program.log_uniform(3, 25), program.uniform(0, np.pi)
    kind = program.integer(0, 4)
    if kind == 0:
        return as_canvas(np.sin(pitch * (np.cos(angle) * x + np.sin(angle) * y)))
    if kind == 1:  # agate: rings round a point
        cx, cy = layout.uniforms(-0.8, 0.8, 2)
        return as_canvas(np.sin(pitch * np.hypot(x - cx, y - cy)))
    if kind == 2:
        return as_canvas(np.sign(np.sin(pitch * x) * np.sin(pitch * y)))
    return noise(layout, size, program.uniform(0.8, 1.8))
