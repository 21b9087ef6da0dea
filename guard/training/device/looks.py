"""How pictures look: tone, softness, a second drawing, grain, compression, and what lies over them. Nothing moves.

Every function takes (n, 3, s, s) float32 in [0, 1] and strengths (n,), and returns the like. Edits that cost much
befall a fixed share of the rows.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

from guard.training.device.dice import BatchDice

__all__ = ["blended", "compressed", "grained", "overlaid", "redrawn", "softened", "toned"]

Edit = Callable[[Tensor, Tensor, BatchDice], Tensor]
COARSE = (0.75, 0.55, 0.4, 0.28)  # of the side
LEVELS = 64
KNOTS = 9
BARS = ((3, 1), (1, 3), (3, 3))  # px
LUMA = (0.299, 0.587, 0.114)
QUANTA = ((16, 11, 10, 16, 24, 40, 51, 61), (12, 12, 14, 19, 26, 58, 60, 55), (14, 13, 16, 24, 40, 57, 69, 56),
          (14, 17, 22, 29, 51, 87, 80, 62), (18, 22, 37, 56, 68, 109, 103, 77), (24, 35, 55, 64, 81, 104, 113, 92),
          (49, 64, 78, 87, 103, 121, 120, 101), (72, 92, 95, 98, 112, 100, 103, 99))  # fmt: skip
"""Of luma at quality 50; ITU-T T.81, annex K. Colours are given the same, twice as coarse from there."""


def _wide(values: Tensor) -> Tensor:
    return values[:, None, None, None]


def toned(x: Tensor, strength: Tensor, dice: BatchDice) -> Tensor:
    """Curve, saturation, hue, channel gains; now and then grey, posterised, inverted, channels swapped."""
    on = strength * dice.chance(0.75)
    bent = x.clamp(min=1e-4).pow(_wide(torch.exp(on * dice.uniform(-0.6, 0.6))))
    contrast, brightness = torch.exp(on * dice.uniform(-0.7, 0.6)), on * dice.uniform(-0.28, 0.28)
    y = ((bent - 0.5) * _wide(contrast) + _wide(0.5 + brightness)).clamp(0, 1)
    special = dice.uniform(0, 1)
    steps = torch.floor(dice.uniform(3, 9))
    y = torch.where(_wide(special < 0.04 * on), (y * _wide(steps)).round() / _wide(steps), y)
    y = torch.where(_wide((special > 0.1) & (special < 0.1 + 0.02 * on)), 1 - y, y)
    return torch.einsum("nij,njhw->nihw", _colour_matrix(on, dice), y).clamp_(0, 1)


def _colour_matrix(on: Tensor, dice: BatchDice) -> Tensor:
    device = on.device
    eye = torch.eye(3, device=device)
    grey = torch.tensor(LUMA, device=device).expand(3, 3)
    saturation = torch.where(dice.chance(0.16 * on), 0.0, torch.exp(on * dice.uniform(-1.2, 0.7)))[:, None, None]
    mix = saturation * eye + (1 - saturation) * grey
    turn = 6.2832 * on * torch.where(dice.chance(0.8), dice.uniform(-0.1, 0.1), dice.uniform(-0.5, 0.5))
    turn = (turn * dice.chance(0.5))[:, None, None]
    cross = torch.tensor([[0.0, -1, 1], [1, 0, -1], [-1, 1, 0]], device=device) / 3**0.5
    mix = (torch.cos(turn) * eye + torch.sin(turn) * cross + (1 - torch.cos(turn)) / 3) @ mix
    gains = torch.exp((on * dice.chance(0.35))[:, None] * (0.6 * dice.draws(len(on), 3) - 0.3))
    mix = gains[:, :, None] * mix
    swapped = dice.chance(0.03 * on)[:, None, None]
    return torch.where(swapped, mix.roll(1, 1), mix)


def _blurred(x: Tensor, sigma: Tensor) -> Tensor:
    """Gaussian, sigma (n,) px, of at most 4 px."""
    reach = torch.arange(-8, 9, device=x.device)
    kernel = torch.exp(-0.5 * (reach / sigma.clamp(min=0.05)[:, None]) ** 2)
    kernel = (kernel / kernel.sum(1, keepdim=True)).repeat_interleave(x.shape[1], 0)
    n, channels, height, width = x.shape
    y = functional.pad(x, (8, 8, 8, 8), mode="reflect").reshape(1, n * channels, height + 16, width + 16)
    y = functional.conv2d(y, kernel[:, None, None, :], groups=n * channels)
    return functional.conv2d(y, kernel[:, None, :, None], groups=n * channels).view(x.shape)


def softened(x: Tensor, strength: Tensor, dice: BatchDice) -> Tensor:
    """Blurred (0.12 of the rows), sharpened (0.06) or of few pixels (0.12)."""
    rows = dice.some(0.3)
    blurred, sharp, coarse = rows.tensor_split([round(0.4 * len(rows)), round(0.6 * len(rows))])
    x = x.clone()
    _on(x, blurred, _blur, strength, dice)
    _on(x, sharp, _sharpened, strength, dice)
    for share, some in zip(COARSE, coarse.tensor_split(len(COARSE)), strict=True):
        _on(x, some, partial(_coarse, share=share), strength, dice)
    return x


def _on(x: Tensor, rows: Tensor, edit: Edit, strength: Tensor, dice: BatchDice) -> None:
    """Edit these rows in place, if there are any: a small batch has few."""
    if len(rows):
        x[rows] = edit(x[rows], strength[rows], dice.of(rows)).clamp_(0, 1)


def _blur(x: Tensor, strength: Tensor, dice: BatchDice) -> Tensor:
    return _blurred(x, torch.exp(dice.uniform(-5.5, (0.004 + 0.021 * strength).log())) * x.shape[3])


def _sharpened(x: Tensor, strength: Tensor, dice: BatchDice) -> Tensor:
    return x + _wide(dice.uniform(0.3, 0.4 + 2 * strength)) * (x - _blurred(x, dice.uniform(0.7, 3)))


def _coarse(x: Tensor, strength: Tensor, dice: BatchDice, *, share: float) -> Tensor:
    size = x.shape[3]
    few = functional.interpolate(x, size=(max(8, round(share * size)),) * 2, mode="bilinear", antialias=True)
    smooth, blocks = (functional.interpolate(few, size=(size, size), mode=how) for how in ("bilinear", "nearest"))
    y = torch.where(_wide(dice.chance(0.6)), smooth, blocks)
    return torch.where(_wide(strength >= 1.1 * (1 - share) - 0.2), y, x)


def redrawn(x: Tensor, strength: Tensor, dice: BatchDice) -> Tensor:
    """As a generative model redraws: other detail over a low-pass, strokes, other colours or levels; 0.3 of rows."""
    rows = dice.some(0.3)
    ends = [round(share * len(rows)) for share in (0.2, 0.4, 0.6, 0.7)]
    noise, moved, strokes, colours, levels = rows.tensor_split(ends)
    x = x.clone()
    _on(x, noise, _new_detail, strength, dice)
    _on(x, moved, _moved_detail, strength, dice)
    for bar, some in zip(BARS, strokes.tensor_split(len(BARS)), strict=True):
        _on(x, some, partial(_strokes, bar=bar), strength, dice)
    _on(x, colours, _other_colours, strength, dice)
    _on(x, levels, _other_levels, strength, dice)
    return x


def _new_detail(x: Tensor, strength: Tensor, dice: BatchDice) -> Tensor:
    size = x.shape[3]
    low = _blurred(x, dice.uniform(0.006, 0.008 + 0.018 * strength) * size)
    local = _blurred((x - low).abs().mean(1, keepdim=True), dice.uniform(2, 2))
    grain = _blurred(dice.normals(len(x), 1, size, size), dice.uniform(0.4, 1.5))
    grain = grain / (grain.std((1, 2, 3), keepdim=True) + 1e-6)
    return low + grain * (local * _wide(dice.uniform(0.5, 1.6)) + _wide(dice.uniform(0, 0.024)))


def _moved_detail(x: Tensor, strength: Tensor, dice: BatchDice) -> Tensor:
    """Below a frequency the picture, above it what is fine in it elsewhere: mirrored, turned and moved."""
    size = x.shape[3]
    low = _blurred(x, dice.uniform(0.006, 0.008 + 0.012 * strength) * size)
    fine = torch.where(_wide(dice.chance(0.5)), (x - low).transpose(2, 3), (x - low).flip(2))
    return low + fine.roll((size // 3, size // 2), (2, 3)) * _wide(dice.uniform(0.6, 0.8 + 0.7 * strength))


def _strokes(x: Tensor, *_: object, bar: tuple[int, int]) -> Tensor:
    """Opened, then closed with a short bar."""
    around = bar[0] // 2, bar[1] // 2

    def largest(y: Tensor) -> Tensor:
        return functional.max_pool2d(y, bar, 1, around)

    return -largest(-largest(largest(-largest(-x))))


def _other_colours(x: Tensor, strength: Tensor, dice: BatchDice) -> Tensor:
    """Mean and spread of each channel moved towards those of an invented palette."""
    mean, spread = x.mean((2, 3), keepdim=True), x.std((2, 3), keepdim=True) + 0.012
    other = (mean + _wide(strength) * 0.15 * dice.normals(len(x), 3, 1, 1)).clamp(0.1, 0.9)
    scale = torch.exp(_wide(strength) * (dice.draws(len(x), 3, 1, 1) - 0.6))
    return (x - mean) / spread * spread.mean(1, keepdim=True) * scale + other


def _other_levels(x: Tensor, strength: Tensor, dice: BatchDice) -> Tensor:
    """Levels of each channel moved towards an invented distribution of levels, of which channels share a part."""
    n, channels = x.shape[:2]
    at = (x * (LEVELS - 1)).round().long().clamp_(0, LEVELS - 1).flatten(2)
    counts = torch.zeros(n, channels, LEVELS, device=x.device).scatter_add_(2, at, torch.ones_like(x).flatten(2))
    ranks = (counts.cumsum(2) - counts / 2) / at.shape[2]
    steps = torch.exp(0.9 * dice.normals(n, 1, KNOTS - 1) + 0.9 * dice.normals(n, channels, KNOTS - 1))
    wanted = functional.pad((steps / steps.sum(2, keepdim=True)).cumsum(2), (1, 0))
    darkest, span = 0.3 * dice.draws(n, channels, 1), 0.5 + 0.5 * dice.draws(n, channels, 1)
    wanted = darkest + (1 - darkest) * span * wanted
    own = torch.linspace(0, 1, LEVELS, device=x.device)
    share = dice.uniform(0.3 * strength, strength)[:, None, None]
    curve = (1 - share) * own + share * _between(wanted, ranks)
    return _between(curve, x.flatten(2)).view(x.shape)


def _between(curve: Tensor, at: Tensor) -> Tensor:
    """Linearly: curve (n, c, k) of values at equal distances, at (n, c, m) in [0, 1] -> (n, c, m)."""
    place = at.clamp(0, 1) * (curve.shape[2] - 1)
    before = place.floor().clamp(max=curve.shape[2] - 2)
    low, high = (curve.gather(2, before.long() + further) for further in (0, 1))
    return low + (place - before) * (high - low)


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
    colour = dice.draws(len(x), 3, 1, 1)
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
