"""Distances of all pairs of an audit's generations; beside a plain numpy loop over the same pairs.

    python tests/benchmarks/audit_distance.py [--generations 500] [--side 512] [--quick] [--json OUT]

The loop takes one picture at a time off all later ones, tile by tile, as the definition reads; it is timed on some
pictures and what all would take is reckoned from that, since its time is the same for each pair. Memory is what Python
and numpy ask for beyond the generations themselves.
"""

from __future__ import annotations

import tracemalloc
from time import perf_counter, process_time
from typing import Any

import numpy as np
from _report import finish, options_parser, row

from guard.audit.cliques import largest_clique
from guard.audit.density import density
from guard.audit.distance import TILES, Pictures, tiled_pairwise

BAR_S = 20.0  # for 500 generations of 512 x 512 on two cores
BAR_RATIO = 0.2
LOOP_ROWS = 4  # pictures that the loop is timed on


def generations(n: int, side: int) -> Pictures:
    """A tenth crowds around one picture; noise costs what pictures cost."""
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (n, side, side, 3), dtype=np.uint8)
    crowd = max(2, n // 10)
    pictures[:crowd] = np.clip(pictures[0].astype(np.int16) + rng.integers(-9, 10, pictures[:crowd].shape), 0, 255)
    return pictures


def loop(pictures: Pictures, rows: int) -> np.ndarray:
    """(rows, n) distances as the definition reads."""
    n, side = len(pictures), pictures.shape[1]
    step = side // TILES
    worst = np.zeros((rows, n), np.float32)
    for i in range(rows):
        for j in range(n):
            difference = pictures[i].astype(np.float32) - pictures[j]
            tiles = np.square(difference).reshape(TILES, step, TILES, step, 3).mean(axis=(1, 3, 4))
            worst[i, j] = np.sqrt(tiles.max()) / 255
    return worst


def main() -> None:
    parser = options_parser(__doc__)
    parser.add_argument("--generations", type=int, default=500)
    parser.add_argument("--side", type=int, default=512)
    options = parser.parse_args()
    n, side = (100, 128) if options.quick else (options.generations, options.side)
    pictures = generations(n, side)
    tiled_pairwise(pictures[:8])  # BLAS starts its threads
    busy = process_time()
    seconds, distances = timed(lambda: tiled_pairwise(pictures))
    busy = process_time() - busy
    loop_seconds, some = timed(lambda: loop(pictures, LOOP_ROWS))
    np.testing.assert_allclose(some, distances[:LOOP_ROWS], atol=2e-4)
    loop_all = loop_seconds / LOOP_ROWS * (n - 1) / 2  # each pair once
    clique_seconds, clique = timed(lambda: largest_clique(distances <= 0.15))
    assert len(clique) >= n // 10
    assert clique.exact
    look_seconds, _ = timed(lambda: density(pictures))
    tracemalloc.start()
    tiled_pairwise(pictures)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    what = f"{n} generations of {side} x {side}"
    full = n >= 500 and side >= 512
    rows = [
        row(f"audit: distances of {what}", seconds, "s", **({"at_most": BAR_S} if full else {})),
        row("audit: the same, processor time of all threads", busy, "s"),
        row("audit: the largest clique among them", clique_seconds, "s"),
        row("audit: a whole look at them", look_seconds, "s"),
        row("audit: memory of the distances beyond the generations", peak / (1 << 20), "MiB"),
        row("peer: a numpy loop over the pairs, reckoned from some", loop_all, "s"),
        row("audit distances / numpy loop", seconds / loop_all, "x", at_most=BAR_RATIO),
    ]
    finish("audit_distance", rows, options.json, generations=n, side=side)


def timed(call: Any) -> tuple[float, Any]:
    started = perf_counter()
    result = call()
    return perf_counter() - started, result


if __name__ == "__main__":
    main()
