"""Edits that move pixels: crops, turns, flips, tilt, aspect, lens. Knows no colours."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image

from guard.evaluation.edits.base import LEAST_SIDE, Edit, Rng, remapped, scaled
from guard.pixels import RGBArray

__all__ = ["GEOMETRIC", "aspect", "crop", "flip", "perspective", "rotate"]

Others = Sequence[RGBArray]


def crop(picture: RGBArray, rng: Rng, *, area: float) -> RGBArray:
    """Keep this share of the area, anywhere in the picture, of the same aspect."""
    h, w = picture.shape[:2]
    height, width = (min(side, max(LEAST_SIDE, round(side * math.sqrt(area)))) for side in (h, w))
    top, left = int(rng.integers(0, h - height + 1)), int(rng.integers(0, w - width + 1))
    return picture[top : top + height, left : left + width]


def rotate(picture: RGBArray, rng: Rng, *, degrees: float, corners: str) -> RGBArray:
    """Turn either way. corners: "cut" keeps the largest rectangle inside, "black" keeps the whole picture."""
    h, w = picture.shape[:2]
    angle = degrees if rng.random() < 0.5 else -degrees
    turned = Image.fromarray(picture).rotate(angle, Image.Resampling.BICUBIC, expand=corners == "black")
    if corners == "cut":
        sin, cos = math.sin(math.radians(degrees)), math.cos(math.radians(degrees))
        share = min(w / (w * cos + h * sin), h / (w * sin + h * cos))  # a rectangle of the same aspect
        x, y = w * (1 - share) / 2, h * (1 - share) / 2
        turned = turned.crop((math.ceil(x), math.ceil(y), math.floor(w - x), math.floor(h - y)))
    return np.array(turned)


def _quarter(picture: RGBArray, *, turns: int) -> RGBArray:
    return np.rot90(picture, turns)


def flip(picture: RGBArray, *, axis: str) -> RGBArray:
    return picture[:, ::-1] if axis == "horizontal" else picture[::-1]


def perspective(picture: RGBArray, rng: Rng, *, shift: float) -> RGBArray:
    """Each corner of what is seen lies up to this share of a side inside the picture."""
    h, w = picture.shape[:2]
    inward = np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]]) * rng.uniform(0, shift, (4, 2)) * [w, h]
    target = np.array([[0, 0], [w, 0], [w, h], [0, h]], np.float64)
    source = target + inward
    rows, values = [], []
    for (x, y), (u, v) in zip(target, source, strict=True):  # Pillow maps from target to source
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
        values += [u, v]
    numbers = np.linalg.solve(np.array(rows), np.array(values)).tolist()
    seen = Image.fromarray(picture).transform(
        (w, h), Image.Transform.PERSPECTIVE, numbers, resample=Image.Resampling.BICUBIC
    )
    return np.array(seen)


def aspect(picture: RGBArray, rng: Rng, *, ratio: float) -> RGBArray:
    """Wider or taller by this factor, of the same area."""
    h, w = picture.shape[:2]
    root = math.sqrt(ratio if rng.random() < 0.5 else 1 / ratio)
    return scaled(picture, max(LEAST_SIDE, round(w * root)), max(LEAST_SIDE, round(h / root)))


def _shrink(picture: RGBArray, *, longer_side: int) -> RGBArray:
    h, w = picture.shape[:2]
    factor = min(1.0, longer_side / max(h, w))
    return scaled(picture, max(LEAST_SIDE, round(w * factor)), max(LEAST_SIDE, round(h * factor)))


def _lens(picture: RGBArray, *, barrel: float) -> RGBArray:
    """Straight lines bow outwards, as through a wide lens; the outermost parts are lost."""
    h, w = picture.shape[:2]
    y, x = np.meshgrid(np.linspace(-1, 1, h, dtype=np.float32), np.linspace(-1, 1, w, dtype=np.float32), indexing="ij")
    factor = (1 + barrel * (x * x + y * y)) / (1 + 2 * barrel)
    return remapped(picture, (x * factor + 1) * (w - 1) / 2, (y * factor + 1) * (h - 1) / 2)


def _sheared(picture: RGBArray, rng: Rng, *, slope: float) -> RGBArray:
    """Rows slide sideways in proportion to their height; the ends are cut away."""
    h, w = picture.shape[:2]
    way = slope if rng.random() < 0.5 else -slope
    spare = min(slope * h, w - LEAST_SIDE)
    start = 0.0 if way > 0 else spare
    width = max(1, round(w - spare))
    numbers = (1, way * spare / max(slope * h, 1e-9), start, 0, 1, 0)
    seen = Image.fromarray(picture).transform(
        (width, h), Image.Transform.AFFINE, numbers, resample=Image.Resampling.BICUBIC
    )
    return np.array(seen)


GEOMETRIC = (
    Edit("crop_80", "geometric", crop, {"area": 0.8}),
    Edit("crop_60", "geometric", crop, {"area": 0.6}),
    Edit("crop_40", "geometric", crop, {"area": 0.4}),
    Edit("crop_25", "geometric", crop, {"area": 0.25}),
    Edit("rotate_5", "geometric", rotate, {"degrees": 5.0, "corners": "cut"}),
    Edit("rotate_15", "geometric", rotate, {"degrees": 15.0, "corners": "black"}),
    Edit("rotate_90", "geometric", _quarter, {"turns": 1}),
    Edit("rotate_180", "geometric", _quarter, {"turns": 2}),
    Edit("rotate_270", "geometric", _quarter, {"turns": 3}),
    Edit("flip_horizontal", "geometric", flip, {"axis": "horizontal"}),
    Edit("flip_vertical", "geometric", flip, {"axis": "vertical"}),
    Edit("perspective", "geometric", perspective, {"shift": 0.15}),
    Edit("aspect", "geometric", aspect, {"ratio": 1.6}),
    Edit("shrink_96", "geometric", _shrink, {"longer_side": 96}),
    Edit("lens", "geometric", _lens, {"barrel": 0.18}),
    Edit("shear", "geometric", _sheared, {"slope": 0.2}),
)
