"""Heads and busts in one pose: an oval with hair, eyes, nose and mouth at nearly fixed places. Knows no real face.

Aligned portraits of different people are look-alikes; here the pose is shared by all programs and only proportions,
colours, hair and ground differ, so that any batch holds several.
"""

from __future__ import annotations

import numpy as np

from guard.training.generators import expressions, scenes, spectra
from guard.training.generators.base import Canvas, Dice, Sources
from guard.training.generators.colours import palette
from guard.training.generators.fields import blur, noise, texture
from guard.training.generators.shapes import Painter, ellipse, outline, smooth_blob

__all__ = ["draw"]


def draw(dice: Sources, size: int) -> Canvas:
    program, layout, content = dice.program, dice.layout, dice.content
    painter = Painter.over(_ground(dice, size))
    zoom, turned = program.uniform(0.8, 1.6), 0.12 * layout.normal()
    cx, cy = size * (0.5 + 0.03 * layout.normal()), size * (0.46 + 0.03 * layout.normal())
    w, h = size * zoom * layout.uniform(0.17, 0.24), size * zoom * layout.uniform(0.24, 0.32)
    depth = layout.uniform(0.2, 0.95)  # of the skin, with a warm cast
    skin = np.clip(depth * np.array([1.0, 0.8, 0.68]) + 0.04 * layout.normals(3), 0, 1).astype(np.float32)
    if program.chance(0.15):
        skin = palette(program, 3)[0]  # a statue, a doll, an alien
    hair = np.clip(layout.uniform(0, 0.8) * np.array([1, 0.8, 0.6]) + 0.06 * layout.normals(3), 0, 1).astype(np.float32)
    light = (layout.uniform(-np.pi, 0), program.uniform(0.15, 0.5))

    cloth = texture(program, content, size, palette(content, 4))
    shoulders = smooth_blob(layout, cx, cy + 2.15 * h, 2.3 * w, 1.1 * h, 0.06)
    locks = _strands(layout, size, hair)
    long = layout.uniform(0.9, 1.7)
    painter.paint(smooth_blob(layout, cx, cy - 0.2 * h, 1.25 * w, long * 1.05 * h, 0.1), locks, (0.5, 0.3), light)
    painter.paint(shoulders, cloth, (0.5, 0.5), light)
    neck = np.array(
        [[cx - 0.5 * w, cy], [cx + 0.5 * w, cy], [cx + 0.55 * w, cy + 1.5 * h], [cx - 0.55 * w, cy + 1.5 * h]]
    )
    painter.fill(neck, skin * 0.8)
    surface = np.broadcast_to(skin, (size, size, 3)) * (1 + 0.03 * noise(layout, size, 1.2))[..., None]
    painter.paint(ellipse(cx, cy, w, h), surface.astype(np.float32), (0.4, 0.4), light)
    _features(dice, painter, (cx + turned * w, cy, w, h), skin, hair)
    fringe = layout.pick(("blob", "none", "none", "leaf"))
    if fringe != "none":
        painter.paint(outline(layout, fringe, cx, cy - 0.85 * h, w * 1.1), locks, (0.3, 0.6), light)
    if layout.chance(0.2):  # a hat
        crown = np.array(
            [[cx - w, cy - 0.6 * h], [cx + w, cy - 0.6 * h], [cx + 0.8 * w, cy - 1.4 * h], [cx - 0.8 * w, cy - 1.4 * h]]
        )
        painter.paint(crown, cloth, (0.2, 0.7), light)
    return blur(painter.canvas(), size * program.uniform(0.003, 0.012))


def _ground(dice: Sources, size: int) -> Canvas:
    program = dice.program
    kind = program.integer(0, 5)
    if kind < 2:
        tones = palette(dice.layout, 3)
        fade = np.linspace(0, 1, size, dtype=np.float32)[:, None, None]
        plain: Canvas = np.broadcast_to(tones[0] * (1 - fade) + tones[1] * fade, (size, size, 3)).astype(np.float32)
        return plain
    make = (spectra.draw, scenes.draw, expressions.draw)[kind - 2]
    return blur(np.ascontiguousarray(np.clip(make(dice, size), 0, 1), np.float32), size * program.uniform(0.01, 0.05))


def _strands(layout: Dice, size: int, hair: Canvas) -> Canvas:
    grain = noise(layout, size, 1.0, 2.5, np.pi / 2 + 0.3 * layout.normal())
    strands: Canvas = np.clip(hair * (1 + 0.3 * grain)[..., None], 0, 1).astype(np.float32)
    return strands


def _features(
    dice: Sources, painter: Painter, head: tuple[float, float, float, float], skin: Canvas, hair: Canvas
) -> None:
    layout = dice.layout
    cx, cy, w, h = head
    apart, level = w * layout.uniform(0.36, 0.48), cy - h * layout.uniform(0.05, 0.18)
    ew, eh = w * layout.uniform(0.14, 0.23), w * layout.uniform(0.06, 0.14)
    iris = palette(layout, 3)[0] * 0.6
    brow, thick = h * layout.uniform(0.1, 0.18), max(1.0, w * layout.uniform(0.03, 0.1))
    for side in (-1, 1):
        x = cx + side * apart
        painter.blend(skin * 0.6, 0.4 * painter.mask(ellipse(x, level, ew * 1.5, eh * 2), w * 0.08))
        painter.fill(ellipse(x, level, ew, eh), (0.95, 0.95, 0.93))
        painter.fill(ellipse(x, level, eh * 0.9, eh * 0.9), iris)
        painter.fill(ellipse(x, level, eh * 0.4, eh * 0.4), (0.02, 0.02, 0.02))
        arch = np.array([[x - 1.2 * ew, level - brow], [x, level - brow * 1.25], [x + 1.2 * ew, level - brow]])
        painter.line(arch, hair * 0.7, thick)
    nose = h * layout.uniform(0.28, 0.42)
    nw = w * layout.uniform(0.1, 0.2)
    tip = smooth_blob(layout, cx, level + nose, nw, nw * 0.6, 0.1)
    painter.blend(skin * 0.65, 0.5 * painter.mask(tip, w * 0.04))
    painter.line(np.array([[cx - nw * 0.5, level], [cx - nw, level + nose], [cx + nw, level + nose]]), skin * 0.75, 1)
    mw, mh, my = w * layout.uniform(0.25, 0.45), h * layout.uniform(0.03, 0.1), cy + h * layout.uniform(0.45, 0.6)
    smile = h * layout.uniform(-0.05, 0.1)
    t = np.linspace(-1, 1, 12)
    upper = np.stack([cx + mw * t, my - mh * (1 - t * t) + smile * t * t * -1], axis=-1)
    lower = np.stack([cx + mw * t, my + mh * (1 - t * t) - smile * t * t], axis=-1)[::-1]
    painter.fill(np.concatenate([upper, lower]), np.clip(skin * [0.85, 0.5, 0.5], 0, 1))
    if layout.chance(0.2):
        for side in (-1, 1):
            painter.line(
                ellipse(cx + side * apart, level, ew * 1.5, ew * 1.2), hair * 0.3, max(1.0, w * 0.04), closed=True
            )
    if layout.chance(0.2):
        beard = smooth_blob(layout, cx, cy + 0.75 * h, 0.7 * w, 0.3 * h, 0.1)
        painter.blend(hair, 0.8 * painter.mask(beard, w * 0.06))
