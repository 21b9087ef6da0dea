"""`python -m guard.training.statistics`: the statistics of the shipped descriptor, computed on procedural pictures.

To be run whenever other weights are shipped; a test says so where it was forgotten. Knows which pictures are drawn; the
file's format is guard.embedders.statistics'.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from guard.embedders.base import Embedder
from guard.embedders.registry import load_embedder
from guard.embedders.shipped import FOLDER
from guard.embedders.statistics import FILE
from guard.errors import ConfigError, GuardError
from guard.indexes.transform import fit_whitening
from guard.pixels import ImageBatch
from guard.training.generators import Kin, kindred, picture
from guard.wholefile import whole_file

__all__ = ["compute_statistics", "draw_pictures"]

SEED = (1 << 21) + 1  # of the first program; no training run and no held-out set draws those
PICTURES, BACKGROUND = 3000, 512
SIDE = 176  # px of a picture, as they are drawn for training
_BATCH = 64


def compute_statistics(
    embedder: Embedder,
    out: Path,
    *,
    pictures: int = PICTURES,
    background: int = BACKGROUND,
    processes: int = 1,
    on_progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> None:
    """Draw, embed and write. The background is of programs after those of the mean and covariance; deterministic.

    A program gives its first picture and one that is near to it (`Kin.NEAR`), so that look-alikes are among them.
    """
    import safetensors.numpy

    if not out.resolve().parent.is_dir():
        raise ConfigError(f"no such folder: {out.resolve().parent}")
    total = pictures + background
    rows = np.empty((total, embedder.spec.dim), np.float32)
    done = 0
    for block in _batches(draw_pictures(total, processes=processes)):
        rows[done : done + len(block)] = np.asarray(embedder.embed(ImageBatch(arrays=tuple(block))))
        done += len(block)
        on_progress(done, total)
    white = fit_whitening(rows[:pictures])
    source = f"{pictures + background} procedural pictures, seeds from {SEED}"
    tensors: dict[str, npt.NDArray[Any]] = {
        "mean": white.mean,
        "matrix": white.matrix,
        "background": rows[pictures:].astype(np.float16),
    }
    said = {
        "weights_sha256": embedder.spec.weights_sha256,
        "shrinkage": repr(white.shrinkage),
        "pictures": str(pictures),
        "source": source,
    }
    with whole_file(out) as new:
        safetensors.numpy.save_file(tensors, str(new), metadata=said)
        new.chmod(0o644)  # it belongs to a package, and is written for the owner alone


def draw_pictures(count: int, *, processes: int = 1) -> Iterator[npt.NDArray[np.uint8]]:
    """(SIDE, SIDE, 3) uint8 each, two a program."""
    programs = range(SEED, SEED + (count + 1) // 2)
    if processes == 1:
        pairs: Iterator[npt.NDArray[np.uint8]] = map(_pair, programs)
        yield from _first(pairs, count)
        return
    with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
        yield from _first(pool.map(_pair, programs, chunksize=16), count)


def _pair(program: int) -> npt.NDArray[np.uint8]:
    """(2, SIDE, SIDE, 3)."""
    if program % 4:  # three programs in four: strangers
        return np.stack([picture(program, SIDE), picture(program + (1 << 20), SIDE)])
    return kindred(program, SIDE)[[Kin.FIRST, Kin.NEAR]]


def _first(pairs: Iterator[npt.NDArray[np.uint8]], count: int) -> Iterator[npt.NDArray[np.uint8]]:
    left = count
    for pair in pairs:
        yield from pair[:left]
        left -= len(pair[:left])


def _batches(pictures: Iterator[npt.NDArray[np.uint8]]) -> Iterator[list[npt.NDArray[np.uint8]]]:
    block: list[npt.NDArray[np.uint8]] = []
    for one in pictures:
        block.append(one)
        if len(block) == _BATCH:
            yield block
            block = []
    if block:
        yield block


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m guard.training.statistics", description=__doc__)
    parser.add_argument("--out", type=Path, default=FOLDER / FILE, help="file to write")
    parser.add_argument("--pictures", type=int, default=PICTURES, help="of the mean and the covariance")
    parser.add_argument("--background", type=int, default=BACKGROUND, help="of the background")
    parser.add_argument("--processes", type=int, default=1, help="that draw")
    parsed = parser.parse_args(arguments)
    try:
        compute_statistics(
            load_embedder(),
            parsed.out,
            pictures=parsed.pictures,
            background=parsed.background,
            processes=parsed.processes,
            on_progress=lambda done, total: print(f"{done} of {total}", end="\r", file=sys.stderr, flush=True),
        )
    except (GuardError, OSError) as exc:
        print(f"error: {exc}", file=sys.stderr)
        return 2
    print(f"{parsed.out}: {parsed.out.stat().st_size} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
