"""Nearest similarities of pictures that are no copies, as they are kept: counted on a grid. Knows numbers, no pictures.

A clean picture's similarity to its nearest reference is what a threshold is set against: the share of them that reach
it is its false-positive rate.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["GRID", "Sample"]

GRID = 1e-5  # similarities are rounded up to it, so that rates are overestimated rather than underestimated
_SLACK = 1e-6  # of the grid: what the division by it may be off


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    levels: npt.NDArray[np.int64]
    """(m,) ascending: similarities in units of GRID, each once."""
    counts: npt.NDArray[np.int64]
    """(m,) how many pictures have it."""
    n: int
    """All pictures, also those that the embedder called unusable: they match nothing."""
    identical: int = 0
    """Of them, how many PDQ called identical to a reference: they match at any threshold, and have no level."""
    design_effect: float = 1.0
    """At least 1: by how much the pictures are fewer than they seem since some go together (Kish 1965)."""

    @classmethod
    def of(
        cls, similarities: npt.ArrayLike, *, n: int | None = None, identical: int = 0, design_effect: float = 1.0
    ) -> Sample:
        """Count similarities, any order; -inf for a picture that matches nothing. n: None for their number and
        `identical`.
        """
        values = np.asarray(similarities, np.float64)
        found = values[np.isfinite(values)]
        levels, counts = np.unique(np.ceil(found / GRID - _SLACK).astype(np.int64), return_counts=True)
        return cls(
            levels, counts.astype(np.int64), len(values) + identical if n is None else n, identical, design_effect
        )

    @property
    def effective(self) -> float:
        """How many independent pictures say as much."""
        return self.n / self.design_effect

    def reaching(self, similarity: float) -> int:
        """How many pictures match at this threshold, inclusive."""
        first = np.searchsorted(self.levels, np.ceil(similarity / GRID - _SLACK))
        return self.identical + int(self.counts[first:].sum())

    def reached_by(self, most: int) -> float:
        """The lowest similarity that at most so many pictures reach; most >= identical. +inf without any level."""
        if len(self.levels) == 0:
            return float("inf")
        above = self.identical + np.cumsum(self.counts[::-1])  # of the levels from the top
        within = int(np.searchsorted(above, most, side="right"))
        if within == len(self.levels):
            return float(self.levels[0] * GRID)
        return float((self.levels[len(self.levels) - 1 - within] + 1) * GRID)

    def start_of(self, exceeding: int) -> float:
        """A similarity that about so many of the largest exceed; ties with it do not."""
        largest = np.repeat(self.levels[::-1], self.counts[::-1])  # from the top
        return float((largest[exceeding] if exceeding < len(largest) else largest[-1] - 1) * GRID)

    def excesses(self, start: float) -> npt.NDArray[np.float64]:
        """(k,) ascending: by how much similarities exceed one on the grid; all > 0.

        A level stands for the middle of its cell: it was rounded up.
        """
        above = self.levels > round(start / GRID)
        middles = np.repeat(self.levels[above].astype(np.float64), self.counts[above]) * GRID - GRID / 2
        return middles - round(start / GRID) * GRID
