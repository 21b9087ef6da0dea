"""Places: sky, ridges, ground or water, with trees, buildings and stones, under one light. Knows depth by layers."""

from __future__ import annotations

import numpy as np

from guard.training.generators.base import Canvas, Dice, Sources, as_canvas
from guard.training.generators.colours import palette
from guard.training.generators.fields import blur, grid, noise, stretch, texture, warp
from guard.training.generators.shapes import Painter, ellipse, outline, rectangle, smooth_blob

__all__ = ["draw"]


def draw(dice: Sources, size: int) -> Canvas:
    program, layout, content = dice.program, dice.layout, dice.content
    horizon = layout.uniform(0.25, 0.75)
    sky, ground = palette(program, 4), palette(program, 5)
    image = _sky(dice, size, sky, horizon)
    layers = program.integer(1, 5)
    haze = program.uniform(0, 0.7)
    roughness, relief = program.uniform(1.1, 2.3), program.uniform(0.03, 0.16)
    for i in range(layers):
        surface = texture(program, content, size, ground)
        own = program.uniform(0.2, 0.9)
        surface = surface * own + ground[i % 5] * (1 - own)
        away = haze * (1 - (i + 1) / layers)
        surface = surface * (1 - away) + sky[1] * away
        image = _lay(image, surface, _ridge(layout, size, horizon + 0.2 * i / layers, roughness, relief))
    if program.chance(0.3):
        image = _mirrored(dice, image, min(0.9, horizon + 0.25))
    painter = Painter.over(image)
    stands = program.pick((_trees, _buildings, _stones, _nothing, _poles))
    light = (layout.uniform(-np.pi, 0), program.uniform(0.1, 0.6))
    stands(dice, painter, ground, horizon, light)
    image = painter.canvas()
    if program.chance(0.5):  # a lens and a sensor
        x, y = grid(size)
        image = image * np.exp(-program.uniform(0, 0.5) * (x * x + y * y))[..., None]
    return image * (1 + program.uniform(0, 0.08) * noise(layout, size, 0.5))[..., None]


def _sky(dice: Sources, size: int, sky: Canvas, horizon: float) -> Canvas:
    program, layout = dice.program, dice.layout
    down = np.clip(np.linspace(0, 1, size) / horizon, 0, 1)[:, None, None].astype(np.float32)
    image = np.broadcast_to(sky[0] * (1 - down) + sky[1] * down, (size, size, 3)).astype(np.float32)
    if program.chance(0.65):
        _, y = grid(size)
        veil = noise(layout, size, program.uniform(1.3, 2.2), program.uniform(1, 2.5))
        cover = (stretch(veil) ** program.uniform(0.5, 3))[..., None] * program.uniform(0.3, 1)
        bright = np.clip(sky[2] + 0.3 * (y + 0.5)[..., None], 0, 1)
        image = image * (1 - cover) + bright * cover
    if program.chance(0.35):  # sun or moon
        cx, cy = layout.uniform(0.1, 0.9) * size, layout.uniform(0.1, 1) * horizon * size
        painter = Painter.over(image)
        disc = ellipse(cx, cy, *(size * program.uniform(0.015, 0.08),) * 2)
        painter.blend(np.clip(sky[1] + 0.5, 0, 1), 0.6 * painter.mask(disc, size * 0.06))
        painter.blend(np.clip(sky[1] + 0.6, 0, 1), painter.mask(disc, 0.5))
        image = painter.canvas()
    return image


def _ridge(layout: Dice, size: int, base: float, roughness: float, relief: float) -> Canvas:
    """Height of a ridge over the columns, in px from the top."""
    k = np.arange(1, 24)
    waves = np.cos(2 * np.pi * k[:, None] * np.linspace(0, 0.8, size)[None] + layout.uniforms(0, 6.3, 23)[:, None])
    profile = (layout.normals(23) * k ** (-roughness)) @ waves
    return ((base + relief * profile) * size).astype(np.float32)


def _lay(image: Canvas, surface: Canvas, top: Canvas) -> Canvas:
    share = np.clip(np.arange(len(image), dtype=np.float32)[:, None] - top[None], 0, 1)[..., None]
    laid: Canvas = (image * (1 - share) + surface * share).astype(np.float32)
    return laid


def _mirrored(dice: Sources, image: Canvas, shore: float) -> Canvas:
    """Water below the shore: the picture upside down, rippled and darker."""
    size = len(image)
    row = int(shore * size)
    ripple = noise(dice.layout, size, 1.2, 3.0) * dice.program.uniform(0.005, 0.04)
    reflected = warp(np.concatenate([image[:row], image[:row][::-1]])[:size], ripple, ripple * 0.3)
    below = np.zeros_like(image)
    below[: len(reflected)] = reflected
    tint = dice.program.uniform(0.5, 0.9)
    deep = palette(dice.program, 3)[0]
    share = np.clip(np.arange(size) - row, 0, 1).astype(np.float32)[:, None, None]
    known = np.clip(2 * row - np.arange(size), 0, 1).astype(np.float32)[:, None, None]
    water = (below * tint + deep * (1 - tint)) * known + deep * (1 - known)
    return as_canvas(image * (1 - share) + water * share)


Light = tuple[float, float]


def _feet(dice: Sources, size: int, horizon: float, count: int) -> list[tuple[float, float, float]]:
    """Where things stand, far ones first: (x, y in px, scale in (0, 1])."""
    depth = np.sort(dice.layout.uniforms(0, 1, count) ** 1.5)
    xs = dice.layout.uniforms(-0.05, 1.05, count) * size
    room = 1.05 - horizon
    return [
        (float(x), (horizon + 0.06 + room * float(d) * 0.9) * size, 0.15 + 0.85 * float(d))
        for x, d in zip(xs, depth, strict=True)
    ]


def _trees(dice: Sources, painter: Painter, colours: Canvas, horizon: float, light: Light) -> None:
    program, layout, content = dice.program, dice.layout, dice.content
    leaves = texture(program, content, painter.size, colours)
    pointed, puffs = program.chance(0.4), program.integer(2, 6)
    for x, y, scale in _feet(dice, painter.size, horizon, program.integer(2, 16)):
        tall = painter.size * scale * layout.uniform(0.25, 0.5)
        painter.fill(rectangle(x, y - tall * 0.25, tall * 0.06 + 1, tall * 0.5), colours[0] * 0.5)
        at = (content.uniform(0, 1), content.uniform(0, 1))
        if pointed:
            for step in range(3):
                w, top = tall * (0.16 + 0.06 * step), y - tall * (1.0 - 0.22 * step)
                cone = np.array([[x, top], [x + w, top + tall * 0.4], [x - w, top + tall * 0.4]])
                painter.paint(cone, leaves, at, light)
            continue
        for dx, dy, r in zip(
            layout.normals(puffs), layout.normals(puffs), layout.uniforms(0.15, 0.3, puffs), strict=True
        ):
            crown = smooth_blob(
                layout, x + 0.12 * tall * dx, y - tall * (0.7 + 0.1 * dy), tall * r, tall * r * 0.9, 0.2
            )
            painter.paint(crown, leaves, at, light)


def _buildings(dice: Sources, painter: Painter, colours: Canvas, horizon: float, light: Light) -> None:
    program, layout, content = dice.program, dice.layout, dice.content
    panes = palette(content, 3)
    for x, y, scale in _feet(dice, painter.size, horizon, program.integer(2, 12)):
        w, h = painter.size * scale * layout.uniforms(0.1, 0.45, 2) * [0.8, 1.4]
        wall = colours[content.integer(0, 5)]
        painter.fill(rectangle(x, y - h / 2, w, h), wall)
        painter.fill(rectangle(x + w * 0.4, y - h / 2, w * 0.2, h), wall * (1 - light[1] * 0.6))
        if program.chance(0.4):
            painter.fill(np.array([[x - w * 0.6, y - h], [x + w * 0.6, y - h], [x, y - h * 1.3]]), wall * 0.6)
        rows, columns = content.integer(2, 8), content.integer(2, 6)
        for i in range(rows):
            for j in range(columns):
                px, py = x + w * ((j + 0.5) / columns - 0.5), y - h * (i + 0.5) / rows
                painter.fill(rectangle(px, py, w / columns * 0.5, h / rows * 0.55), panes[content.integer(0, 3)])


def _stones(dice: Sources, painter: Painter, colours: Canvas, horizon: float, light: Light) -> None:
    program, layout, content = dice.program, dice.layout, dice.content
    surface = texture(program, content, painter.size, colours)
    kind = program.pick(("blob", "polygon", "box", "ellipse"))
    for x, y, scale in _feet(dice, painter.size, horizon, program.integer(3, 20)):
        radius = painter.size * scale * layout.uniform(0.04, 0.17)
        shadow = ellipse(x + radius * 0.4, y + radius * 0.7, radius * 1.2, radius * 0.35)
        painter.blend((0, 0, 0), 0.5 * painter.mask(shadow, radius * 0.2))
        at = (content.uniform(0, 1), content.uniform(0, 1))
        painter.paint(outline(layout, kind, x, y, radius), surface, at, light)


def _poles(dice: Sources, painter: Painter, colours: Canvas, horizon: float, light: Light) -> None:
    """Masts and wires, a fence or a road: thin things in front of wide ones."""
    program, layout = dice.program, dice.layout
    size = painter.size
    if program.chance(0.5):
        far, near, width = layout.uniform(0.2, 0.8) * size, layout.uniform(0, 1) * size, layout.uniform(0.2, 0.9) * size
        road = np.array(
            [[far - 2, horizon * size], [far + 2, horizon * size], [near + width, size], [near - width, size]]
        )
        painter.fill(road, colours[4] * 0.7)
    tops = []
    for x, y, scale in _feet(dice, size, horizon, program.integer(3, 12)):
        tall = size * scale * 0.6
        painter.line(np.array([[x, y], [x, y - tall]]), colours[3] * 0.4, 1 + 3 * scale * light[1])
        tops.append((x, y - tall * 0.9))
    painter.line(np.array(sorted(tops)), colours[3] * 0.3, 1)


def _nothing(dice: Sources, painter: Painter, colours: Canvas, horizon: float, light: Light) -> None:
    """An empty place, out of focus."""
    del colours, horizon, light
    painter.blend(blur(painter.canvas(), dice.program.uniform(0, 2)), np.ones(painter.picture.shape[:2], np.float32))
