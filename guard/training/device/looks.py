"""How pictures look: tone, softness, a second drawing, grain, compression, and what lies over them. Nothing moves.

Every function takes (n, 3, s, s) float32 in [0, 1] and strengths (n,), and returns the like. Edits that cost much
befall a fixed share of the rows.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from guard.training.device.dice import BatchDice

__all__ = ["blended", "compressed", "grained", "overlaid", "redrawn", "softened", "toned"]

LUMA = (0.299, 0.587, 0.114)
QUANTA = ((16, 11, 10, 16, 24, 40, 51, 61), (12, 12, 14, 19, 26, 58, 60, 55), (14, 13, 16, 24, 40, 57, 69, 56),
          (14, 17, 22, 29, 51, 87, 80, 62), (18, 22, 37, 56, 68, 109, 103, 77), (24, 35, 55, 64, 81, 104, 113, 92),
          (49, 64, 78, 87, 103, 121, 120, 101), (72, 92, 95, 98, 112, 100, 103, 99))  # fmt: skip
"""Of luma at quality 50; ITU-T T.81, annex K. Colours are given the same, twice as coarse from there."""


def _wide(values: Tensor) -> Tensor:
    return values[:, None, None, None]


def toned(x: Tensor, strength: Tensor, dice: BatchDice) -> Tensor:
    """Curve, saturation, hue, channel gains; now and then grey, posterised, inverted, channels swapped."""
    n = len(x)
    on = strength * dice.chance(0.75)
    bent = x.clamp(min=1e-4).pow(_wide(torch.exp(on * dice.uniform(-0.6, 0.6))))
    contrast, brightness = torch.exp(on * dice.uniform(-0.7, 0.6)), on * dice.uniform(-0.28, 0.28)
    y = ((bent - 0.5) * _wide(contrast) + _wide(0.5 + brightness)).clamp(0, 1)
    special = dice.uniform(0, 1)
    steps = torch.floor(dice.uniform(2, 8))
    y = torch.where(_wide(special < 0.04 * on), (y * _wide(steps)).round() / _wide(steps), y)
    y = torch.where(_wide((special > 0.1) & (special < 0.1 + 0.02 * on)), 1 - y, y)
    return torch.einsum("nij,njhw->nihw", _colour_matrix(n, on, dice), y).clamp_(0, 1)


def _colour_matrix(n: int, on: Tensor, dice: BatchDice) -> Tensor:
    device = on.device
    eye = torch.eye(3, device=device)
    grey = torch.tensor(LUMA, device=device).expand(3, 3)
    saturation = torch.where(dice.chance(0.16 * on), 0.0, torch.exp(on * dice.uniform(-1.2, 0.7)))[:, None, None]
    mix = saturation * eye + (1 - saturation) * grey
    turn = 6.2832 * on * torch.where(dice.chance(0.8), dice.uniform(-0.1, 0.1), dice.uniform(-0.5, 0.5))
    turn = (turn * dice.chance(0.5))[:, None, None]
    cross = torch.tensor([[0.0, -1, 1], [1, 0, -1], [-1, 1, 0]], device=device) / 3**0.5
    mix = (torch.cos(turn) * eye + torch.sin(turn) * cross + (1 - torch.cos(turn)) / 3) @ mix
    gains = torch.exp((on * dice.chance(0.35))[:, None] * (0.6 * torch.rand(n, 3, device=device) - 0.3))
    mix = gains[:, :, None] * mix
    swapped = dice.chance(0.03 * on)[:, None, None]
    return torch.where(swapped, mix.roll(1, 1), mix)


def _blurred(x: Tensor, sigma: Tensor) -> Tensor:
    """Gaussian, sigma (n,) px, of at most 4 px."""
    reach = torch.arange(-8, 9, device=x.device)
    kernel = torch.exp(-0.5 * (reach / sigma.clamp(min=0.05)[:, None]) ** 2)
    kernel = (kernel / kernel.sum(1, keepdim=True)).repeat_interleave(x.shape[1], 0)
    n, channels, height, width = x.shape
    y = functional.pad(x, (8, 8, 8, 8), mode="reflect").view(1, n * channels, height + 16, width + 16)
    y = functional.conv2d(y, kernel[:, None, None, :], groups=n * channels)
    return functional.conv2d(y, kernel[:, None, :, None], groups=n * channels).view(x.shape)


def softened(x: Tensor, strength: Tensor, dice: BatchDice) -> Tensor:
    """Blurred (0.12 of the rows), sharpened (0.06) or of few pixels (0.12)."""
    x, size = x.clone(), x.shape[3]
    rows = dice.some(0.3)
    blurred, sharp, coarse = rows.tensor_split([round(0.4 * len(rows)), round(0.6 * len(rows))])
    d = dice.of(blurred)
    x[blurred] = _blurred(x[blurred], torch.exp(d.uniform(-5.5, (0.004 + 0.021 * strength[blurred]).log())) * size)
    d, some = dice.of(sharp), x[sharp]
    amount = _wide(d.uniform(0.3, 0.4 + 2 * strength[sharp]))
    x[sharp] = (some + amount * (some - _blurred(some, d.uniform(0.7, 3)))).clamp_(0, 1)
    for i, some_rows in enumerate(coarse.tensor_split(4)):
        low = max(12, round(size * (0.75, 0.55, 0.4, 0.28)[i]))
        some = functional.interpolate(x[some_rows], size=(low, low), mode="bilinear", antialias=True)
        how = "nearest" if i % 2 else "bilinear"
        again = functional.interpolate(some, size=(size, size), mode=how)
        x[some_rows] = torch.where(_wide(strength[some_rows] > 0.2 * i), again, x[some_rows])
    return x


def redrawn(x: Tensor, strength: Tensor, dice: BatchDice) -> Tensor:
    """As a generative model redraws: new detail over a low-pass, strokes, other colours; of 0.2 of the rows."""
    x, size = x.clone(), x.shape[3]
    rows = dice.some(0.2)
    detail, strokes, colours = rows.tensor_split([round(0.45 * len(rows)), round(0.75 * len(rows))])
    d, some = dice.of(detail), x[detail]
    low = _blurred(some, d.uniform(0.006, 0.008 + 0.018 * strength[detail]) * size)
    local = _blurred((some - low).abs().mean(1, keepdim=True), d.uniform(2, 2))
    grain = _blurred(d.normals(len(some), 1, size, size), d.uniform(0.4, 1.5))
    grain = grain / (grain.std((1, 2, 3), keepdim=True) + 1e-6)
    x[detail] = (low + grain * (local * _wide(d.uniform(0.5, 1.6)) + _wide(d.uniform(0, 0.024)))).clamp_(0, 1)
    for i, some_rows in enumerate(strokes.tensor_split(3)):
        shape, around = ((3, 1), (1, 3), (3, 3))[i], ((1, 0), (0, 1), (1, 1))[i]
        some = x[some_rows]
        opened = functional.max_pool2d(-functional.max_pool2d(-some, shape, 1, around), shape, 1, around)
        x[some_rows] = -functional.max_pool2d(-functional.max_pool2d(opened, shape, 1, around), shape, 1, around)
    d, some = dice.of(colours), x[colours]
    mean, spread = some.mean((2, 3), keepdim=True), some.std((2, 3), keepdim=True) + 0.012
    s = _wide(strength[colours])
    other = (mean + s * 0.15 * d.normals(len(some), 3, 1, 1)).clamp(0.1, 0.9)
    scale = torch.exp(s * (torch.rand(len(some), 3, 1, 1, device=x.device) - 0.6))
    x[colours] = ((some - mean) / spread * spread.mean(1, keepdim=True) * scale + other).clamp_(0, 1)
    return x


def blended(x: Tensor, others: Tensor, strength: Tensor, dice: BatchDice) -> Tensor:
    """Seen through another picture, which takes up to 60 %; 0.1 of the rows."""
    share = _wide(dice.uniform(0.15, 0.25 + 0.35 * strength) * dice.chance(0.1))
    return x + share * (others - x)


def overlaid(x: Tensor, others: Tensor, strength: Tensor, dice: BatchDice) -> Tensor:
    """A rectangle or ellipse of a colour or of another picture, or another picture's dark parts as a stamp."""
    size = x.shape[3]
    w, h = (dice.uniform(0.06, 0.16 + 0.4 * strength) for _ in range(2))
    wide = dice.chance(0.25)  # a bar
    w, h = torch.where(wide, 2.0, w), torch.where(wide, h / 2, h)
    cx, cy = dice.uniform(0, 1), dice.uniform(0, 1)
    line = (torch.arange(size, device=x.device) + 0.5) / size
    dx = ((line - cx[:, None]) / (w / 2)[:, None])[:, None, :]
    dy = ((line - cy[:, None]) / (h / 2)[:, None])[:, :, None]
    inside = torch.where(dice.chance(0.4)[:, None, None], dx**2 + dy**2 < 1, (dx.abs() < 1) & (dy.abs() < 1))
    luma = torch.tensor(LUMA, device=x.device)
    dark = torch.einsum("nchw,c->nhw", others, luma) < dice.uniform(0.2, 0.5)[:, None, None]
    stamp = dice.chance(0.3)[:, None, None]
    mask = torch.where(stamp, inside & dark, inside) & dice.chance(0.3)[:, None, None]
    colour = torch.rand(len(x), 3, 1, 1, device=x.device)
    colour = torch.where(_wide(dice.chance(0.5)), colour[:, :1].round(), colour)
    over = torch.where(_wide(dice.chance(0.4)) & ~stamp[:, None], others, colour)
    opacity = _wide(torch.where(dice.chance(0.3), dice.uniform(0.25, 0.9), 1.0))
    return torch.where(mask[:, None], x + opacity * (over - x), x)


def grained(x: Tensor, strength: Tensor, dice: BatchDice) -> Tensor:
    """Grey or coloured noise, on 0.16 of the rows."""
    x, rows = x.clone(), dice.some(0.16)
    d, some = dice.of(rows), x[rows]
    coloured = d.normals(*some.shape)
    grain = torch.where(_wide(d.chance(0.25)), coloured[:, :1], coloured)
    x[rows] = (some + grain * _wide(d.uniform(0.008, 0.016 + 0.126 * strength[rows]))).clamp_(0, 1)
    return x


def compressed(x: Tensor, strength: Tensor, dice: BatchDice) -> Tensor:
    """As JPEG: blocks of 8 x 8, their cosine transform rounded; 0.35 of the rows, sides that 8 divides."""
    x, rows = x.clone(), dice.some(0.35)
    d, some = dice.of(rows), x[rows]
    n, _, height, width = some.shape
    k = torch.arange(8, device=x.device)
    basis = torch.cos((2 * k[None, :] + 1) * k[:, None] * torch.pi / 16) / 2
    basis[0] /= 2**0.5
    luma = torch.tensor(LUMA, device=x.device)
    turn = torch.stack([luma, torch.tensor([-0.169, -0.331, 0.5], device=x.device),
                        torch.tensor([0.5, -0.419, -0.081], device=x.device)])  # fmt: skip
    planes = torch.einsum("ij,njhw->nihw", turn, some - 0.5)
    blocks = planes.view(n, 3, height // 8, 8, width // 8, 8).permute(0, 1, 2, 4, 3, 5)
    quality = d.uniform(92 - 84 * strength[rows], 95)
    scale = torch.where(quality < 50, 50 / quality, 2 - quality / 50) / 255
    quanta = torch.tensor(QUANTA, device=x.device) * torch.tensor([1.0, 2.0, 2.0], device=x.device)[:, None, None]
    quanta = (quanta[None] * _wide(scale))[:, :, None, None].clamp(min=1 / 255)
    rounded = ((basis @ blocks @ basis.T) / quanta).round() * quanta
    planes = (basis.T @ rounded @ basis).permute(0, 1, 2, 4, 3, 5).reshape(n, 3, height, width)
    x[rows] = (torch.einsum("ij,njhw->nihw", torch.linalg.inv(turn), planes) + 0.5).clamp_(0, 1)
    return x
