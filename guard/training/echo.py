"""Batches that are used more than once, each time touched up anew. Knows batches on a device; not how they are made.

An accelerator takes batches faster than processor cores make views for it. What they make is then used several times,
some steps apart, with further edits that the device itself makes. Source: data echoing, Choi et al. 2019
(arXiv:1907.05550).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from torch import Tensor

from guard.training.generators.base import Dice

__all__ = ["Batch", "echoed"]

KEPT = 8
"""Batches at least that are waiting to be used again, so that a batch does not follow itself."""


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """The views of one process, on its device, and what those of all processes show."""

    views: Tensor
    """(v, s, s, 3) uint8."""
    windows: Tensor
    """(v, 3) float32; guard.training.feed.Part."""
    shows: Tensor
    """(views of all processes, pairs) float32; guard.training.objective."""
    again: bool = False
    """It was used before."""


def echoed(batches: Iterator[Batch], times: int, seed: int) -> Iterator[Batch]:
    """Every batch as it is, and `times` - 1 times more as one to be touched up; those are drawn at random."""
    dice, waiting = Dice(seed, 0xEC), list[tuple[Batch, int]]()
    for batch in batches:
        yield batch
        if times == 1:
            continue
        waiting.append((replace(batch, again=True), times - 1))
        for _ in range(times - 1 if len(waiting) > KEPT else 0):
            i = dice.integer(0, len(waiting))
            some, left = waiting[i]
            if left == 1:
                del waiting[i]
            else:
                waiting[i] = some, left - 1
            yield some
