"""Training edits that imitate what a generative model does to a picture it remembers. Knows local statistics only.

The large forms stay; strokes, grain, fine detail and colours are made anew. Stand-ins, each made of filters.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from guard.training.edits.photometric import Picture
from guard.training.generators.base import Dice

__all__ = ["regenerate"]

Plane = npt.NDArray[np.float32]
_KNOTS = 9  # of an invented distribution of levels


def regenerate(dice: Dice, picture: Picture, strength: float) -> Picture:
    """One of: painterly smoothing, other detail over a low-pass, other colours or levels, autoencoder blur, …"""
    makers = {
        _painterly: 3,
        _new_detail: 2,
        _moved_detail: 2,
        _colour_transfer: 1,
        _other_levels: 3,
        _autoencoder: 2,
        _patchwork: 1,
        _posterised: 1,
    }
    return dice.pick(tuple(makers), tuple(makers.values()))(dice, picture, strength)


def _painterly(dice: Dice, picture: Picture, strength: float) -> Picture:
    kind = dice.integer(0, 3)
    if kind == 0:
        return np.asarray(cv2.medianBlur(picture, dice.pick((3, 5, 7) if strength > 0.5 else (3, 5))), np.uint8)
    if kind == 1:
        return np.asarray(cv2.bilateralFilter(picture, 7, dice.uniform(30, 40 + 70 * strength), 4), np.uint8)
    # strokes: opening and closing with a short bar
    length = 2 + dice.integer(0, 1 + round(3 * strength))
    bar = np.eye(length, dtype=np.uint8) if dice.chance(0.5) else np.ones((1, length), np.uint8)
    opened = cv2.morphologyEx(picture, cv2.MORPH_OPEN, bar)
    return np.asarray(cv2.morphologyEx(opened, cv2.MORPH_CLOSE, bar), np.uint8)


def _new_detail(dice: Dice, picture: Picture, strength: float) -> Picture:
    """Below a frequency the picture, above it noise of the same local strength, of another grain."""
    h, w = picture.shape[:2]
    sigma = dice.uniform(0.006, 0.008 + 0.018 * strength) * w
    low = np.asarray(cv2.GaussianBlur(picture, (0, 0), sigma), np.float32)
    local = np.abs(picture - low).mean(axis=2).astype(np.float32)
    local = np.asarray(cv2.GaussianBlur(local, (0, 0), 2.0), np.float32)
    grain = np.asarray(
        cv2.GaussianBlur(dice.normals(h, w).astype(np.float32), (0, 0), dice.uniform(0.4, 1.5)), np.float32
    )
    grain /= grain.std() + 1e-6
    detail = grain * (local * dice.uniform(0.5, 1.6) + dice.uniform(0, 6))
    return np.clip(low + detail[..., None], 0, 255).astype(np.uint8)


def _moved_detail(dice: Dice, picture: Picture, strength: float) -> Picture:
    """Below a frequency the picture, above it what is fine in it elsewhere: mirrored, turned and moved."""
    h, w = picture.shape[:2]
    sigma = dice.uniform(0.006, 0.008 + 0.012 * strength) * w
    values = picture.astype(np.float32)
    low = np.asarray(cv2.GaussianBlur(values, (0, 0), sigma), np.float32)
    fine = values - low
    fine = np.swapaxes(fine, 0, 1) if h == w and dice.chance(0.5) else fine[::-1]
    fine = np.roll(fine, (dice.integer(0, h), dice.integer(0, w)), (0, 1))
    return np.clip(low + fine * dice.uniform(0.6, 0.8 + 0.7 * strength), 0, 255).astype(np.uint8)


def _colour_transfer(dice: Dice, picture: Picture, strength: float) -> Picture:
    """Mean and spread of each channel moved towards those of an invented palette."""
    values = picture.astype(np.float32)
    mean, spread = values.mean((0, 1)), values.std((0, 1)) + 3
    new_mean = np.clip(mean + strength * 38 * dice.normals(3), 25, 230)
    new_spread = spread.mean() * np.exp(strength * dice.uniforms(-0.6, 0.4, 3))
    moved = (values - mean) / spread * new_spread + new_mean
    return np.asarray(np.clip(moved, 0, 255), np.uint8)


def _other_levels(dice: Dice, picture: Picture, strength: float) -> Picture:
    """Levels of each channel moved towards an invented distribution of levels, of which channels share a part."""
    shared, share = 0.9 * dice.normals(_KNOTS - 1), dice.uniform(0.3 * strength, strength)
    table = np.empty((256, 3), np.float64)
    for channel in range(3):
        counts = np.bincount(picture[..., channel].ravel(), minlength=256)
        ranks = (counts.cumsum() - counts / 2) / counts.sum()
        steps = np.exp(shared + 0.9 * dice.normals(_KNOTS - 1))
        wanted = np.concatenate([[0], (steps / steps.sum()).cumsum()])
        darkest = dice.uniform(0, 0.3)
        wanted = 255 * (darkest + (1 - darkest) * dice.uniform(0.5, 1) * wanted)
        curve = np.interp(ranks, np.linspace(0, 1, _KNOTS), wanted)
        table[:, channel] = (1 - share) * np.arange(256) + share * curve
    return np.asarray(cv2.LUT(picture, np.clip(table + 0.5, 0, 255).astype(np.uint8)[None]), np.uint8)


def _autoencoder(dice: Dice, picture: Picture, strength: float) -> Picture:
    """Luma keeps more than chroma, both lose what a latent of an eighth cannot hold, and edges ring a little."""
    h, w = picture.shape[:2]
    ycc = np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2YCrCb), np.uint8)
    planes = []
    for i, share in enumerate((dice.uniform(0.75 - 0.45 * strength, 0.9), dice.uniform(0.12, 0.4))):
        side = max(8, int(w * share))
        part = np.ascontiguousarray(ycc[..., :1] if i == 0 else ycc[..., 1:])
        small = cv2.resize(part, (side, side), interpolation=cv2.INTER_AREA)
        planes.append(np.asarray(cv2.resize(small, (w, h), interpolation=cv2.INTER_CUBIC)).reshape(h, w, -1))
    out = np.asarray(cv2.cvtColor(np.concatenate(planes, axis=2), cv2.COLOR_YCrCb2RGB), np.uint8)
    low = cv2.GaussianBlur(out, (0, 0), 1.2)
    amount = dice.uniform(0, 0.9)
    return np.asarray(cv2.addWeighted(out, 1 + amount, low, -amount, 0), np.uint8)


def _patchwork(dice: Dice, picture: Picture, strength: float) -> Picture:
    """Small patches are taken from nearby: texture is remade, forms stay."""
    h, w = picture.shape[:2]
    side = dice.integer(3, 5 + round(5 * strength))
    rows, columns = -(-h // side), -(-w // side)
    reach = dice.uniform(0.3, 0.4 + 0.6 * strength) * side
    dx, dy = (
        np.kron(reach * dice.normals(rows, columns), np.ones((side, side)))[:h, :w].astype(np.float32) for _ in range(2)
    )
    dx, dy = (np.asarray(cv2.GaussianBlur(d, (0, 0), side * 0.3), np.float32) for d in (dx, dy))
    xs, ys = np.meshgrid(np.arange(w, dtype=np.float32), np.arange(h, dtype=np.float32))
    return np.asarray(cv2.remap(picture, xs + dx, ys + dy, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT), np.uint8)


def _posterised(dice: Dice, picture: Picture, strength: float) -> Picture:
    """Smooth, then few tones with dark edges: a comic, a print."""
    smooth = cv2.bilateralFilter(picture, 7, 60, 4)
    steps = dice.integer(4, 9 - round(2 * strength))
    flat = (np.floor(np.asarray(smooth, np.float32) / 256 * steps) + 0.5) * (256 / steps)
    if dice.chance(0.5):
        luma = np.asarray(cv2.GaussianBlur(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), (0, 0), 1.0), np.float32)
        edges = np.abs(np.asarray(cv2.Laplacian(luma, cv2.CV_32F, ksize=3)))
        flat = flat * np.clip(1.4 - edges / (3 * edges.mean() + 6), 0.2, 1)[..., None]
    return np.clip(flat, 0, 255).astype(np.uint8)
