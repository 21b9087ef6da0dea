"""Light edits of a whole batch at once, on its device: what a view is given when it is used again.

Knows tensors; nothing of what they show. Each edit befalls a share of the views, so that some stay as they are. A view
that is averaged over a window keeps its geometry.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["retouched"]

MOVED, TONED, SOFTENED, NOISY, PATCHED = 0.5, 0.6, 0.3, 0.25, 0.2
"""Shares of the views that each edit befalls."""
PATCH_SIDE = 0.45
LUMA = (0.299, 0.587, 0.114)


def retouched(x: Tensor, windows: Tensor, dice: torch.Generator) -> Tensor:
    """x (n, 3, s, s) float32 in [-1, 1], windows (n, 3) as guard.training.feed.Part -> as x, another tensor.

    dice: a generator on the device of x.
    """
    whole = windows[:, 2] >= 1
    x = _moved(x, _some(x, MOVED, dice) & whole, dice)
    x = _toned(x, _some(x, TONED, dice), dice)
    x = _softened(x, _some(x, SOFTENED, dice), dice)
    x = _patched(x, _some(x, PATCHED, dice), dice)
    noise = torch.randn(x.shape, generator=dice, device=x.device)
    x = x + noise * (_uniform(x, 0.01, 0.16, dice) * _some(x, NOISY, dice))[:, None, None, None]
    return x.clamp_(-1, 1).contiguous(memory_format=torch.channels_last)


def _some(x: Tensor, share: float, dice: torch.Generator) -> Tensor:
    return torch.rand(len(x), generator=dice, device=x.device) < share


def _uniform(x: Tensor, low: float, high: float, dice: torch.Generator) -> Tensor:
    """(n,) float32, one draw a view."""
    return low + (high - low) * torch.rand(len(x), generator=dice, device=x.device)


def _moved(x: Tensor, which: Tensor, dice: torch.Generator) -> Tensor:
    """Turned up to 12 degrees, cropped or shrunk, stretched, shifted; what comes in is a reflection."""
    on = which.float()
    angle = on * _uniform(x, -0.21, 0.21, dice)
    scale = 1 + on * (_uniform(x, 0.72, 1.08, dice) - 1)
    stretch = torch.exp(on * _uniform(x, -0.15, 0.15, dice))
    c, s = torch.cos(angle) * scale, torch.sin(angle) * scale
    room = (1 - scale).clamp(min=0)
    dx, dy = (on * _uniform(x, -1, 1, dice) * room for _ in range(2))
    theta = torch.stack([c * stretch, -s, dx, s, c / stretch, dy], dim=1).view(-1, 2, 3)
    grid = functional.affine_grid(theta, list(x.shape), align_corners=False)
    return functional.grid_sample(x, grid, padding_mode="reflection", align_corners=False)


def _toned(x: Tensor, which: Tensor, dice: torch.Generator) -> Tensor:
    """Contrast, brightness, saturation, the strength of each channel, and a curve."""
    on = which.float()[:, None]
    luma = torch.tensor(LUMA, device=x.device)
    grey = on * _uniform(x, -0.35, 0.9, dice)[:, None]  # 1: no colour is left
    gains = torch.exp(on * 0.12 * torch.randn(len(x), 3, generator=dice, device=x.device))
    gains = gains * torch.exp(on * _uniform(x, -0.35, 0.35, dice)[:, None])
    colours = (1 - grey)[..., None] * torch.eye(3, device=x.device) + grey[..., None] * luma
    offset = on[:, 0] * _uniform(x, -0.3, 0.3, dice)
    y = torch.einsum("nij,njhw->nihw", gains[..., None] * colours, x) + offset[:, None, None, None]
    bend = torch.exp(on[:, 0] * _uniform(x, -0.4, 0.4, dice))[:, None, None, None]
    return ((y.clamp(-1, 1) + 1) / 2).clamp_(min=1e-4).pow(bend).mul_(2).sub_(1)


def _softened(x: Tensor, which: Tensor, dice: torch.Generator) -> Tensor:
    """Between a blur and a sharpening of about as much."""
    kernel = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0], device=x.device) / 16
    low = functional.pad(x, (2, 2, 2, 2), mode="reflect")
    low = functional.conv2d(low, kernel.view(1, 1, 1, 5).expand(3, 1, 1, 5), groups=3)
    low = functional.conv2d(low, kernel.view(1, 1, 5, 1).expand(3, 1, 5, 1), groups=3)
    amount = which.float() * _uniform(x, -1, 1, dice)
    return x + amount[:, None, None, None] * (x - low)


def _patched(x: Tensor, which: Tensor, dice: torch.Generator) -> Tensor:
    """A rectangle of another view, at the same place."""
    n, _, height, width = x.shape
    w, h = (_uniform(x, 0.1, PATCH_SIDE, dice) for _ in range(2))
    left, top = ((1 - side) * _uniform(x, 0, 1, dice) for side in (w, h))
    xs, ys = torch.arange(width, device=x.device) / width, torch.arange(height, device=x.device) / height
    across = (xs >= left[:, None]) & (xs < (left + w)[:, None])
    down = (ys >= top[:, None]) & (ys < (top + h)[:, None])
    inside = (across[:, None, None, :] & down[:, None, :, None]) & which[:, None, None, None]
    return torch.where(inside, x.roll(1 + n // 3, 0), x)
