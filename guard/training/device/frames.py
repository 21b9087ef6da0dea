"""What of each picture is seen, how it lies, and where it stands in a larger one. Knows places; no colours.

Places are (x, y) from -1 to 1 over a picture or a view, as torch's grid_sample has them. A frame is a homography from a
view to its picture.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from guard.training.device.dice import BatchDice

__all__ = ["Frames", "Places", "mild_frames", "placed", "places", "sampled", "strong_frames"]

FINE = 0.75
"""Frames of a smaller share of the side are cut from the picture itself, others from one of the view's size."""


@dataclass(frozen=True, slots=True, eq=False)
class Frames:
    matrix: Tensor
    """(n, 3, 3)."""
    bend: Tensor
    """(n,): how far places are moved at random, as a share of half the side; 0 for most."""


@dataclass(frozen=True, slots=True, eq=False)
class Places:
    """Where the picture stands in its view; (0, 0, 1, 1) where it is the view. Each (n,)."""

    x: Tensor
    y: Tensor
    width: Tensor
    height: Tensor
    window: Tensor
    """(n, 3): over what the network averages; guard.embedders.views.Box."""

    @property
    def inside(self) -> Tensor:
        """(n,) bool: the view shows more than the picture."""
        return (self.width < 1) | (self.height < 1)


def mild_frames(dice: BatchDice) -> Frames:
    """At least 70 % of the area, upright."""
    zero = dice.uniform(0, 0)
    return _frames(dice, area=dice.uniform(0.7, 1), spread=zero + 0.15, turned=zero, tilted=zero, larger=zero + 1)


def strong_frames(dice: BatchDice, strength: Tensor, *, smallest: Tensor) -> Frames:
    """A crop down to the share `smallest` (n,) of the area, turned, tilted, sheared, zoomed out or bent."""
    area = torch.where(dice.chance(0.75), dice.uniform(1 - (1 - smallest) * strength, 1), 1.0)
    degrees = torch.where(dice.chance(0.8), 25.0, 45.0)
    return _frames(
        dice,
        area=area,
        spread=0.3 * strength,
        turned=torch.deg2rad(dice.uniform(-degrees, degrees)) * strength * dice.chance(0.5),
        tilted=strength * dice.uniform(0.04, 0.2) * dice.chance(0.3),
        larger=torch.where(dice.chance(0.1), 1 + 0.4 * strength * dice.uniform(0, 1), 1.0),
        bend=dice.uniform(0.008, 0.008 + 0.044 * strength) * dice.chance(0.12),
    )


def _frames(
    dice: BatchDice, *, area: Tensor, spread: Tensor, turned: Tensor, tilted: Tensor, larger: Tensor,
    bend: Tensor | None = None,
) -> Frames:  # fmt: skip
    aspect = torch.exp(dice.uniform(-spread, spread))
    w, h = ((area * a).sqrt().clamp(max=1) for a in (aspect, 1 / aspect))
    cx, cy = dice.uniform(-1, 1) * (1 - w), dice.uniform(-1, 1) * (1 - h)
    c, s = torch.cos(turned), torch.sin(turned)
    scale = torch.where(dice.chance(0.5), 1 / (c.abs() + s.abs()), 1.0) * larger
    shear = tilted * dice.uniform(-1, 1)
    gx, gy = tilted * dice.uniform(-1, 1), tilted * dice.uniform(-1, 1)
    rows = [scale * c * w, scale * (shear * c - s) * h, cx, scale * s * w, scale * (shear * s + c) * h, cy]
    matrix = torch.stack([*rows, gx, gy, torch.ones_like(gx)], dim=1).view(-1, 3, 3)
    return Frames(matrix, torch.zeros_like(w) if bend is None else bend)


def places(dice: BatchDice, strength: Tensor, *, insets: float, collages: float, windows: float) -> Places:
    """Insets and collages, of these shares at strength 1; `windows` of them are seen through a window about themselves.

    As guard.training.edits.strong_view: an inset that is seen whole is never small.
    """
    windowed = dice.chance(windows)
    part = dice.uniform(0, 1)
    inset = part < insets * (0.4 + 0.6 * strength)
    collage = (part >= insets) & (part < insets + collages * strength)
    scale = dice.uniform(0.9 - (0.9 - torch.where(windowed, 0.45, 0.55)) * strength, 0.95)
    aspect = torch.exp(dice.uniform(-0.2, 0.2))
    cut = dice.uniform(0.4, 0.6)
    w = torch.where(inset, (scale * aspect).clamp(max=1), torch.where(collage, cut, 1.0))
    h = torch.where(inset, (scale / aspect).clamp(max=1), torch.where(collage & dice.chance(0.6), cut, 1.0))
    side = dice.uniform(-1, 1), dice.uniform(-1, 1)
    x, y = (torch.where(collage, s.sign(), s) * (1 - size) for s, size in zip(side, (w, h), strict=True))
    window = torch.tensor([0.0, 0.0, 1.0], device=w.device).repeat(len(w), 1)
    about = ((w * h).sqrt() * dice.uniform(0.95, 1.35)).clamp(max=1)
    corner = [
        ((1 + at) / 2 + 0.07 * about * dice.normals(len(w)) - about / 2).clamp(min=0).minimum(1 - about)
        for at in (y, x)
    ]
    fits = ((inset | collage) & windowed)[:, None]
    return Places(x, y, w, h, torch.where(fits, torch.stack([*corner, about], dim=1), window))


def placed(frames: Frames, where: Places) -> Frames:
    """Of whole views, in which the picture's own view stands at its place."""
    zero = torch.zeros_like(where.x)
    rows = [1 / where.width, zero, -where.x / where.width, zero, 1 / where.height, -where.y / where.height]
    into = torch.stack([*rows, zero, zero, zero + 1], dim=1).view(-1, 3, 3)
    return Frames(frames.matrix @ into, frames.bend)


def sampled(pictures: Tensor, frames: Frames, size: int, dice: BatchDice) -> Tensor:
    """pictures (n, 3, s, s) in [0, 1] -> (n, 3, size, size): reflected, continued or plain beyond their edges."""
    small = functional.interpolate(pictures, size=(size, size), mode="bilinear", antialias=True)
    across = torch.linalg.det(frames.matrix[:, :2, :2]).abs().sqrt()
    how, colour = dice.uniform(0, 3).long(), dice.draws(len(pictures), 3)
    colour = torch.where(dice.chance(0.7)[:, None], colour[:, :1].round(), colour)
    out = torch.empty_like(small)
    for source, rows in ((pictures, torch.nonzero(across < FINE)[:, 0]), (small, torch.nonzero(across >= FINE)[:, 0])):
        at = _grid(Frames(frames.matrix[rows], frames.bend[rows]), size, dice)
        reflect, plain = (how[rows] == 0)[:, None, None, None], (how[rows] == 1)[:, None, None]
        folded = torch.where(reflect, 1 - ((at + 1).remainder(4) - 2).abs(), at)
        seen = functional.grid_sample(source[rows], folded, padding_mode="border", align_corners=False)
        beyond = (plain & (at.abs() > 1).any(3))[:, None]
        out[rows] = torch.where(beyond, colour[rows][:, :, None, None], seen)
    return out


def _grid(frames: Frames, size: int, dice: BatchDice) -> Tensor:
    """(n, size, size, 2): places in the pictures."""
    line = (2 * torch.arange(size, device=frames.matrix.device) + 1) / size - 1
    y, x = torch.meshgrid(line, line, indexing="ij")
    over = torch.stack([x, y, torch.ones_like(x)], dim=2).view(1, -1, 3)
    at = over @ frames.matrix.transpose(1, 2)
    at = (at[..., :2] / at[..., 2:].clamp(min=0.3)).view(-1, size, size, 2)
    knots = dice.normals(len(at), 2, 5, 5) * frames.bend[:, None, None, None]
    waves = functional.interpolate(knots, size=(size, size), mode="bicubic", align_corners=True)
    return at + waves.permute(0, 2, 3, 1)
