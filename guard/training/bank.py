"""A cached file of procedural pictures: four kin of each program in a row. Knows files and processes; no training.

The file is an ordinary .npy, mapped and not read. Beside it lies a file of flags, one a program, set after the
program's pictures are written: a build that was killed goes on with the programs that miss.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from guard.training.generators import Kin, kindred

__all__ = ["KIN", "Bank", "build_bank", "drawing", "program_seed", "programs_drawn"]

KIN = len(Kin)
CHUNK = 8  # programs of one task


@dataclass(frozen=True, slots=True, eq=False)
class Bank:
    """Row 4 g + k is the picture of program g that is its k-th kin."""

    pictures: npt.NDArray[np.uint8]
    """(4 * programs, size, size, 3)."""

    def __len__(self) -> int:
        return len(self.pictures)

    @property
    def programs(self) -> int:
        return len(self.pictures) // KIN


def program_seed(seed: int, index: int) -> int:
    """Of the index-th program of a bank; banks of different seeds share no program (index < 2^32)."""
    return (seed << 32) + index


def build_bank(
    path: Path,
    *,
    programs: int,
    size: int,
    seed: int,
    processes: int = 1,
    until: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Bank:
    """Open the bank at `path`, drawing what it misses with so many processes.

    until: leave after so many of the programs. progress: called with (programs done, all programs) now and then.
    Raises ValueError for a file of another shape.
    """
    shape = (KIN * programs, size, size, 3)
    flags = _flags(path)
    if not flags.exists():  # the flags come last, so that a bank without them is begun anew
        path.parent.mkdir(parents=True, exist_ok=True)
        np.lib.format.open_memmap(path, "w+", np.uint8, shape).flush()
        np.lib.format.open_memmap(flags, "w+", np.uint8, (programs,)).flush()
    pictures, done = np.load(path, mmap_mode="r"), np.load(flags, mmap_mode="r")
    if pictures.shape != shape or done.shape != (programs,):
        raise ValueError(f"{path.name} holds pictures of shape {pictures.shape}, wanted {shape}: choose another file")
    tasks = _tasks(path, size, seed, until)
    finished = int(np.count_nonzero(done))
    if tasks and processes > 1:
        with multiprocessing.get_context("spawn").Pool(min(processes, len(tasks))) as pool:
            for count in pool.imap_unordered(_draw_programs, tasks):
                finished += count
                if progress:
                    progress(finished, programs)
    else:
        for task in tasks:
            finished += _draw_programs(task)
            if progress:
                progress(finished, programs)
    return Bank(np.load(path, mmap_mode="r"))


@contextmanager
def drawing(path: Path, *, size: int, seed: int, processes: int) -> Iterator[None]:
    """Meanwhile, so many processes draw what the bank that build_bank began still misses, in the order of its rows."""
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        pool.map_async(_draw_programs, _tasks(path, size, seed, None), chunksize=1)
        yield


def programs_drawn(path: Path) -> int:
    """How many of the first programs are there without a gap."""
    done = np.load(_flags(path))
    return len(done) if done.all() else int(done.argmin())


def _flags(path: Path) -> Path:
    return path.with_suffix(".done.npy")


def _tasks(path: Path, size: int, seed: int, until: int | None) -> list[tuple[Path, Path, int, int, tuple[int, ...]]]:
    missing = np.flatnonzero(np.load(_flags(path))[:until] == 0)
    return [
        (path, _flags(path), seed, size, tuple(map(int, missing[i : i + CHUNK]))) for i in range(0, len(missing), CHUNK)
    ]


def _draw_programs(task: tuple[Path, Path, int, int, tuple[int, ...]]) -> int:
    import cv2

    cv2.setNumThreads(1)  # the processes are the parallelism
    path, flags, seed, size, indices = task
    pictures, done = np.load(path, mmap_mode="r+"), np.load(flags, mmap_mode="r+")
    for index in indices:
        pictures[KIN * index : KIN * (index + 1)] = kindred(program_seed(seed, index), size)
        done[index] = 1
    return len(indices)
