"""Training edits that lay something over a picture, or the picture into another one. Knows places; no tone."""

from __future__ import annotations

import cv2
import numpy as np

from guard.training.edits.photometric import Picture, resized
from guard.training.generators.base import Dice
from guard.training.generators.glyphs import known_script, write_block, write_line
from guard.training.generators.shapes import OUTLINES, Painter, ellipse, outline, rectangle

__all__ = ["Place", "blend", "collage", "decorate", "inset", "inset_size"]

Place = tuple[int, int, int, int]
"""Left, top, width and height in px: where a picture stands in a larger one."""


def _colour(dice: Dice) -> tuple[float, float, float]:
    if dice.chance(0.5):
        level = float(dice.integer(0, 2))
        return level, level, level
    r, g, b = dice.uniforms(0, 1, 3)
    return float(r), float(g), float(b)


def decorate(dice: Dice, picture: Picture, strength: float) -> Picture:
    """One to four of: writing, caption bar, watermark grid, shapes, a face of three shapes, a frame, scribbles."""
    painter = Painter(np.ascontiguousarray(picture.copy()))
    for _ in range(dice.integer(1, 2 + round(2.5 * strength))):
        add = dice.pick((_writing, _bar, _grid, _shape, _smiley, _border, _scribble), (4, 1.5, 1, 2, 1, 1, 1))
        add(dice, painter, strength)
    if dice.chance(0.3):
        opacity = dice.uniform(0.25, 0.9)
        return np.asarray(cv2.addWeighted(painter.picture, opacity, picture, 1 - opacity, 0), np.uint8)
    return painter.picture


def _writing(dice: Dice, painter: Painter, strength: float) -> None:
    size, script = painter.size, known_script(dice.integer(0, 64))
    height = size * dice.log_uniform(0.035, 0.07 + 0.25 * strength)
    corner = (size * dice.uniform(-0.05, 0.5), size * dice.uniform(0, 1) - height / 2)
    for line in range(dice.pick((1, 1, 2, 3))):
        place = (corner[0], corner[1] + 1.5 * height * line)
        write_line(painter, dice, script, place, height, dice.integer(3, 20), _colour(dice))


def _bar(dice: Dice, painter: Painter, strength: float) -> None:
    size = painter.size
    height = size * dice.uniform(0.06, 0.1 + 0.2 * strength)
    top = dice.pick((0.0, size - height))
    painter.fill(rectangle(size / 2, top + height / 2, size + 2, height), _colour(dice))
    text = min(height * 0.6, size * 0.1)
    box = (size * 0.04, top + 0.2 * text, size * 0.98, top + height)
    write_block(painter, dice, known_script(dice.integer(0, 64)), box, text, _colour(dice))


def _grid(dice: Dice, painter: Painter, strength: float) -> None:
    """A repeated watermark, half transparent."""
    below = painter.picture.copy()
    size, script = painter.size, known_script(dice.integer(0, 64))
    height, colour = size * dice.uniform(0.04, 0.1), _colour(dice)
    for y in np.arange(0, size, size * dice.uniform(0.15, 0.4)):
        for x in np.arange(-height, size, size * dice.uniform(0.3, 0.6)):
            write_line(painter, dice, script, (float(x), float(y)), height, 6, colour)
    opacity = dice.uniform(0.15, 0.25 + 0.5 * strength)
    painter.picture = np.asarray(cv2.addWeighted(painter.picture, opacity, below, 1 - opacity, 0), np.uint8)


def _shape(dice: Dice, painter: Painter, strength: float) -> None:
    size = painter.size
    cx, cy = dice.uniforms(0, 1, 2) * size
    radius = size * dice.uniform(0.03, 0.08 + 0.2 * strength)
    painter.fill(outline(dice, OUTLINES[dice.integer(0, len(OUTLINES))], cx, cy, radius), _colour(dice))


def _smiley(dice: Dice, painter: Painter, strength: float) -> None:
    size = painter.size
    cx, cy = dice.uniforms(0.05, 0.95, 2) * size
    r = size * dice.uniform(0.05, 0.07 + 0.16 * strength)
    painter.fill(ellipse(cx, cy, r, r), _colour(dice) if dice.chance(0.4) else (1.0, 0.8, 0.2))
    for side in (-1, 1):
        painter.fill(ellipse(cx + side * 0.35 * r, cy - 0.25 * r, 0.12 * r, 0.17 * r), (0.1, 0.05, 0.0))
    t = np.linspace(-1, 1, 9)
    mouth = np.stack([cx + 0.5 * r * t, cy + 0.3 * r + dice.uniform(-0.25, 0.3) * r * (1 - t * t)], axis=-1)
    painter.line(mouth, (0.1, 0.05, 0.0), 0.12 * r)


def _border(dice: Dice, painter: Painter, strength: float) -> None:
    size = painter.size
    width = size * dice.uniform(0.02, 0.04 + 0.12 * strength)
    corners = rectangle(size / 2, size / 2, size - width * 0.5, size - width * 0.5)
    painter.line(corners, _colour(dice), width, closed=True)


def _scribble(dice: Dice, painter: Painter, strength: float) -> None:
    size = painter.size
    points = dice.uniforms(0, 1, 2) * size + np.cumsum(0.08 * size * dice.normals(dice.integer(4, 20), 2), axis=0)
    painter.line(points, _colour(dice), size * dice.uniform(0.01, 0.02 + 0.03 * strength))


def blend(dice: Dice, picture: Picture, other: Picture, strength: float) -> Picture:
    """The picture seen through another one of any size, which takes up to 60 % at strength 1."""
    share = dice.uniform(0.15, 0.25 + 0.35 * strength)
    over = resized(other, picture.shape[1], picture.shape[0])
    return np.asarray(cv2.addWeighted(picture, 1 - share, over, share, 0), np.uint8)


def inset_size(dice: Dice, size: int, strength: float, smallest: float) -> tuple[int, int]:
    """Width and height in px of an inset: down to `smallest` of the side at strength 1, any scale as likely."""
    scale = dice.uniform(0.9 - (0.9 - smallest) * strength, 0.95)
    aspect = float(np.exp(dice.uniform(-0.2, 0.2)))
    return int(np.clip(size * scale * aspect, 16, size)), int(np.clip(size * scale / aspect, 16, size))


def inset(dice: Dice, picture: Picture, other: Picture, size: int) -> tuple[Picture, Place]:
    """Lay the picture, as it is, somewhere on another one or on a plain ground. What came out, and where it is."""
    if dice.chance(0.75):
        ground = resized(other, size, size)
    else:
        ground = Painter.plain(size, _colour(dice)).picture
        if dice.chance(0.4):  # a post: a picture in a page
            box = (size * 0.04, size * 0.03, size * 0.96, size * 0.97)
            write_block(
                Painter(ground),
                dice,
                known_script(dice.integer(0, 64)),
                box,
                size * dice.uniform(0.03, 0.07),
                _colour(dice),
            )
    h, w = picture.shape[:2]
    x, y = dice.integer(0, size - w + 1), dice.integer(0, size - h + 1)
    if dice.chance(0.15):  # framed
        rim = dice.integer(1, 2 + size // 40)
        ground[max(0, y - rim) : y + h + rim, max(0, x - rim) : x + w + rim] = np.asarray(_colour(dice)) * 255
    ground[y : y + h, x : x + w] = picture
    return ground, (x, y, w, h)


def collage(dice: Dice, picture: Picture, others: list[Picture], size: int) -> tuple[Picture, Place]:
    """Side by side with one other, or in a grid of four with three others; the picture has any place."""
    gap = dice.pick((0, 0, size // 40))
    if dice.chance(0.5) and len(others) >= 3:
        cut_x, cut_y = (int(size * dice.uniform(0.4, 0.6)) for _ in range(2))
        boxes = [(0, 0, cut_x, cut_y), (cut_x, 0, size, cut_y), (0, cut_y, cut_x, size), (cut_x, cut_y, size, size)]
    else:
        cut = int(size * dice.uniform(0.35, 0.65))
        boxes = [(0, 0, cut, size), (cut, 0, size, size)]
        if dice.chance(0.5):
            boxes = [(a, b, c, d) for b, a, d, c in boxes]
    page = Painter.plain(size, _colour(dice)).picture
    mine = dice.integer(0, len(boxes))
    for i, (left, top, right, bottom) in enumerate(boxes):
        shown = picture if i == mine else others[i % len(others)]
        wide, high = right - left - gap, bottom - top - gap
        page[top : top + high, left : left + wide] = resized(shown, wide, high)
    left, top, right, bottom = boxes[mine]
    return page, (left, top, right - left, bottom - top)
