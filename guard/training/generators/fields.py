"""Random fields and textures over a square. Knows spectra, gratings, cells and shading; no objects."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from guard.training.generators.base import Canvas, Dice, as_canvas
from guard.training.generators.colours import apply_palette

__all__ = ["blur", "cells", "grid", "noise", "relief", "stretch", "texture", "warp"]


@lru_cache(maxsize=8)
def grid(size: int) -> tuple[Canvas, Canvas]:
    """x and y planes, both from -1 to 1; not to be written to."""
    line = np.linspace(-1, 1, size, dtype=np.float32)
    x, y = np.meshgrid(line, line)
    x.flags.writeable = y.flags.writeable = False
    return x, y


def noise(dice: Dice, size: int, beta: float, stretch_by: float = 1.0, angle: float = 0.0) -> Canvas:
    """Gaussian field with amplitude spectrum 1/f^beta, mean 0 and deviation 1; beta = 1 is like photographs.

    stretch_by > 1 draws it out along `angle` (radians).
    Source: Field 1987, natural images have amplitude spectra near 1/f.
    """
    fx, fy = np.fft.rfftfreq(size)[None], np.fft.fftfreq(size)[:, None]
    if stretch_by != 1.0:
        c, s = np.cos(angle), np.sin(angle)
        fx, fy = (c * fx + s * fy) * stretch_by, (c * fy - s * fx) / stretch_by
    radius = np.maximum(np.hypot(fx, fy), 0.4 / size).astype(np.float32)
    wave = dice.normals(size, size // 2 + 1) + 1j * dice.normals(size, size // 2 + 1)
    plane = np.fft.irfft2(wave * radius ** (-beta), s=(size, size)).astype(np.float32)
    plane -= plane.mean()
    plane /= plane.std() + 1e-6
    return plane


def stretch(plane: Canvas, low: float = 1, high: float = 99) -> Canvas:
    """Onto [0, 1] between two percentiles, clipped."""
    bottom, top = np.percentile(plane[::3, ::3], (low, high))
    return as_canvas(np.clip((plane - bottom) / (top - bottom + 1e-6), 0, 1))


def blur(image: Canvas, sigma: float) -> Canvas:
    """Gaussian; sigma in px. Wide ones are made at half or quarter size, where they cost less."""
    if sigma < 0.3:
        return image
    if sigma > 6:
        small = cv2.resize(image, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)
        small = cv2.GaussianBlur(small, (0, 0), sigma / 4, borderType=cv2.BORDER_REPLICATE)
        return np.asarray(cv2.resize(small, image.shape[1::-1], interpolation=cv2.INTER_LINEAR), np.float32)
    return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE), np.float32)


def warp(image: Canvas, dx: Canvas, dy: Canvas) -> Canvas:
    """Look up image at (x + dx, y + dy), in units where the picture is 2 wide; mirrored at the border."""
    size = image.shape[0]
    x, y = grid(size)
    mx, my = (((a + d + 1) * 0.5 * (size - 1)).astype(np.float32) for a, d in ((x, dx), (y, dy)))
    return np.asarray(cv2.remap(image, mx, my, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT), np.float32)


def cells(dice: Dice, size: int, count: int) -> tuple[Canvas, Canvas, Canvas]:
    """Voronoi cells of `count` seeds: (index, distance to the seed, distance to the border), the distances in [0, 2].

    Source: Worley 1996, a cellular texture basis function.
    """
    half = max(size // 2, 8)
    seeds = dice.uniforms(-1.1, 1.1, count, 2).astype(np.float32)
    x, y = grid(half)
    squared = (x[..., None] - seeds[:, 0]) ** 2 + (y[..., None] - seeds[:, 1]) ** 2
    nearest = np.argmin(squared, axis=2)
    two = np.sqrt(np.partition(squared, 1, axis=2)[..., :2])
    index = cv2.resize(nearest.astype(np.float32), (size, size), interpolation=cv2.INTER_NEAREST)
    first, border = (
        np.asarray(cv2.resize(np.ascontiguousarray(p), (size, size), interpolation=cv2.INTER_LINEAR), np.float32)
        for p in (two[..., 0], two[..., 1] - two[..., 0])
    )
    return np.asarray(index, np.float32), first, border


def texture(program: Dice, layout: Dice, size: int, colours: Canvas) -> Canvas:
    """(size, size, 3): one of ten kinds of surface in these colours."""
    x, y = grid(size)
    angle = program.uniform(0, np.pi)
    along, across = np.cos(angle) * x + np.sin(angle) * y, np.cos(angle) * y - np.sin(angle) * x
    pitch = program.log_uniform(4, 45)
    phase = layout.uniform(0, 2 * np.pi)
    kind = program.integer(0, 10)
    if kind <= 1:
        plane = noise(layout, size, program.uniform(0.5, 1.9))
    elif kind == 2:  # grain of wood, fur, brushed metal
        plane = noise(layout, size, program.uniform(0.6, 1.6), program.uniform(1.6, 4), angle)
    elif kind == 3:  # stripes, straight to wavy
        plane = np.sin(pitch * along + phase + program.pick((0.0, 0.4, 1.5, 3.0)) * noise(layout, size, 2.0))
        plane = np.tanh(plane * program.pick((0.6, 2.0, 8.0)))
    elif kind == 4:  # checks
        plane = np.tanh(6 * np.sin(pitch * along + phase) * np.sin(pitch * across))
    elif kind == 5:  # woven
        plane = np.sin(pitch * along + phase) * 0.6 + np.sin(pitch * program.uniform(0.4, 2) * across)
    elif kind == 6:
        plane = along * program.pick((-1.0, 1.0)) + 0.15 * noise(layout, size, program.uniform(0.6, 1.6))
    elif kind == 7:  # speckle: stone, foliage from afar
        plane = np.tanh(4 * (noise(layout, size, program.uniform(0.4, 1.1)) - program.uniform(-0.8, 1.0)))
    elif kind == 8:  # scales, cobbles, cracked ground
        index, first, border = cells(layout, size, program.integer(8, 50))
        plane = program.pick((first, np.minimum(border, 0.15), index))
    else:  # ridges: bark, water, mountains from above
        plane = -np.abs(noise(layout, size, program.uniform(1.0, 2.0)))
    return apply_palette(stretch(plane.astype(np.float32)), colours)


def relief(image: Canvas, height: Canvas, angle: float, strength: float) -> Canvas:
    """Light a surface of this height from `angle` (radians)."""
    gx = cv2.Sobel(height, cv2.CV_32F, 1, 0)
    gy = cv2.Sobel(height, cv2.CV_32F, 0, 1)
    slope = np.cos(angle) * np.asarray(gx) + np.sin(angle) * np.asarray(gy)
    slope = np.clip(slope / (slope.std() + 1e-6), -2.5, 2.5)
    lit: Canvas = np.clip(image * (1 + strength * slope)[..., None], 0, 1).astype(np.float32)
    return lit
