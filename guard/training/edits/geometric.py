"""Training edits that move pixels: crops, aspect, rotation, tilt, waves. Knows no colours."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from guard.training.edits.photometric import Picture, resized
from guard.training.generators.base import Dice, Floats

__all__ = ["Frame", "bend", "mild_frame", "random_frame", "reframe"]

BORDERS = (cv2.BORDER_CONSTANT, cv2.BORDER_REPLICATE, cv2.BORDER_REFLECT)


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """What of a picture is seen, and how it is turned."""

    corners: Floats
    """(4, 2) places in the source, from 0 to 1: what becomes top left, top right, bottom right, bottom left."""
    border: int = cv2.BORDER_REFLECT
    colour: tuple[int, int, int] = (0, 0, 0)
    """Of what lies outside the source, with a constant border."""


def mild_frame(dice: Dice) -> Frame:
    """At least 70 % of the area, upright."""
    return Frame(_window(dice, dice.uniform(0.7, 1), 0.15))


def random_frame(dice: Dice, strength: float, *, smallest: float = 0.25) -> Frame:
    """A crop down to the share `smallest` of the area, turned or tilted.

    strength in [0, 1]: how far crops, angles and tilts go. No flips and quarter turns: the network does not see them.
    """
    area = dice.uniform(1 - (1 - smallest) * strength, 1) if dice.chance(0.75) else 1.0
    corners = _window(dice, area, 0.3 * strength)
    middle = corners.mean(0)
    if dice.chance(0.5):
        angle = np.deg2rad(dice.uniform(-25, 25) if dice.chance(0.8) else dice.uniform(-45, 45)) * strength
        c, s = np.cos(angle), np.sin(angle)
        inside = 1 / (abs(c) + abs(s)) if dice.chance(0.5) else 1.0  # cut the empty corners away, or show them
        corners = (corners - middle) @ np.array([[c, s], [-s, c]]) * inside + middle
    if dice.chance(0.3):
        corners = corners + strength * dice.uniform(0.03, 0.14) * dice.uniforms(-1, 1, 4, 2)
    if dice.chance(0.1):  # shear
        corners = corners + strength * 0.2 * dice.uniform(-1, 1) * (corners - middle)[:, ::-1] * [1, 0]
    if dice.chance(0.1):  # zoomed out: the whole picture with a margin
        corners = (corners - middle) * (1 + 0.4 * strength * dice.uniform(0, 1)) + middle
    plain = dice.integer(0, 2) * 255
    colour = (plain, plain, plain)
    if dice.chance(0.3):
        colour = (dice.integer(0, 256), dice.integer(0, 256), dice.integer(0, 256))
    return Frame(corners, dice.pick(BORDERS), colour)


def _window(dice: Dice, area: float, spread: float) -> Floats:
    aspect = float(np.exp(dice.uniform(-spread, spread)))
    w, h = min(1.0, float(np.sqrt(area * aspect))), min(1.0, float(np.sqrt(area / aspect)))
    x, y = dice.uniform(0, 1 - w), dice.uniform(0, 1 - h)
    return np.array([[x, y], [x + w, y], [x + w, y + h], [x, y + h]])


def reframe(picture: Picture, frame: Frame, width: int, height: int) -> Picture:
    """Show the frame at this size. A much finer source is shrunk first, since the warp does not average."""
    corners = frame.corners
    across = float(np.linalg.norm(corners[1] - corners[0]) + np.linalg.norm(corners[2] - corners[3])) / 2
    down = float(np.linalg.norm(corners[3] - corners[0]) + np.linalg.norm(corners[2] - corners[1])) / 2
    side = picture.shape[0]
    wanted = max(width / max(across, 0.1), height / max(down, 0.1))
    if wanted < 0.8 * side:
        side = max(8, round(wanted))
        picture = resized(picture, side, side)
    target = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32) - 0.5
    transform = cv2.getPerspectiveTransform((corners * side - 0.5).astype(np.float32), target)
    return np.asarray(
        cv2.warpPerspective(
            picture,
            transform,
            (width, height),
            flags=cv2.INTER_LINEAR,
            borderMode=frame.border,
            borderValue=frame.colour,
        ),
        np.uint8,
    )


def bend(dice: Dice, picture: Picture, strength: float) -> Picture:
    """A smooth random warp, a wave, or a bulge."""
    size = picture.shape[0]
    line = np.arange(size, dtype=np.float32)
    mx, my = np.meshgrid(line, line)
    kind = dice.integer(0, 5)
    if kind <= 2:
        knots = dice.integer(3, 8)
        amplitude = dice.uniform(0.004, 0.004 + 0.022 * strength) * size
        dx, dy = (
            cv2.resize(dice.normals(knots, knots).astype(np.float32), (size, size), interpolation=cv2.INTER_CUBIC)
            for _ in range(2)
        )
        mx, my = mx + amplitude * np.asarray(dx), my + amplitude * np.asarray(dy)
    elif kind == 3:
        pitch, amplitude = dice.uniform(2, 14) / size, dice.uniform(0.004, 0.004 + 0.016 * strength) * size
        mx = mx + amplitude * np.sin(pitch * 2 * np.pi * my / 2 + dice.uniform(0, 6))
    else:
        cx, cy = dice.uniforms(0.3, 0.7, 2) * size
        gx, gy = (mx - cx) / size, (my - cy) / size
        scale = 1 + strength * dice.uniform(-0.5, 0.5) * np.exp(-8 * (gx * gx + gy * gy))
        mx, my = cx + gx * scale * size, cy + gy * scale * size
    maps = mx.astype(np.float32), my.astype(np.float32)
    return np.asarray(cv2.remap(picture, *maps, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT), np.uint8)
