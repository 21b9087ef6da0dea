"""Fractals: flames, affine iterated functions, escape times. Knows maps of the plane; no shapes.

Sources: Draves & Reckase 2003 (the fractal flame algorithm); Barnsley 1988; as training pictures, Kataoka et al. 2020.
"""

from __future__ import annotations

import numpy as np

from guard.training.generators.base import Canvas, Floats, Sources
from guard.training.generators.colours import apply_palette, palette
from guard.training.generators.fields import blur, noise, stretch, texture

__all__ = ["draw"]

POINTS, ROUNDS, BURN_IN = 7000, 36, 8


def draw(dice: Sources, size: int) -> Canvas:
    kind = dice.program.integer(0, 10)
    return _escape(dice, size) if kind < 3 else _flame(dice, size, affine=kind < 6)


def _flame(dice: Sources, size: int, *, affine: bool) -> Canvas:
    program, layout, content = dice.program, dice.layout, dice.content
    count = program.integer(2, 6)
    maps = program.uniforms(-1, 1, count, 2, 3) * np.array([0.85, 0.85, 1.0]) + 0.12 * layout.normals(count, 2, 3)
    linear = maps[:, :, :2]
    spectral = np.linalg.norm(linear, 2, axis=(1, 2))[:, None, None]
    maps[:, :, :2] = linear / np.maximum(spectral / 0.8, 1)  # contracting, so that the set stays bounded
    variation = np.zeros(count, np.int64) if affine else program.integers(1, 7, count)
    hues = program.uniforms(0, 1, count)
    # the chaos game itself is not layout: always the same draws
    rng = np.random.default_rng(5)
    points, hue = rng.uniform(-1, 1, (POINTS, 2)), rng.random(POINTS)
    seen, shades = [], []
    for step in range(ROUNDS):
        # every map takes its own stretch of the shuffled points: the same as drawing maps, and quicker
        mixed = rng.permutation(POINTS)
        points, hue = points[mixed], hue[mixed]
        for m, part in enumerate(np.array_split(np.arange(POINTS), count)):
            moved = points[part] @ maps[m, :, :2].T + maps[m, :, 2]
            points[part] = _vary(moved, int(variation[m]))
            hue[part] = (hue[part] + hues[m]) / 2
        if step >= BURN_IN:
            seen.append(points.copy())
            shades.append(hue.copy())
    where, shade = np.concatenate(seen), np.concatenate(shades)
    low, high = np.percentile(where[::7], (2, 98), axis=0)
    place = (where - low) / (high - low + 1e-6) * 0.9 + 0.05
    inside = ((place >= 0) & (place < 1)).all(1)
    cell = (place[inside] * size).astype(np.intp)
    flat = cell[:, 1] * size + cell[:, 0]
    density = np.bincount(flat, minlength=size * size).reshape(size, size)
    colour = np.bincount(flat, weights=shade[inside], minlength=size * size).reshape(size, size) / np.maximum(
        density, 1
    )
    glow = np.log1p(density).astype(np.float32)
    glow = (glow / (glow.max() + 1e-6)) ** program.uniform(0.4, 1.0)
    front = apply_palette(stretch(colour.astype(np.float32)), palette(content))
    back = np.broadcast_to(palette(content, 3)[0] * program.uniform(0.1, 1), (size, size, 3))
    if program.chance(0.35):
        back = texture(program, content, size, palette(content))
    share = blur(glow, 0.6)[..., None]
    return (back * (1 - share) + front * share).astype(np.float32)


def _vary(z: Floats, kind: int) -> Floats:
    z = np.clip(z, -8, 8)
    if kind == 0:
        return z
    squared: Floats = np.maximum((z * z).sum(1), 0.05)
    radius, angle = np.sqrt(squared), np.arctan2(z[:, 0], z[:, 1])
    if kind == 1:  # sinusoidal
        return np.stack([np.sin(z[:, 0]), np.sin(z[:, 1])], axis=-1)
    if kind == 2:  # spherical
        return z / squared[:, None]
    if kind == 3:  # swirl
        s, c = np.sin(squared), np.cos(squared)
        return np.stack([z[:, 0] * s - z[:, 1] * c, z[:, 0] * c + z[:, 1] * s], axis=-1)
    if kind == 4:  # polar
        return np.stack([angle / np.pi, radius - 1], axis=-1)
    if kind == 5:  # handkerchief
        return np.stack([radius * np.sin(angle + radius), radius * np.cos(angle - radius)], axis=-1)
    return np.stack([np.sin(angle) / radius, radius * np.cos(angle)], axis=-1)  # hyperbolic


def _escape(dice: Sources, size: int) -> Canvas:
    """Julia sets near the border of the Mandelbrot set, where they have detail."""
    program, layout, content = dice.program, dice.layout, dice.content
    turn = program.uniform(0, 2 * np.pi)
    c = 0.5 * np.exp(1j * turn) - 0.25 * np.exp(2j * turn)  # on the main cardioid
    c = c * program.uniform(1.0, 1.08) + 0.02 * (layout.normal() + 1j * layout.normal())
    zoom = program.log_uniform(0.25, 1.3)
    line = np.linspace(-1, 1, size) * zoom
    cx, cy = layout.uniforms(-0.8, 0.8, 2)
    spin = np.exp(1j * layout.uniform(0, 2 * np.pi))
    z = ((line[None] + 1j * line[:, None]) * spin + (cx + 1j * cy)).astype(np.complex64)
    power = program.pick((2, 2, 2, 3))
    escaped = np.zeros((size, size), np.float32)
    for step in range(45):
        z = np.where(escaped == 0, z**power + np.complex64(c), z)
        radius = np.abs(z)
        out = (radius > 4) & (escaped == 0)
        escaped[out] = step + 1 - np.log2(np.log(radius[out]))
    inside = escaped == 0
    plane = np.log1p(np.maximum(escaped, 0))
    if program.chance(0.5):
        plane = np.sin(plane * program.uniform(3, 9)).astype(np.float32)
    image = apply_palette(stretch(plane), palette(content))
    image[inside] = palette(content, 3)[0]
    if program.chance(0.4):
        image = image * (1 + 0.15 * noise(content, size, 1.2))[..., None]
    return image
