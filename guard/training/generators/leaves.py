"""Dead leaves: shapes of power-law sizes that cover one another, plain or textured, flat or lit. Knows no scenes.

Source: Lee, Mumford & Huang 2001 (occlusion models of natural images); as training pictures, Baradad et al. 2021
(arXiv:2106.05963), where shapes with textures did best.
"""

from __future__ import annotations

import numpy as np

from guard.training.generators.base import Canvas, Sources
from guard.training.generators.colours import palette
from guard.training.generators.fields import blur, texture
from guard.training.generators.shapes import OUTLINES, Painter, outline

__all__ = ["draw"]


def draw(dice: Sources, size: int) -> Canvas:
    program, layout, content = dice.program, dice.layout, dice.content
    colours = palette(program)
    textured = program.chance(0.65)
    kinds = [OUTLINES[i] for i in program.order(len(OUTLINES))[: program.pick((1, 1, 2, len(OUTLINES)))]]
    smallest, largest = size * program.uniform(0.012, 0.05), size * program.uniform(0.18, 0.6)
    count = program.integer(60, 220) if textured else program.integer(60, 420)
    exponent = program.uniform(1.5, 3.2)  # of the density of radii
    lit = program.chance(0.5)
    spread = program.pick((0.02, 0.08, 0.2))
    clustered = program.chance(0.25)

    surfaces = [texture(program, content, size, palette(program) if program.chance(0.4) else colours) for _ in range(3)]
    sorted_down = program.chance(0.5)
    share = layout.uniforms(0, 1, count)
    low, high = smallest ** (1 - exponent), largest ** (1 - exponent)
    radii = (low + share * (high - low)) ** (1 / (1 - exponent))
    centres = layout.uniforms(-0.1, 1.1, count, 2) * size
    if clustered:
        hub = layout.uniforms(0.1, 0.9, 3, 2) * size
        centres = hub[layout.integers(0, 3, count)] + 0.22 * size * layout.normals(count, 2)
    order = np.argsort(-radii) if sorted_down else np.arange(count)

    painter = Painter.over(surfaces[0] * 0.5 + colours[0] * 0.5) if textured else Painter.plain(size, colours[0])
    light = layout.uniform(0, 2 * np.pi)
    for i in order:
        radius, (cx, cy) = float(radii[i]), centres[i]
        points = outline(layout, kinds[layout.integer(0, len(kinds))], float(cx), float(cy), radius)
        colour = np.clip(colours[content.integer(0, len(colours))] + spread * content.normals(3), 0, 1)
        tint = content.chance(0.6)
        which = content.integer(0, 3)
        at = (content.uniform(0, 1), content.uniform(0, 1))
        if textured and radius > 4:
            surface = surfaces[which]
            if tint:
                surface = surface * 0.6 + (colour * 0.4).astype(np.float32)
            painter.paint(points, surface, at, (light, 0.45) if lit else None)
        else:
            painter.fill(points, colour)
    canvas = painter.canvas()
    return blur(canvas, program.uniform(0.5, 1.4)) if program.chance(0.25) else canvas
