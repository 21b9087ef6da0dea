"""Soft grey bodies as in radiographs and sections: organs in a fixed plan, ribs, bones, grain. Knows no real anatomy.

Half of the programs share one of PLANS body plans, as all chest radiographs share one; a layout is a "patient". Two
patients of a plan are look-alikes, never copies.
"""

from __future__ import annotations

import cv2
import numpy as np

from guard.training.generators.base import Canvas, Dice, Floats, Sources, as_canvas
from guard.training.generators.colours import apply_palette, palette
from guard.training.generators.fields import blur, grid, noise, stretch
from guard.training.generators.shapes import Painter, smooth_blob

__all__ = ["PLANS", "draw"]

PLANS = 24


def draw(dice: Sources, size: int) -> Canvas:
    program, layout, content = dice.program, dice.layout, dice.content
    shared = program.chance(0.6)
    number = program.integer(0, PLANS)
    plan = Dice(number, 0x5CA) if shared else program
    spread = program.uniform(0.02, 0.07) if shared else 0.05  # of a patient's proportions
    plane = _body(plan, layout, size, spread)
    if plan.chance(0.55):
        plane += _ribs(plan, layout, size, spread)
    if plan.chance(0.35):
        plane += plan.uniform(0.2, 0.6) * _column(plan, layout, size)
    for _ in range(content.integer(0, 4)):  # findings, implants, leads
        x, y = layout.uniforms(0.2, 0.8, 2) * size
        spot = smooth_blob(layout, x, y, size * layout.uniform(0.01, 0.06), size * layout.uniform(0.01, 0.06))
        plane += content.uniform(-0.3, 0.5) * _soft(spot, size, size * 0.008)
    if program.chance(0.4):
        plane += 0.06 * np.abs(noise(layout, size, 1.3))  # vessels
    plane = as_canvas(stretch(plane, 1, 99.5) ** content.uniform(0.6, 1.6))
    plane += program.uniform(0, 0.05) * noise(content, size, program.uniform(0, 0.8))
    if program.chance(0.25):  # collimated: black outside a field
        x, y = grid(size)
        inside = np.maximum(np.abs(x), np.abs(y)) if program.chance(0.5) else np.hypot(x, y)
        plane = as_canvas(plane * np.clip((layout.uniform(0.8, 1.0) - inside) * 40, 0, 1))
    plane = as_canvas(np.clip(1 - plane if program.chance(0.15) else plane, 0, 1))
    if program.chance(0.15):
        return apply_palette(plane, palette(program))
    return np.repeat(plane[..., None], 3, axis=2)


def _body(plan: Dice, layout: Dice, size: int, spread: float) -> Canvas:
    symmetric = plan.chance(0.7)
    plane = np.full((size, size), plan.uniform(0, 0.15), np.float32)
    trunk_w, trunk_h = plan.uniform(0.35, 0.6), plan.uniform(0.4, 0.65)
    lean = spread * layout.normals(4)
    trunk = smooth_blob(plan, (0.5 + lean[0]) * size, (0.5 + lean[1]) * size, (trunk_w + lean[2]) * size,
                        (trunk_h + lean[3]) * size, 0.12)  # fmt: skip
    plane += plan.uniform(0.3, 0.6) * _soft(trunk, size, size * 0.02)
    for _ in range(plan.integer(3, 12)):
        x, y = plan.uniform(0.12, 0.5 if symmetric else 0.88), plan.uniform(0.12, 0.88)
        w, h = plan.log_uniform(0.03, 0.24), plan.log_uniform(0.03, 0.28)
        dense = plan.uniform(-0.45, 0.5)
        edge = plan.log_uniform(0.004, 0.05)
        rough = plan.uniform(0.05, 0.3)
        for side in (0, 1) if symmetric else (0,):
            move = spread * layout.normals(4)
            cx = (1 - x if side else x) + move[0]
            own = smooth_blob(layout, cx * size, (y + move[1]) * size, w * (1 + 2.5 * move[2]) * size,
                              h * (1 + 2.5 * move[3]) * size, rough)  # fmt: skip
            plane += dense * _soft(own, size, edge * size)
    return plane


def _ribs(plan: Dice, layout: Dice, size: int, spread: float) -> Canvas:
    plane = np.zeros((size, size), np.uint8)
    count, drop, width = plan.integer(5, 12), plan.uniform(0.05, 0.35), plan.uniform(0.012, 0.04)
    top, bottom, reach = plan.uniform(0.05, 0.25), plan.uniform(0.6, 0.95), plan.uniform(0.25, 0.45)
    tilt = 1 + 4 * spread * layout.normal()
    t = np.linspace(0, 1, 16)
    for y in np.linspace(top, bottom, count) + 0.3 * spread * layout.normals(count):
        for side in (-1, 1):
            xs = 0.5 + side * (0.04 + reach * np.sin(t * np.pi / 2))
            ys = y + drop * tilt * (t**2 - 0.4 * t) + 0.2 * spread * layout.normal()
            points = np.round(np.stack([xs, ys], axis=-1) * size * 16).astype(np.int32)
            cv2.polylines(plane, [points], False, (255,), max(1, round(width * size)), cv2.LINE_AA, 4)
    return plan.uniform(0.12, 0.35) * blur(as_canvas(plane) / np.float32(255), size * 0.008)


def _column(plan: Dice, layout: Dice, size: int) -> Canvas:
    """Vertebrae: a column of rounded boxes along a slightly bent line."""
    painter = Painter.plain(size, (0, 0, 0))
    count, w = plan.integer(7, 18), plan.uniform(0.04, 0.09) * size
    bend, start = 0.03 * layout.normals(3), layout.uniform(-1, 0)
    for i in range(count + 2):
        share = (i + start) / count
        cx = 0.5 + bend[0] + bend[1] * np.sin(np.pi * share) + bend[2] * np.sin(2 * np.pi * share)
        h = size / count * 0.78
        box: Floats = np.array([[-w, -h / 2], [w, -h / 2], [w, h / 2], [-w, h / 2]])
        box += np.array([cx * size, share * size])
        painter.fill(box, (1, 1, 1))
    return blur(painter.canvas()[..., 0], size * 0.007)


def _soft(points: Floats, size: int, sigma: float) -> Canvas:
    plane = np.zeros((size, size), np.uint8)
    cv2.fillPoly(plane, [np.round(points * 16).astype(np.int32)], (255,), cv2.LINE_AA, 4)
    return blur(as_canvas(plane) / np.float32(255), sigma)
