"""The small network that makes descriptors. Knows layers and its own weights; no pictures and no training.

A coarse stem (8 x 8, stride 4), residual stages that halve the side, and generalised means of the last two stages,
so that small and large things both reach the descriptor. Every layer is equivariant to mirror images and quarter
turns (guard.training.dihedral), and the means run over the group too: a picture has the same descriptor however it
lies. On a CPU the stem decides the speed: two fine-grained convolutions in its place took half of a whole pass.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from guard.embedders.views import CROPS
from guard.training.config import NetworkConfig
from guard.training.dihedral import ORDER, GroupConv, GroupNorm2d, LiftingConv, fused

__all__ = [
    "Block",
    "DescriptorNet",
    "WindowNet",
    "begin_from",
    "descriptor_net",
    "generalised_mean",
    "window_net",
    "window_shares",
]

STEM_STRIDE = 4  # px
FLOOR = 1e-6  # of a mean of cubes: the gradient of its root at zero is infinite


def descriptor_net(**config: Any) -> DescriptorNet:
    """Untrained, from the fields of NetworkConfig; the form that guard.embedders.architectures registers."""
    return DescriptorNet(NetworkConfig(**config))


class Block(nn.Module):
    """Two convolutions beside a shortcut. Source: He et al. 2015; averaged shortcut after He et al. 2018.

    inside, outside: fields. A block that halves the side has a 4 x 4 convolution where others have 3 x 3.
    """

    def __init__(self, inside: int, outside: int, stride: int) -> None:
        super().__init__()
        self.conv1 = GroupConv(inside, outside, 4 if stride == 2 else 3, stride, 1)
        self.norm1 = GroupNorm2d(outside)
        self.conv2 = GroupConv(outside, outside, 3, 1, 1)
        self.norm2 = GroupNorm2d(outside, scale=0.0)  # a block begins as its shortcut
        self.stride = stride
        changes = stride != 1 or inside != outside
        self.shortcut = GroupConv(inside, outside, 1) if changes else None
        self.shortcut_norm = GroupNorm2d(outside) if changes else None

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu(self.norm1(self.conv1(x)))
        y = self.norm2(self.conv2(y))
        if self.shortcut is not None and self.shortcut_norm is not None:
            short = functional.avg_pool2d(x, self.stride) if self.stride > 1 else x
            x = self.shortcut_norm(self.shortcut(short))
        return functional.relu(y + x)


class DescriptorNet(nn.Module):
    """(n, 3, s, s) in [-1, 1], s a multiple of 32 -> (n, dim) float32 rows of unit norm."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        fields = [width // ORDER for width in config.widths]
        self.stem = LiftingConv(3, fields[0], 8, STEM_STRIDE, 2)
        self.stem_norm = GroupNorm2d(fields[0])
        stages, inside = [], fields[0]
        for outside, depth in zip(fields[1:], config.depths, strict=True):
            blocks = [Block(inside if i == 0 else outside, outside, 2 if i == 0 else 1) for i in range(depth)]
            stages.append(nn.Sequential(*blocks))
            inside = outside
        self.stages = nn.ModuleList(stages)
        # the mean over the group leaves one number of eight channels: more fields first, or too little is left
        self.spread = nn.ModuleList(GroupConv(f, n, 1) for f, n in zip(fields[-2:], config.pooled, strict=True))
        self.spread_norm = nn.ModuleList(GroupNorm2d(n) for n in config.pooled)
        self.head = nn.Linear(sum(config.pooled), config.dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.through(x, torch.tensor([[0.0, 0.0, 1.0]], device=x.device).expand(len(x), 3))

    def through(self, x: Tensor, windows: Tensor) -> Tensor:
        """The same of one part of each picture: windows (n, 3), its top, left and side as shares of the picture's."""
        pooled = [generalised_mean(fields, window_shares(windows, *fields.shape[2:])) for fields in self.maps(x)]
        with torch.autocast(x.device.type, enabled=False):
            return functional.normalize(self._rows(torch.cat(pooled, dim=1)), dim=1)

    def _rows(self, pooled: Tensor) -> Tensor:
        """The head in float32, in which the means come, also where its weights are of half precision."""
        return functional.linear(pooled, self.head.weight.float(), self.head.bias.float())

    def folded(self) -> Self:
        """The same function, for serving: plain convolutions, so that a pass expands and normalises nothing.

        On a GPU a single picture is otherwise a matter of launching kernels that make kernels.
        """
        plain = copy.deepcopy(self).eval()
        _fold(plain, "stem", "stem_norm")
        for module in plain.modules():
            if isinstance(module, Block):
                for conv, norm in (("conv1", "norm1"), ("conv2", "norm2"), ("shortcut", "shortcut_norm")):
                    _fold(module, conv, norm)
        for i, (spread, spread_norm) in enumerate(zip(self.spread, self.spread_norm, strict=True)):
            assert isinstance(spread, GroupConv)
            assert isinstance(spread_norm, GroupNorm2d)
            plain.spread[i], plain.spread_norm[i] = fused(spread, spread_norm), nn.Identity()
        return plain

    def maps(self, x: Tensor) -> list[Tensor]:
        """What is averaged: of each of the last two stages (n, 8 * fields, h, w), not negative."""
        x = functional.relu(self.stem_norm(self.stem(x)))
        found, first = [], len(self.stages) - 2
        for i, stage in enumerate(self.stages):
            x = stage(x)
            if i >= first:
                found.append(functional.relu(self.spread_norm[i - first](self.spread[i - first](x))))
        return found


def _fold(module: nn.Module, conv: str, norm: str) -> None:
    layer = getattr(module, conv)
    if layer is not None:
        setattr(module, conv, fused(layer, getattr(module, norm)))
        setattr(module, norm, nn.Identity())


class WindowNet(DescriptorNet):
    """The same network, its maps averaged over parts of the picture: (n, 3, s, s) -> (n, windows * dim), each window's
    row of unit norm. The boxes are guard.embedders.views.CROPS."""

    def forward(self, x: Tensor) -> Tensor:
        pooled = []
        for fields in self.maps(x):
            n, channels, height, width = fields.shape
            cubes = fields.float().pow(3).view(n, ORDER, channels // ORDER, height * width).mean(1)
            shares = window_shares(torch.tensor(CROPS), height, width).T.to(cubes.device)
            pooled.append((cubes @ shares).clamp(min=FLOOR).pow(1 / 3).transpose(1, 2))
        with torch.autocast(x.device.type, enabled=False):
            return functional.normalize(self._rows(torch.cat(pooled, dim=2)), dim=2).flatten(1)


def window_net(**config: Any) -> WindowNet:
    """As descriptor_net, for windows."""
    return WindowNet(NetworkConfig(**config))


def window_shares(boxes: Tensor, height: int, width: int) -> Tensor:
    """boxes (n, 3), as guard.embedders.views.Box -> (n, height * width) float32: the weight of each cell of a map.

    Rows sum to 1.
    """
    top, left, side = boxes.double()[:, :, None].unbind(1)

    def covered(cells: int, start: Tensor) -> Tensor:
        edges = torch.arange(cells + 1, dtype=torch.float64, device=boxes.device) / cells
        return (torch.minimum(edges[1:], start + side) - torch.maximum(edges[:-1], start)).clamp(min=0) / side

    return (covered(height, top)[:, :, None] * covered(width, left)[:, None]).flatten(1).float()


def begin_from(network: DescriptorNet, state: Mapping[str, Tensor]) -> None:
    """Load trained weights, which may be those of a network with fewer blocks in its stages.

    The blocks that they lack begin as their shortcut, so that the deeper network computes what the other did. Raises
    ValueError for weights of any other network.
    """
    missing, unexpected = network.load_state_dict(dict(state), strict=False)
    known = {_block_of(key) for key in state}
    odd = unexpected + [key for key in missing if _block_of(key) in known]
    if odd:
        raise ValueError(f"the weights to begin from are of another network: see {', '.join(odd[:3])}")


def _block_of(key: str) -> str:
    """`stages.1.2` of a layer of the second stage's third block; of other layers the first word."""
    words = key.split(".")
    return ".".join(words[:3]) if words[0] == "stages" else words[0]


class _MeanCube(torch.autograd.Function):
    """Mean of the cubes over places and group, (n, 8 f, h, w) of half or full precision -> (n, f) float32.

    shares (n, h w): the weight of each place, without gradient.

    Written out because autograd keeps and multiplies whole maps in float32 for it: half of a step went there.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, shares: Tensor) -> Tensor:
        ctx.save_for_backward(x, shares)
        cubes = x.float() if x.dtype != torch.float32 else x.clone()
        cubes.mul_(x).mul_(x).mul_(shares.view(len(x), 1, *x.shape[2:]))
        return cubes.sum((2, 3)).view(len(x), ORDER, -1).mean(1)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        x, shares = ctx.saved_tensors
        gradient: Tensor = (x * x).mul_((3 / ORDER * grads[0]).repeat(1, ORDER)[..., None, None].to(x.dtype))
        return gradient.mul_(shares.view(len(x), 1, *x.shape[2:]).to(x.dtype)), None


def generalised_mean(x: Tensor, shares: Tensor) -> Tensor:
    """GeM pooling with exponent 3, (n, 8 f, h, w), not negative, and weights of its places (n, h w) -> (n, f).

    Source: Radenovic et al. 2017 (arXiv:1711.02512).
    """
    powered: Tensor = _MeanCube.apply(x, shares)  # type: ignore[no-untyped-call]
    return powered.clamp(min=FLOOR).pow(1 / 3)
