"""Two families in one picture: by a soft or hard mask, double exposure, cut-outs, modulation. Knows blends only."""

from __future__ import annotations

import numpy as np

from guard.training.generators import (
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
from guard.training.generators.base import Canvas, Sources, as_canvas
from guard.training.generators.fields import blur, grid, noise, stretch
from guard.training.generators.shapes import OUTLINES, Painter, outline

__all__ = ["draw"]

PARTS = tuple(
    module.draw
    for module in (leaves, fractals, expressions, spectra, contours, scenes, stills, graphics, scans, layouts, figures)
)


def draw(dice: Sources, size: int) -> Canvas:
    program, layout = dice.program, dice.layout
    first, second = (PARTS[i] for i in program.order(len(PARTS))[:2])
    a, b = np.clip(first(dice, size), 0, 1), np.clip(second(dice, size), 0, 1)
    kind = program.integer(0, 6)
    x, y = grid(size)
    if kind == 0:
        share = (stretch(noise(layout, size, program.uniform(1.5, 2.6))) - 0.5) * program.log_uniform(1, 20) + 0.5
    elif kind == 1:  # a straight seam
        turn = layout.uniform(0, 2 * np.pi)
        share = (np.cos(turn) * x + np.sin(turn) * y + layout.uniform(-0.4, 0.4)) * program.log_uniform(1, 60) + 0.5
    elif kind == 2:  # double exposure
        share = np.full((size, size), layout.uniform(0.3, 0.7), np.float32)
    elif kind == 3:  # cut-outs with a shadow
        painter = Painter.plain(size, (0, 0, 0))
        for _ in range(program.integer(1, 4)):
            cx, cy = layout.uniforms(0.2, 0.8, 2) * size
            shape = outline(
                layout, OUTLINES[layout.integer(0, len(OUTLINES))], cx, cy, size * layout.uniform(0.15, 0.4)
            )
            painter.fill(shape, (1, 1, 1))
        share = painter.canvas()[..., 0]
        b = b * (1 - 0.5 * np.clip(blur(share, 5) - share, 0, 1))[..., None]
    elif kind == 4:  # light of one on the form of the other
        lamp = blur(a.mean(axis=2).astype(np.float32), size * 0.02)
        return as_canvas(b * (0.35 + 1.2 * lamp[..., None]))
    else:  # by brightness: ink on a ground
        level = a.mean(axis=2)
        share = (level - np.median(level)) * program.uniform(3, 15) + 0.5
    weight = np.clip(share, 0, 1).astype(np.float32)[..., None]
    return as_canvas(a * weight + b * (1 - weight))
