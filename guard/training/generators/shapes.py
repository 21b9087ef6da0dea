"""Outlines, and a painter that fills them. Knows polygons in px; no scenes.

The painter keeps 8 bits a channel, since OpenCV smooths edges only there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from guard.training.generators.base import Canvas, Dice, Floats, as_canvas

__all__ = [
    "OUTLINES",
    "Colour",
    "Painter",
    "bytes_of",
    "ellipse",
    "outline",
    "rectangle",
    "regular",
    "smooth_blob",
    "star",
]

OUTLINES = ("disc", "ellipse", "polygon", "box", "blob", "star", "regular", "leaf", "ring_arc")
TURN = 2 * np.pi
Colour = Sequence[float] | npt.NDArray[Any]
"""Red, green and blue in [0, 1]."""


def bytes_of(colour: Colour) -> tuple[int, int, int]:
    r, g, b = (min(255, max(0, int(float(v) * 255 + 0.5))) for v in colour)
    return r, g, b


def ellipse(cx: float, cy: float, rx: float, ry: float, turn: float = 0.0, n: int = 36) -> Floats:
    a = np.linspace(0, TURN, n, endpoint=False)
    return _placed(rx * np.cos(a), ry * np.sin(a), cx, cy, turn)


def rectangle(cx: float, cy: float, w: float, h: float, turn: float = 0.0) -> Floats:
    return _placed(np.array([-w, w, w, -w]) / 2, np.array([-h, -h, h, h]) / 2, cx, cy, turn)


def regular(cx: float, cy: float, radius: float, sides: int, turn: float = 0.0) -> Floats:
    return ellipse(cx, cy, radius, radius, turn, sides)


def star(cx: float, cy: float, radius: float, points: int, inner: float, turn: float = 0.0) -> Floats:
    a = np.arange(2 * points) * np.pi / points - np.pi / 2
    r = np.where(np.arange(2 * points) % 2, inner, 1.0) * radius
    return _placed(r * np.cos(a), r * np.sin(a), cx, cy, turn)


def smooth_blob(dice: Dice, cx: float, cy: float, rx: float, ry: float, roughness: float = 0.3) -> Floats:
    a = np.linspace(0, TURN, 40, endpoint=False)
    r = np.ones(40)
    for k, (size, phase) in enumerate(zip(dice.normals(5), dice.uniforms(0, TURN, 5), strict=True), 1):
        r += roughness / k * size * np.cos(k * a + phase)
    r = np.clip(r, 0.2, 2.5)
    return _placed(rx * r * np.cos(a), ry * r * np.sin(a), cx, cy, dice.uniform(0, np.pi))


def outline(dice: Dice, kind: str, cx: float, cy: float, radius: float) -> Floats:
    """(n, 2) points of a random member of that kind. Raises KeyError for a kind not in OUTLINES."""
    turn = dice.uniform(0, TURN) if dice.chance(0.6) else 0.0
    if kind == "disc":
        return ellipse(cx, cy, radius, radius)
    if kind == "ellipse":
        return ellipse(cx, cy, radius, radius * dice.uniform(0.25, 0.9), turn)
    if kind == "polygon":
        n = dice.integer(3, 11)
        a = np.linspace(0, TURN, n, endpoint=False) + dice.uniforms(0, TURN / n, n)
        r = radius * np.clip(1 + 0.35 * dice.normals(n), 0.25, 1.8)
        return _placed(r * np.cos(a), r * np.sin(a), cx, cy, turn)
    if kind == "box":
        return rectangle(cx, cy, 2 * radius, 2 * radius * dice.uniform(0.15, 1), turn)
    if kind == "blob":
        return smooth_blob(dice, cx, cy, radius, radius * dice.uniform(0.45, 1), 0.35)
    if kind == "star":
        return star(cx, cy, radius, dice.integer(3, 10), dice.uniform(0.3, 0.75), turn)
    if kind == "regular":
        return regular(cx, cy, radius, dice.integer(3, 9), turn)
    if kind == "leaf":
        t = np.linspace(-1, 1, 18)
        bend, width = dice.uniform(-0.4, 0.4), dice.uniform(0.15, 0.5)
        top = width * np.cos(t * np.pi / 2) ** dice.pick((0.5, 1.0, 2.0))
        xs, ys = np.concatenate([t, t[::-1]]), np.concatenate([top + bend * t**2, (-top + bend * t**2)[::-1]])
        return _placed(radius * xs, radius * ys, cx, cy, dice.uniform(0, TURN))
    if kind == "ring_arc":
        a = np.linspace(0, dice.uniform(1.5, 6), 24)
        inner = dice.uniform(0.4, 0.85)
        xs = np.concatenate([np.cos(a), inner * np.cos(a[::-1])])
        ys = np.concatenate([np.sin(a), inner * np.sin(a[::-1])])
        return _placed(radius * xs, radius * ys, cx, cy, dice.uniform(0, TURN))
    raise KeyError(kind)


class Painter:
    """An 8-bit picture to draw on."""

    def __init__(self, picture: npt.NDArray[np.uint8]) -> None:
        self.picture = picture
        self.size = picture.shape[0]

    @classmethod
    def plain(cls, size: int, colour: Colour) -> Painter:
        return cls(np.full((size, size, 3), bytes_of(colour), np.uint8))

    @classmethod
    def over(cls, canvas: Canvas) -> Painter:
        return cls(np.ascontiguousarray((np.clip(canvas, 0, 1) * 255 + 0.5).astype(np.uint8)))

    def canvas(self) -> Canvas:
        return as_canvas(self.picture) / np.float32(255)

    def fill(self, points: Floats, colour: Colour) -> None:
        cv2.fillPoly(self.picture, [_fixed(points)], bytes_of(colour), cv2.LINE_AA, 4)

    def line(self, points: Floats, colour: Colour, width: float = 1, *, closed: bool = False) -> None:
        cv2.polylines(self.picture, [_fixed(points)], closed, bytes_of(colour), max(1, round(width)), cv2.LINE_AA, 4)

    def strokes(self, many: list[npt.NDArray[np.int32]], colour: Colour, width: float) -> None:
        """Several open lines of one colour at once; points in sixteenths of a px."""
        if many:
            cv2.polylines(self.picture, many, False, bytes_of(colour), max(1, round(width)), cv2.LINE_AA, 4)

    def mask(self, points: Floats, soft: float = 0) -> Canvas:
        """One plane in [0, 1], 1 inside; soft: blur in px."""
        plane = np.zeros(self.picture.shape[:2], np.uint8)
        cv2.fillPoly(plane, [_fixed(points)], (255,), cv2.LINE_AA, 4)
        if soft > 0.3:
            plane = np.asarray(cv2.GaussianBlur(plane, (0, 0), soft), np.uint8)
        return as_canvas(plane) / np.float32(255)

    def blend(self, image: npt.ArrayLike, mask: Canvas) -> None:
        """Lay a canvas or a colour over the picture where the mask is."""
        m = mask[..., None]
        mixed = self.picture * (1 - m) + np.asarray(image, np.float32) * (255 * m)
        self.picture = np.ascontiguousarray(np.clip(mixed + 0.5, 0, 255).astype(np.uint8))

    def paint(
        self, points: Floats, surface: Canvas, at: tuple[float, float], light: tuple[float, float] | None
    ) -> None:
        """Fill with a piece of a texture (square, not smaller than the picture), from the share `at` of its room.

        light: (angle, strength) of a shading across the shape, round as on a ball; None: flat.
        """
        x0, y0 = np.maximum(np.floor(points.min(0)).astype(int), 0)
        x1, y1 = np.minimum(np.ceil(points.max(0)).astype(int) + 1, self.size)
        if x1 - x0 < 2 or y1 - y0 < 2:
            return
        w, h = int(x1 - x0), int(y1 - y0)
        mask = np.zeros((h, w), np.uint8)
        cv2.fillPoly(mask, [_fixed(points - [x0, y0])], (255,), cv2.LINE_AA, 4)
        ox, oy = (int(a * (surface.shape[0] - side)) for a, side in zip(at, (w, h), strict=True))
        piece = surface[oy : oy + h, ox : ox + w]
        if light is not None:
            gx = np.linspace(-1, 1, w, dtype=np.float32)[None]
            gy = np.linspace(-1, 1, h, dtype=np.float32)[:, None]
            lit = np.cos(light[0]) * gx + np.sin(light[0]) * gy - 0.35 * (gx * gx + gy * gy)
            piece = piece * (1 + light[1] * lit)[..., None]
        share = mask.astype(np.float32)[..., None] / 255
        below = self.picture[y0:y1, x0:x1]
        below[:] = np.clip(below * (1 - share) + piece * (255 * share) + 0.5, 0, 255).astype(np.uint8)


def _placed(xs: Floats, ys: Floats, cx: float, cy: float, turn: float) -> Floats:
    c, s = np.cos(turn), np.sin(turn)
    return np.stack([cx + c * xs - s * ys, cy + s * xs + c * ys], axis=-1)


def _fixed(points: Floats) -> npt.NDArray[np.int32]:
    return np.round(np.clip(points, -4000, 4000) * 16).astype(np.int32)  # four fractional bits
