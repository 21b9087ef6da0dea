"""1/f noise and what is made from it: clouds, marble, terrain, frost, torn and layered edges. Knows fields only."""

from __future__ import annotations

import numpy as np

from guard.training.generators.base import Canvas, Dice, Sources, as_canvas
from guard.training.generators.colours import apply_palette, palette
from guard.training.generators.fields import blur, cells, grid, noise, relief, stretch, texture, warp

__all__ = ["draw"]


def draw(dice: Sources, size: int) -> Canvas:
    kind = dice.program.integer(0, 6)
    make = (_clouds, _terrain, _torn, _marble, _layers, _mosaic)[kind]
    return make(dice, size)


def _field(program: Dice, layout: Dice, size: int, low: float, high: float) -> Canvas:
    stretched = program.uniform(1.2, 3) if program.chance(0.35) else 1.0
    return noise(layout, size, program.uniform(low, high), stretched, program.uniform(0, np.pi))


def _clouds(dice: Sources, size: int) -> Canvas:
    """Three correlated colour planes."""
    program, layout, content = dice.program, dice.layout, dice.content
    beta = program.uniform(0.6, 2.2)
    planes = np.stack([noise(layout, size, beta) for _ in range(3)], axis=-1)
    mix = content.normals(3, 3) * 0.12 + program.uniform(0.05, 0.16)
    return as_canvas(palette(content, 3)[0] * 0.5 + 0.25 + planes @ mix.astype(np.float32))


def _terrain(dice: Sources, size: int) -> Canvas:
    """A height map from above, lit from the side."""
    program, layout, content = dice.program, dice.layout, dice.content
    height = _field(program, layout, size, 1.3, 2.2)
    if program.chance(0.4):
        height = -np.abs(height)  # ridges
    image = apply_palette(stretch(height), palette(content), smooth=program.chance(0.6))
    lit = relief(
        image, blur(height, program.uniform(0.7, 2.5)), layout.uniform(0, 2 * np.pi), program.uniform(0.15, 0.45)
    )
    if program.chance(0.5):  # water below a level
        sea = (stretch(height) < program.uniform(0.2, 0.5))[..., None]
        return np.where(sea, lit * 0.15 + palette(content, 3)[1] * 0.85, lit).astype(np.float32)
    return lit


def _torn(dice: Sources, size: int) -> Canvas:
    """Two to four surfaces with hard, rough borders."""
    program, layout, content = dice.program, dice.layout, dice.content
    image = texture(program, content, size, palette(content))
    for _ in range(program.integer(1, 4)):
        edge = _field(program, layout, size, 1.2, 2.4) + layout.uniform(-0.7, 0.7)
        share = np.clip(edge * program.pick((4.0, 15.0, 60.0)) + 0.5, 0, 1)
        shadow = np.clip(1 - 0.5 * program.uniform(0, 1) * blur(share, 4), 0, 1)[..., None]
        upper = texture(program, content, size, palette(content))
        image = image * shadow * (1 - share[..., None]) + upper * share[..., None]
    return image


def _marble(dice: Sources, size: int) -> Canvas:
    """Veins: noise looked up through noise, folded."""
    program, layout, content = dice.program, dice.layout, dice.content
    strength = program.uniform(0.05, 0.3)
    base = _field(program, layout, size, 0.7, 1.6)
    folded = np.abs(warp(base, strength * noise(layout, size, 2.0), strength * noise(layout, size, 2.0)))
    image = apply_palette(stretch(folded) ** program.uniform(0.3, 1.2), palette(content))
    return image * (1 + program.uniform(0, 0.12) * noise(layout, size, 0.6))[..., None]


def _layers(dice: Sources, size: int) -> Canvas:
    """Strata: bands of changing width, tilted and faulted."""
    program, layout, content = dice.program, dice.layout, dice.content
    x, y = grid(size)
    angle = layout.uniform(-0.5, 0.5) + program.pick((0.0, np.pi / 2))
    depth = np.cos(angle) * y + np.sin(angle) * x + program.uniform(0.05, 0.25) * noise(layout, size, 2.2)
    for _ in range(program.integer(0, 4)):  # faults
        turn, where, drop = layout.uniform(0, np.pi), layout.uniform(-0.6, 0.6), layout.uniform(-0.3, 0.3)
        depth = depth + drop * np.tanh(60 * (np.cos(turn) * x + np.sin(turn) * y - where))
    profile = np.interp(
        np.clip(depth, -1.5, 1.5), np.linspace(-1.5, 1.5, 80), 0.5 + 0.25 * np.cumsum(content.normals(80)) / 4
    )
    image = apply_palette(stretch(profile.astype(np.float32)), palette(content), smooth=program.chance(0.5))
    return image * (1 + program.uniform(0.02, 0.2) * noise(layout, size, program.uniform(0.4, 1.3)))[..., None]


def _mosaic(dice: Sources, size: int) -> Canvas:
    """Cells that take the colours of a field: stained glass, pavement, polygons."""
    program, layout, content = dice.program, dice.layout, dice.content
    index, first, border = cells(layout, size, program.integer(12, 110))
    under = apply_palette(stretch(noise(layout, size, program.uniform(1, 2.2))), palette(content))
    count = int(index.max()) + 1
    flat = index.astype(np.intp).ravel()
    weight = np.maximum(np.bincount(flat, minlength=count), 1)[:, None]
    mean = np.stack([np.bincount(flat, under[..., c].ravel(), count) for c in range(3)], axis=-1) / weight
    mean = np.clip(mean + program.uniform(0, 0.2) * content.normals(count, 1), 0, 1)
    image = mean[flat].reshape(size, size, 3)
    if program.chance(0.5):
        image = image * (1.15 - program.uniform(0.5, 2) * first[..., None])
    joint = np.clip(border / program.uniform(0.01, 0.06), 0, 1)[..., None]
    return as_canvas(image * joint + palette(content, 3)[2] * (1 - joint))
