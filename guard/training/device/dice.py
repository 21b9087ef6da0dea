"""Draws for the rows of a batch, on its device. Knows one generator; no pictures."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["BatchDice"]


@dataclass(frozen=True, slots=True, eq=False)
class BatchDice:
    generator: torch.Generator
    rows: int

    def uniform(self, low: float | Tensor, high: float | Tensor) -> Tensor:
        """(rows,) float32; bounds may differ from row to row."""
        return low + (high - low) * torch.rand(self.rows, generator=self.generator, device=self.generator.device)

    def chance(self, share: float | Tensor) -> Tensor:
        """(rows,) bool."""
        return self.uniform(0, 1) < share

    def normals(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self.generator, device=self.generator.device)

    def draws(self, *shape: int) -> Tensor:
        """Uniform in [0, 1), of this shape."""
        return torch.rand(shape, generator=self.generator, device=self.generator.device)

    def some(self, share: float) -> Tensor:
        """Indices of that share of the rows, at random: always as many, so that nothing waits for the device."""
        order = torch.randperm(self.rows, generator=self.generator, device=self.generator.device)
        return order[: round(share * self.rows)]

    def of(self, rows: Tensor) -> BatchDice:
        """For a part of the rows."""
        return BatchDice(self.generator, len(rows))
