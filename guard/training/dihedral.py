"""Convolutions that do not care how a picture lies: turns by 90 degrees and mirror images. Knows the group, no network.

The dihedral group of the square has eight elements. A layer holds one kernel for a field and applies it in all eight
positions, so that a field has eight channels; a turned picture gives the same channels, turned and permuted, and their
mean over the group and all places is the same to the last bits. What other networks must learn from flipped and turned
views holds here from the first step, with an eighth of the weights and the arithmetic of a plain convolution.
Source: group equivariant convolutional networks, Cohen & Welling 2016 (arXiv:1602.07576), the group p4m.

Channels are ordered group element first: channel g * fields + f. Kernels and strides must fit the picture evenly
(an even kernel with an even stride on an even side), or a turned picture would be sampled at other places.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["ORDER", "GroupConv", "GroupNorm2d", "LiftingConv", "acted", "fused"]

ORDER = 8
"""Of the group. Element g = 4 m + k: mirrored if m, then turned k times."""


def acted(x: Tensor, element: int) -> Tensor:
    """What the element does to the last two dimensions."""
    mirrored = x.flip(-1) if element >= 4 else x
    return torch.rot90(mirrored, element % 4, (-2, -1))


def _inside() -> Tensor:
    """[g][h] = g^-1 h."""
    marked = torch.arange(4).reshape(2, 2)
    place = {tuple(acted(marked, g).reshape(-1).tolist()): g for g in range(ORDER)}
    product = [
        [place[tuple(acted(acted(marked, h), g).reshape(-1).tolist())] for h in range(ORDER)] for g in range(ORDER)
    ]
    inverse = [row.index(0) for row in product]
    return torch.tensor([[product[inverse[g]][h] for h in range(ORDER)] for g in range(ORDER)])


INSIDE = _inside()


class LiftingConv(nn.Module):
    """(n, inside, s, s) -> (n, 8 * fields, s / stride, s / stride): the picture seen in eight positions."""

    def __init__(self, inside: int, fields: int, side: int, stride: int, padding: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(fields, inside, side, side))
        nn.init.kaiming_normal_(self.weight)
        self.stride, self.padding = stride, padding

    def expanded(self) -> Tensor:
        """(8 * fields, inside, side, side): the kernel of an ordinary convolution that does the same."""
        return torch.cat([acted(self.weight, g) for g in range(ORDER)])

    def forward(self, x: Tensor) -> Tensor:
        return functional.conv2d(x, self.expanded(), stride=self.stride, padding=self.padding)


class GroupConv(nn.Module):
    """(n, 8 * inside, s, s) -> (n, 8 * fields, s / stride, s / stride)."""

    def __init__(self, inside: int, fields: int, side: int, stride: int = 1, padding: int = 0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(fields, ORDER * inside, side, side))
        nn.init.normal_(self.weight, std=(2 / (ORDER * inside * side * side)) ** 0.5)
        self.register_buffer("inside", INSIDE, persistent=False)
        self.inside: Tensor
        self.stride, self.padding = stride, padding

    def expanded(self) -> Tensor:
        """(8 * fields, 8 * inside, side, side)."""
        fields, channels, side, _ = self.weight.shape
        relative = self.weight.view(fields, ORDER, channels // ORDER, side, side)
        return torch.cat([acted(relative.index_select(1, self.inside[g]), g) for g in range(ORDER)]).flatten(1, 2)

    def forward(self, x: Tensor) -> Tensor:
        return functional.conv2d(x, self.expanded(), stride=self.stride, padding=self.padding)


class GroupNorm2d(nn.Module):
    """Batch normalisation with one scale and offset for a field, whatever its position.

    While training each channel has statistics of its own, which are equal in expectation if every view is laid at
    random (guard.training.feed does); afterwards they are averaged over the group.
    """

    EPS = 1e-5
    MOMENTUM = 0.1

    def __init__(self, fields: int, scale: float = 1.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((fields,), scale))
        self.bias = nn.Parameter(torch.zeros(fields))
        self.register_buffer("running_mean", torch.zeros(ORDER * fields))
        self.register_buffer("running_var", torch.ones(ORDER * fields))
        self.running_mean: Tensor
        self.running_var: Tensor

    def statistics(self) -> tuple[Tensor, Tensor]:
        """Mean and variance of each channel (8 * fields), the same for all positions of a field."""
        mean, variance = (s.view(ORDER, -1).mean(0).repeat(ORDER) for s in (self.running_mean, self.running_var))
        return mean, variance

    def forward(self, x: Tensor) -> Tensor:
        weight, bias = self.weight.repeat(ORDER), self.bias.repeat(ORDER)
        mean, variance = (self.running_mean, self.running_var) if self.training else self.statistics()
        return functional.batch_norm(x, mean, variance, weight, bias, self.training, self.MOMENTUM, self.EPS)


def fused(conv: LiftingConv | GroupConv, norm: GroupNorm2d) -> nn.Conv2d:
    """The plain convolution that does what both do in evaluation mode, their kernel expanded once and for all."""
    mean, variance = norm.statistics()
    scale = norm.weight.repeat(ORDER) / (variance + norm.EPS).sqrt()
    kernel = conv.expanded() * scale[:, None, None, None]
    plain = nn.Conv2d(kernel.shape[1], kernel.shape[0], kernel.shape[2], conv.stride, conv.padding)
    plain.weight = nn.Parameter(kernel.detach(), requires_grad=False)
    plain.bias = nn.Parameter((norm.bias.repeat(ORDER) - mean * scale).detach(), requires_grad=False)
    return plain
