"""Batches that the accelerator makes for itself, from a copy of the bank in its memory. Knows the batch; no network.

Pairs are chosen as guard.training.feed chooses them, kin included, and seeded by the step; none is mixed.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from guard.training.bank import KIN, programs_drawn
from guard.training.config import TrainingConfig
from guard.training.device.views import strong_views, weak_views
from guard.training.dihedral import ORDER, acted
from guard.training.feed import Part, chosen_rows, shown_by
from guard.training.schedule import Moment

__all__ = ["Batch", "DeviceFeed", "as_input", "on_device"]

WEAK = 0.5
"""Of first views."""


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """The views of one process, and what those of all processes show; on a device."""

    x: Tensor
    """(v, 3, s, s) float32 in [-1, 1], channels last."""
    windows: Tensor
    """(v, 3) float32; guard.training.feed.Part."""
    shows: Tensor
    """(views of all processes, pairs) float32; guard.training.objective."""


def on_device(part: Part, config: TrainingConfig, seed: int, ranks: int, device: torch.device) -> Batch:
    """A batch whose views were made by processors."""
    shows = torch.from_numpy(shown_by(config, seed, part.step, ranks))
    views, windows = torch.from_numpy(part.views), torch.from_numpy(part.windows)
    return Batch(as_input(views.to(device)), windows.to(device), shows.to(device))


def as_input(views: Tensor) -> Tensor:
    """(n, s, s, 3) uint8 -> (n, 3, s, s) float32 in [-1, 1], channels last."""
    return views.permute(0, 3, 1, 2).float().div_(127.5).sub_(1).contiguous(memory_format=torch.channels_last)


class DeviceFeed:
    def __init__(self, config: TrainingConfig, bank: Path, seed: int, device: torch.device) -> None:
        self._config, self._path, self._seed, self._device = config, bank, seed, device
        self._file = np.load(bank, mmap_mode="r")
        self._pictures = torch.empty(self._file.shape, dtype=torch.uint8, device=device)
        self._programs = 0

    def batch(self, step: int, now: Moment) -> Batch:
        """Of views that are the same for the same seed, step and drawn part of the bank."""
        self._refresh()
        c = self._config
        rows = torch.from_numpy(chosen_rows(c, self._seed, step, self._programs)).to(self._device)
        dice = torch.Generator(self._device).manual_seed((self._seed << 32) + step)
        pictures, others = self._chosen(rows), self._chosen(rows.roll(c.pairs // 2))
        strength = torch.rand(2, c.pairs, generator=dice, device=self._device)
        strength = now.strength * (c.gentlest + (1 - c.gentlest) * strength)
        x, windows = strong_views(pictures, others, now.size, strength[0], c.window_share, dice)
        y, y_windows = strong_views(pictures, others.roll(1, 0), now.size, strength[1], c.window_share, dice)
        weak = round(WEAK * c.pairs)
        x[:weak] = weak_views(pictures[:weak], now.size, dice)
        windows[:weak] = torch.tensor([0.0, 0.0, 1.0], device=self._device)
        views, windows = _laid(torch.cat([x, y]), torch.cat([windows, y_windows]), dice)
        views = views.mul_(2).sub_(1).contiguous(memory_format=torch.channels_last)
        return Batch(views, windows, torch.eye(c.pairs, device=self._device).repeat(2, 1))

    def _chosen(self, rows: Tensor) -> Tensor:
        """(n, 3, s, s) float32 in [0, 1]."""
        return self._pictures[rows].permute(0, 3, 1, 2).float().div_(255).contiguous()

    def _refresh(self) -> None:
        drawn = programs_drawn(self._path)
        if drawn > self._programs:
            new = slice(KIN * self._programs, KIN * drawn)
            self._pictures[new] = torch.from_numpy(np.array(self._file[new])).to(self._device)
            self._programs = drawn


def _laid(views: Tensor, windows: Tensor, dice: torch.Generator) -> tuple[Tensor, Tensor]:
    """Each in any of the eight positions of a square, for the statistics; guard.training.feed."""
    order = torch.randperm(len(views), generator=dice, device=views.device)
    views, windows = views.clone(), windows.clone()
    for element, rows in enumerate(order.tensor_split(ORDER)):
        views[rows] = acted(views[rows], element)
        top, left, side = windows[rows].unbind(1)
        if element >= 4:
            left = 1 - left - side
        for _ in range(element % 4):  # to the left, as rot90
            top, left = 1 - left - side, top
        windows[rows] = torch.stack([top, left, side], dim=1)
    return views, windows
