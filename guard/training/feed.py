"""Batches of views out of the bank. Knows which picture is seen in which view; no network.

A batch is a function of (seed, step, process), of the moment of the run and of how much of the bank is drawn. Nothing
is kept between batches, so that a run resumes at any step with the batches that it would have had.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch.multiprocessing

from guard.embedders.views import Box
from guard.training.bank import KIN, programs_drawn
from guard.training.config import TrainingConfig
from guard.training.edits import WHOLE_VIEW, Picture, strong_view, weak_view
from guard.training.generators.base import Dice
from guard.training.schedule import Moment

__all__ = ["Feed", "Part", "part_of_batch", "shown_by"]


@dataclass(frozen=True, slots=True)
class _Mix:
    row: int
    other: int
    share: float
    """Of `row` in the mixture; the rest is `other`."""
    cut: bool
    """A rectangle of the other is pasted; otherwise both are averaged."""


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """The views that one process embeds."""

    views: npt.NDArray[np.uint8]
    """(2 n, size, size, 3): n first views, then n second ones."""
    windows: npt.NDArray[np.float32]
    """(2 n, 3): top, left and side of the part of each view over which the network averages, as shares."""
    step: int = 0
    """Of the batch; what its views show is `shown_by` of it."""


def chosen_rows(config: TrainingConfig, seed: int, step: int, programs: int) -> npt.NDArray[np.int64]:
    """(pairs,) rows of the bank, all different; the first `kin_share` of them in twos of one program, then shuffled."""
    dice = Dice(seed, step, 0xB0)
    twos = min(int(config.pairs * config.kin_share / 2), programs)
    order = dice.order(programs)
    first = dice.integers(0, KIN, twos)
    if_first = np.where(dice.uniforms(0, 1, twos) < 0.5, 0, first)  # what is nearest is nearest to the first picture
    second = (if_first + 1 + dice.integers(0, KIN - 1, twos)) % KIN
    rows = np.concatenate([order[:twos] * KIN + if_first, order[:twos] * KIN + second])
    rest = config.pairs - len(rows)
    singles = np.resize(order[twos:], rest) if programs > twos else np.resize(order, rest)
    lap = np.arange(rest) // max(programs - twos, 1)  # a bank smaller than the batch: other kin in each lap
    rows = np.concatenate([rows, singles * KIN + (dice.integers(0, KIN, len(order))[singles] + lap) % KIN])
    if len(np.unique(rows)) < config.pairs:
        raise ValueError(f"{programs} programs are too few for batches of {config.pairs} pairs")
    return rows[dice.order(config.pairs)]


def mixes(config: TrainingConfig, seed: int, step: int, part: slice) -> list[_Mix]:
    """Which second views of this part (rows counted within it) are mixtures."""
    dice = Dice(seed, step, part.start, 0xB1)
    count = part.stop - part.start
    order = dice.order(count)
    found = []
    for i in range(int(count * config.mix_share)):
        row, other = int(order[i]), int(order[-1 - i % max(1, count - int(count * config.mix_share))])
        cut = dice.chance(0.5)
        found.append(_Mix(row, other, dice.uniform(0.3, 0.75) if cut else dice.uniform(0.4, 0.6), cut))
    return found


def part_of(config: TrainingConfig, rank: int, ranks: int) -> slice:
    return slice(config.pairs * rank // ranks, config.pairs * (rank + 1) // ranks)


def shown_by(config: TrainingConfig, seed: int, step: int, ranks: int) -> npt.NDArray[np.float32]:
    """(2 pairs, pairs): how much of each picture each view shows; the views in the order of the ranks' parts."""
    blocks = []
    for rank in range(ranks):
        part = part_of(config, rank, ranks)
        first = np.eye(config.pairs, dtype=np.float32)[part]
        second = first.copy()
        for mix in mixes(config, seed, step, part):
            second[mix.row] = mix.share * first[mix.row] + (1 - mix.share) * first[mix.other]
        blocks += [first, second]
    return np.concatenate(blocks)


def part_of_batch(
    config: TrainingConfig, pictures: npt.NDArray[np.uint8], seed: int, step: int, rank: int, ranks: int, now: Moment
) -> Part:
    """Make this rank's share of the batch."""
    rows = chosen_rows(config, seed, step, len(pictures) // KIN)
    part = part_of(config, rank, ranks)
    count = part.stop - part.start
    views = np.empty((2 * count, now.size, now.size, 3), np.uint8)
    windows = np.tile(np.asarray(WHOLE_VIEW, np.float32), (2 * count, 1))
    for i, row in enumerate(rows[part]):
        dice = Dice(seed, step, int(row), 0xB2)
        picture = np.asarray(pictures[row])
        others: list[Picture] = [np.asarray(pictures[j]) for j in dice.integers(0, len(pictures), 3)]
        weak = dice.chance(0.5)
        # Of strong edits alone a network learns to tell copies roughly: slight ones must lie near, not just nearest.
        first, second = (now.strength * s for s in dice.uniforms(config.gentlest, 1, 2).tolist())
        if weak:
            views[i] = weak_view(dice, picture, now.size)
        else:
            views[i], windows[i] = strong_view(
                dice, picture, others[::-1], now.size, first, windows=config.window_share
            )
        views[count + i], windows[count + i] = strong_view(
            dice, picture, others, now.size, second, windows=config.window_share
        )
    plain = views[count:].copy()
    for mix in mixes(config, seed, step, part):
        views[count + mix.row] = _mixed(
            plain[mix.row], plain[mix.other], mix, Dice(seed, step, int(rows[part][mix.row]), 0xB3)
        )
        windows[count + mix.row] = WHOLE_VIEW
    for i in range(len(views)):  # the network does not mind; the statistics of its eight positions become alike
        dice = Dice(seed, step, int(rows[part][i % count]), 0xB4 + i // count)
        views[i], windows[i] = _laid(views[i], windows[i].tolist(), dice)
    return Part(views, windows, step)


def _laid(view: Picture, window: Box, dice: Dice) -> tuple[Picture, Box]:
    """In any of the eight positions of a square."""
    turns, (top, left, side) = dice.integer(0, 4), window
    view = np.rot90(view, turns)
    for _ in range(turns):  # to the left, as rot90
        top, left = 1 - left - side, top
    return (view[:, ::-1], (top, 1 - left - side, side)) if dice.chance(0.5) else (view, (top, left, side))


def _mixed(a: Picture, b: Picture, mix: _Mix, dice: Dice) -> Picture:
    """Sources: mixup, Zhang et al. 2017 (arXiv:1710.09412); cutmix, Yun et al. 2019 (arXiv:1905.04899)."""
    if not mix.cut:
        return (mix.share * a.astype(np.float32) + (1 - mix.share) * b + 0.5).astype(np.uint8)
    size = len(a)
    side_w = np.sqrt(1 - mix.share) * np.exp(dice.uniform(-0.3, 0.3))
    w, h = (int(size * min(0.95, side)) for side in (side_w, (1 - mix.share) / min(0.95, side_w)))
    x, y = dice.integer(0, size - w + 1), dice.integer(0, size - h + 1)
    out = a.copy()
    out[y : y + h, x : x + w] = b[y : y + h, x : x + w]
    return out


class Feed:
    """Parts of batches, one after another: made in this process, or ahead of time by others (for an accelerator)."""

    def __init__(self, config: TrainingConfig, bank: Path, seed: int, rank: int, ranks: int, workers: int) -> None:
        self._fixed = (config, bank, seed, rank, ranks)
        self._workers = workers

    def parts(self, step: int, now: Callable[[int], Moment], every: int = 1) -> Iterator[Part]:
        """Without end, of every such step from this one on. now(step): asked when a part is begun, well ahead."""
        if not self._workers:
            while True:
                yield _make((*self._fixed, programs_drawn(self._fixed[1]), step, now(step)))
                step += every
        with torch.multiprocessing.get_context("spawn").Pool(self._workers) as pool:
            ahead: deque[Any] = deque()
            while True:
                while len(ahead) < 2 * self._workers:
                    task = (*self._fixed, programs_drawn(self._fixed[1]), step, now(step))
                    ahead.append(pool.apply_async(_make_shared, (task,)))
                    step += every
                views, windows, its_step = ahead.popleft().get()
                yield Part(views.numpy(), windows.numpy(), its_step)


_open: dict[Path, npt.NDArray[np.uint8]] = {}
_Task = tuple[TrainingConfig, Path, int, int, int, int, int, Moment]


def _make_shared(task: _Task) -> tuple[torch.Tensor, torch.Tensor, int]:
    """Tensors travel in shared memory, arrays through a pipe: of a hundred megabytes a batch."""
    part = _make(task)
    return torch.from_numpy(part.views), torch.from_numpy(part.windows), part.step


def _make(task: _Task) -> Part:
    import cv2

    config, bank, seed, rank, ranks, programs, step, now = task
    if bank not in _open:
        cv2.setNumThreads(1)
        _open[bank] = np.load(bank, mmap_mode="r")
    return part_of_batch(config, _open[bank][: KIN * programs], seed, step, rank, ranks, now)
