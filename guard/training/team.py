"""Several processes that train one network: they exchange rows and sums through shared memory. Knows barriers only.

On CPUs one thread a process gives nearly the throughput of several, and every process can make its own views in
between, so that no core waits for another. Sums are taken in the order of the ranks, the same in each process.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.multiprocessing
from torch import Tensor

__all__ = ["Team", "alone", "run_team"]

PATIENCE_S = 600.0  # a member that is silent for so long is gone
LEAVING_S = 60.0  # for what a member does after the last gathering; a broken barrier ends it before


@dataclass(frozen=True, slots=True, eq=False)
class Team:
    rank: int
    size: int
    board: Tensor | None
    """(size, n) float32 in shared memory; None for one member."""
    barrier: Any

    def gather(self, mine: Tensor) -> Tensor:
        """Any shape of each member -> (size, ...), float32 on the device of `mine`. Every member must call it."""
        flat = mine.detach().float().reshape(-1)
        if self.board is None:
            return flat.reshape(1, *mine.shape)
        if flat.numel() > self.board.shape[1]:
            raise ValueError(f"{flat.numel()} numbers do not fit the board of {self.board.shape[1]}")
        self.board[self.rank, : flat.numel()] = flat.cpu()
        self.barrier.wait(PATIENCE_S)
        everyone = self.board[:, : flat.numel()].clone()
        self.barrier.wait(PATIENCE_S)  # nobody writes before all have read
        return everyone.reshape(self.size, *mine.shape).to(mine.device)

    def told(self, value: float) -> float:
        """What the first member says; the others' values are ignored."""
        return float(self.gather(torch.tensor([value]))[0, 0])


def alone() -> Team:
    return Team(0, 1, None, None)


def run_team(size: int, numbers: int, work: Callable[[Team, Any], None], argument: Any) -> None:
    """Run work(team, argument) in so many processes, this one first; work is a function at the top of a module.

    numbers: the most that a member gathers at once. A member that fails breaks the barrier for all.
    """
    if size == 1:
        work(alone(), argument)
        return
    context = torch.multiprocessing.get_context("spawn")
    zeros: Any = torch.zeros(size, numbers)
    board: Tensor = zeros.share_memory_()
    barrier = context.Barrier(size)
    members = [
        context.Process(target=_member, args=(work, Team(rank, size, board, barrier), argument), daemon=True)
        for rank in range(1, size)
    ]
    for member in members:
        member.start()
    try:
        _member(work, Team(0, size, board, barrier), argument)
    finally:
        for member in members:
            member.join(LEAVING_S)
            if member.is_alive():
                member.terminate()


def _member(work: Callable[[Team, Any], None], team: Team, argument: Any) -> None:
    try:
        work(team, argument)
    except BaseException:
        if team.barrier is not None:
            team.barrier.abort()
        raise
