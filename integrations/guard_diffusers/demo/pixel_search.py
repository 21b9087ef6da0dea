"""Every training picture against a generation, pixel by pixel: which one it copies, if any. Knows no guard.

The criteria are those of truth.py, for all pictures of the set and not only for the planted ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from guard_diffusers.demo.trainingset import Item, training_set
from guard_diffusers.demo.truth import ADAPTIVE, MAX_RMS, NEIGHBOURS

__all__ = ["Nearest", "PixelSearch"]

Floats = npt.NDArray[np.float64]
BLOCK = 256  # pictures compared at once


@dataclass(frozen=True, slots=True, eq=False)
class Nearest:
    """Of each generation; (n,) all."""

    item: npt.NDArray[np.intp]
    """Position of the copied picture, or of the nearest one."""
    distance: Floats
    """RMS to it, pixels in [0, 1]."""
    copied: npt.NDArray[np.bool_]
    """It copies a picture that a distance can judge."""
    unclear: npt.NDArray[np.bool_]
    """It lies within the bound only of pictures that are so plain that a single colour would too."""


class PixelSearch:
    """items: None for the whole training set; more than NEIGHBOURS pictures."""

    def __init__(self, items: Sequence[Item] | None = None) -> None:
        self.items = tuple(items or training_set())
        self._rows = _rows(np.stack([item.picture for item in self.items]))
        self._squares = np.einsum("nd,nd->n", self._rows, self._rows, dtype=np.float64)
        self.bounds = np.empty(len(self.items))
        for start in range(0, len(self.items), BLOCK):
            distance = self._distances(self._rows[start : start + BLOCK])
            own = np.arange(len(distance))
            distance[own, start + own] = np.inf
            nearest = np.sort(distance, axis=1)[:, :NEIGHBOURS]
            self.bounds[start : start + BLOCK] = np.minimum(MAX_RMS, ADAPTIVE * nearest.mean(axis=1))
        means = np.stack([item.picture.mean(axis=(0, 1)).round() for item in self.items])
        plain = _rows(np.broadcast_to(means[:, None, None], (len(means), *self.items[0].picture.shape)))
        self.judged = np.sqrt(np.mean((plain - self._rows) ** 2, axis=1, dtype=np.float64)) > self.bounds
        """(items,) False for a picture that a distance cannot judge."""
        self.planted = np.array([item.name.startswith("planted/") for item in self.items])
        """(items,)"""

    def __call__(self, generated: npt.NDArray[np.uint8]) -> Nearest:
        """generated: (n, SIZE, SIZE, 3)."""
        parts = [self._nearest(generated[start : start + BLOCK]) for start in range(0, len(generated), BLOCK)]
        if not parts:
            none = np.zeros(0)
            return Nearest(none.astype(np.intp), none, none.astype(np.bool_), none.astype(np.bool_))
        return Nearest(
            *(np.concatenate([getattr(part, name) for part in parts]) for name in ("item", "distance", "copied",
              "unclear"))
        )  # fmt: skip

    def _nearest(self, generated: npt.NDArray[np.uint8]) -> Nearest:
        distance = self._distances(_rows(generated))
        # Inclusive at MAX_RMS and exclusive at an adaptive bound, as truth.is_copy has it.
        bounds = self.bounds[None]
        within = np.where(bounds == MAX_RMS, distance <= bounds, distance < bounds)
        judged = within & self.judged
        copied = np.logical_or.reduce(judged, axis=1)
        candidates = np.where(copied[:, None] & ~judged, np.inf, distance)
        item = candidates.argmin(axis=1)
        found = distance[np.arange(len(distance)), item]
        return Nearest(item, found, copied, np.logical_or.reduce(within, axis=1) & ~copied)

    def _distances(self, rows: npt.NDArray[np.float32]) -> Floats:
        """(n, items) RMS."""
        squares = np.einsum("nd,nd->n", rows, rows, dtype=np.float64)
        inner = (rows @ self._rows.T).astype(np.float64)
        mean = (squares[:, None] + self._squares - 2 * inner) / rows.shape[1]
        return np.asarray(np.sqrt(np.maximum(mean, 0)))


def _rows(pictures: npt.NDArray[np.generic]) -> npt.NDArray[np.float32]:
    """(n, h, w, 3) levels -> (n, d) in [-0.5, 0.5]: about zero, so that squares of float32 keep their digits."""
    flat = np.asarray(pictures, np.float32).reshape(len(pictures), -1)
    return flat / np.float32(255) - np.float32(0.5)
