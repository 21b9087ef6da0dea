"""The small network that makes descriptors. Knows layers and its own weights; no pictures and no training.

A coarse stem (7 x 7, stride 4), residual stages that halve the side, and generalised means of the last two stages,
so that small and large things both reach the descriptor. On a CPU the stem decides the speed: two fine-grained
convolutions in its place took half of the time of a whole pass.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from guard.training.config import NetworkConfig

__all__ = ["Block", "DescriptorNet", "descriptor_net"]

FLOOR = 1e-5  # under the generalised mean: its gradient at zero is infinite


def descriptor_net(**config: Any) -> DescriptorNet:
    """Untrained, from the fields of NetworkConfig; the form that guard.embedders.architectures registers."""
    return DescriptorNet(NetworkConfig(**config))


class Block(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut. Source: He et al. 2015; averaged shortcut after He et al. 2018."""

    def __init__(self, inside: int, outside: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inside, outside, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(outside)
        self.conv2 = nn.Conv2d(outside, outside, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(outside)
        nn.init.zeros_(self.norm2.weight)  # a block begins as its shortcut
        self.stride = stride
        changes = stride != 1 or inside != outside
        self.shortcut = nn.Conv2d(inside, outside, 1, bias=False) if changes else None
        self.shortcut_norm = nn.BatchNorm2d(outside) if changes else None

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
        first = config.widths[0]
        self.stem = nn.Conv2d(3, first, 7, 4, 3, bias=False)
        self.stem_norm = nn.BatchNorm2d(first)
        stages, inside = [], first
        for outside, depth in zip(config.widths[1:], config.depths, strict=True):
            blocks = [Block(inside if i == 0 else outside, outside, 2 if i == 0 else 1) for i in range(depth)]
            stages.append(nn.Sequential(*blocks))
            inside = outside
        self.stages = nn.ModuleList(stages)
        self.head = nn.Linear(config.widths[-2] + config.widths[-1], config.dim)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.stem_norm(self.stem(x)))
        pooled = []
        for i, stage in enumerate(self.stages):
            x = stage(x)
            if i >= len(self.stages) - 2:
                pooled.append(self._generalised_mean(x))
        with torch.autocast(x.device.type, enabled=False):
            return functional.normalize(self.head(torch.cat(pooled, dim=1)), dim=1)

    def _generalised_mean(self, x: Tensor) -> Tensor:
        """GeM pooling, in float32. Source: Radenovic et al. 2017 (arXiv:1711.02512)."""
        return x.float().clamp(min=FLOOR).pow(self.config.gem).mean((2, 3)).pow(1 / self.config.gem)
