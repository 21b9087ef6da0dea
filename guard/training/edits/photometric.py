"""Training edits of tone, colour, sharpness and compression. Knows pixels; nothing moves."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt

from guard.training.generators.base import Dice

__all__ = ["Picture", "add_noise", "compress", "recolour", "resized", "soften"]

Picture = npt.NDArray[np.uint8]
"""(h, w, 3) RGB."""
LUMA = np.array([0.299, 0.587, 0.114])


def resized(picture: Picture, width: int, height: int) -> Picture:
    """Averages only for large reductions: finer averaging takes five times as long and shows little."""
    shrunk = min(width / picture.shape[1], height / picture.shape[0])
    how = cv2.INTER_LINEAR if shrunk >= 0.42 else cv2.INTER_AREA
    return np.asarray(cv2.resize(picture, (width, height), interpolation=how), np.uint8)


def recolour(dice: Dice, picture: Picture, strength: float) -> Picture:
    """Tone curve, saturation, hue, channel gains; now and then grey, posterised, inverted or two-toned.

    strength: 0 leaves the picture as it is, 1 is about what a filter of a photo application does; up to 1.3.
    """
    brightness = strength * dice.uniform(-0.28, 0.28)
    contrast = np.exp(strength * dice.uniform(-0.7, 0.6))
    gamma = np.exp(strength * dice.uniform(-0.6, 0.6))
    level = np.linspace(0, 1, 256)
    curve = np.clip((level**gamma - 0.5) * contrast + 0.5 + brightness, 0, 1)
    special = dice.uniform(0, 1)
    if special < 0.04 * strength:
        steps = dice.integer(2, 8)
        curve = np.round(curve * steps) / steps
    elif special < 0.06 * strength:
        curve = 1 - curve
    elif special < 0.08 * strength:  # solarised
        curve = np.abs(2 * curve - 1)
    out = np.asarray(cv2.LUT(picture, (curve * 255 + 0.5).astype(np.uint8)), np.uint8)
    mix = _colour_matrix(dice, strength)
    return out if mix is None else np.asarray(cv2.transform(out, mix), np.uint8)


def _colour_matrix(dice: Dice, strength: float) -> npt.NDArray[np.float32] | None:
    grey_row = np.outer(np.ones(3), LUMA)
    kind = dice.uniform(0, 1)
    if kind < 0.16 * strength:
        if dice.chance(0.25):  # sepia and other tints
            return (np.diag(dice.uniforms(0.7, 1.15, 3)) @ grey_row).astype(np.float32)
        return grey_row.astype(np.float32)
    saturation = np.exp(strength * dice.uniform(-1.2, 0.7))
    mix = saturation * np.eye(3) + (1 - saturation) * grey_row
    if dice.chance(0.5):
        turn = 2 * np.pi * strength * (dice.uniform(-0.1, 0.1) if dice.chance(0.8) else dice.uniform(-0.5, 0.5))
        c, s, third = np.cos(turn), np.sin(turn), 1 / np.sqrt(3)
        cross = third * np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]])
        mix = (c * np.eye(3) + s * cross + (1 - c) * np.full((3, 3), 1 / 3)) @ mix
    if dice.chance(0.35):
        mix = np.diag(np.exp(strength * dice.uniforms(-0.3, 0.3, 3))) @ mix
    if dice.chance(0.03 * strength):
        mix = mix[dice.order(3)]
    return np.asarray(mix, np.float32)


def soften(dice: Dice, picture: Picture, strength: float) -> Picture:
    """Gaussian, box or motion blur, a fall in resolution, or sharpening."""
    size = picture.shape[0]
    kind = dice.integer(0, 6)
    if kind <= 1:
        sigma = dice.log_uniform(0.004, 0.004 + 0.021 * strength) * size
        return np.asarray(cv2.GaussianBlur(picture, (0, 0), sigma), np.uint8)
    if kind == 2:
        length = max(2, int(size * dice.uniform(0.01, 0.015 + 0.05 * strength)))
        kernel = np.zeros((length, length), np.float32)
        a = dice.uniform(0, np.pi)
        middle = (length - 1) / 2
        t = np.linspace(-middle, middle, 2 * length)
        kernel[np.round(middle + t * np.sin(a)).astype(int), np.round(middle + t * np.cos(a)).astype(int)] = 1
        return np.asarray(cv2.filter2D(picture, -1, kernel / kernel.sum()), np.uint8)
    if kind <= 4:
        side = max(12, int(size * dice.uniform(1 - 0.82 * strength, 1)))
        low = cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA)
        how = dice.pick((cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_NEAREST))
        return np.asarray(cv2.resize(low, (picture.shape[1], size), interpolation=how), np.uint8)
    low = cv2.GaussianBlur(picture, (0, 0), dice.uniform(0.7, 3))
    amount = dice.uniform(0.3, 0.4 + 2 * strength)
    return np.asarray(cv2.addWeighted(picture, 1 + amount, low, -amount, 0), np.uint8)


def compress(dice: Dice, picture: Picture, strength: float) -> Picture:
    """JPEG or WebP, there and back; quality down to 8 at strength 1."""
    quality = int(dice.uniform(92 - 84 * strength, 95))
    if dice.chance(0.9):  # the other takes ten times as long
        _, coded = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])
    else:
        _, coded = cv2.imencode(".webp", picture, [cv2.IMWRITE_WEBP_QUALITY, quality])
    return np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR), np.uint8)


def add_noise(dice: Dice, picture: Picture, strength: float) -> Picture:
    """Grain (grey or coloured), dead pixels, scan lines."""
    h, w = picture.shape[:2]
    kind = dice.integer(0, 6)
    if kind <= 3:
        grain = _grain()[dice.integer(0, 64) :, dice.integer(0, 64) :][:h, :w]
        grain = grain if kind else grain[..., :1]
        grain = np.resize(grain, (h, w, grain.shape[2])) if grain.shape[:2] != (h, w) else grain
        return np.clip(picture + grain * dice.uniform(2, 4 + 32 * strength), 0, 255).astype(np.uint8)
    out = picture.copy()
    if kind == 4:
        hit = dice.uniforms(0, 1, h, w)
        share = dice.uniform(0, 0.06 * strength)
        out[hit < share / 2] = 0
        out[hit > 1 - share / 2] = 255
        return out
    out[:: dice.integer(2, 6)] = dice.integer(0, 256)
    return np.asarray(cv2.addWeighted(out, 0.5 * strength, picture, 1 - 0.5 * strength, 0), np.uint8)


@lru_cache(maxsize=1)
def _grain() -> npt.NDArray[np.float32]:
    """One sheet of unit noise, from which pieces are cut: drawing it anew would cost more than all other edits."""
    return np.random.default_rng(0).standard_normal((320, 320, 3)).astype(np.float32)
