"""Edits that change levels and colours in place: compression, blur, grain, tone. Knows no geometry."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageFilter, ImageOps

from guard.evaluation.edits.base import Edit, Rng, to_bytes
from guard.pixels import RGBArray

__all__ = ["PHOTOMETRIC", "blur", "cast", "gamma", "jpeg", "noise"]

LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601
Others = Sequence[RGBArray]


def jpeg(picture: RGBArray, *, quality: int) -> RGBArray:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=quality)
    with Image.open(file) as image:
        return np.array(image.convert("RGB"))


def blur(picture: RGBArray, *, sigma: float) -> RGBArray:
    """sigma: share of the longer side."""
    return np.array(Image.fromarray(picture).filter(ImageFilter.GaussianBlur(sigma * max(picture.shape))))


def noise(picture: RGBArray, rng: Rng, *, levels: float) -> RGBArray:
    grain = rng.standard_normal(picture.shape, np.float32)
    return to_bytes(picture + levels * grain)


def gamma(picture: RGBArray, *, exponent: float) -> RGBArray:
    curve = to_bytes(255 * (np.arange(256) / 255) ** exponent)
    return curve[picture]


def cast(picture: RGBArray, rng: Rng, *, strength: float) -> RGBArray:
    """One channel is raised and another lowered by up to this share."""
    gains = 1 + strength * rng.permutation([1.0, -1.0, 0.0])
    return to_bytes(picture * gains)


def _saturation(picture: RGBArray, *, factor: float) -> RGBArray:
    grey = (picture @ LUMA)[..., None]
    return to_bytes(grey + factor * (picture - grey))


def _contrast(picture: RGBArray, *, factor: float) -> RGBArray:
    middle = picture.mean(dtype=np.float64)
    return to_bytes(middle + factor * (picture - middle))


def _grey(picture: RGBArray) -> RGBArray:
    return np.repeat(to_bytes(picture @ LUMA)[..., None], 3, axis=2)


def _posterise(picture: RGBArray, *, levels: int) -> RGBArray:
    step = 255 / (levels - 1)
    return to_bytes(np.rint(picture / step) * step)


def _dither(picture: RGBArray, *, levels: int) -> RGBArray:
    """Few levels a channel, told apart by an ordered pattern (Bayer 1973)."""
    h, w = picture.shape[:2]
    bayer = np.array([[0, 8, 2, 10], [12, 4, 14, 6], [3, 11, 1, 9], [15, 7, 13, 5]], np.float32)
    pattern = np.tile((bayer + 0.5) / 16, (-(-h // 4), -(-w // 4)))[:h, :w, None]
    return to_bytes(np.floor(picture * np.float32((levels - 1) / 255) + pattern) * (255 / (levels - 1)))


def _equalise(picture: RGBArray) -> RGBArray:
    return np.array(ImageOps.equalize(Image.fromarray(picture)))


def _vignette(picture: RGBArray, *, loss: float) -> RGBArray:
    """Corners lose this share of their light."""
    h, w = picture.shape[:2]
    y, x = np.linspace(-1, 1, h, dtype=np.float32)[:, None], np.linspace(-1, 1, w, dtype=np.float32)
    return to_bytes(picture * (1 - loss * (x * x + y * y) / 2)[..., None])


PHOTOMETRIC = (
    Edit("jpeg_30", "photometric", jpeg, {"quality": 30}),
    Edit("jpeg_10", "photometric", jpeg, {"quality": 10}),
    Edit("blur", "photometric", blur, {"sigma": 0.008}),
    Edit("noise", "photometric", noise, {"levels": 20.0}),
    Edit("gamma_0.5", "photometric", gamma, {"exponent": 0.5}),
    Edit("gamma_2", "photometric", gamma, {"exponent": 2.0}),
    Edit("colour_cast", "photometric", cast, {"strength": 0.25}),
    Edit("saturation", "photometric", _saturation, {"factor": 1.8}),
    Edit("low_contrast", "photometric", _contrast, {"factor": 0.5}),
    Edit("grey", "photometric", _grey),
    Edit("posterise", "photometric", _posterise, {"levels": 4}),
    Edit("dither", "photometric", _dither, {"levels": 3}),
    Edit("equalise", "photometric", _equalise),
    Edit("vignette", "photometric", _vignette, {"loss": 0.7}),
)
