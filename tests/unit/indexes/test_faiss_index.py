"""How a search asks faiss to work: on how many cores, and by which of its two ways."""

from __future__ import annotations

import os
import threading
from typing import Any

import faiss
import numpy as np
import pytest

from guard.indexes.faiss_index import ALONE_BYTES, PRODUCT_VALUES, TEAM_VALUES, FaissFlatIndex
from tests.support.references import unit_rows

DIM = 64
USUAL = faiss.cvar.distance_compute_blas_threshold


class Watched:
    """A faiss index that notes what is in force while it searches, and may say that it is larger than it is."""

    def __init__(self, xb: Any, *, ntotal: int | None = None, fails: bool = False) -> None:
        self._index = faiss.IndexFlatIP(xb.shape[1])
        self._index.add(xb)
        self.d, self.ntotal, self._fails = self._index.d, ntotal or self._index.ntotal, fails
        self.seen: list[tuple[int, int]] = []

    def search(self, xq: Any, k: int) -> tuple[Any, Any]:
        self.seen.append((faiss.omp_get_max_threads(), faiss.cvar.distance_compute_blas_threshold))
        if self._fails:
            raise RuntimeError("no memory")
        found: tuple[Any, Any] = self._index.search(xq, k)
        return found


def in_force(nq: int, *, large: bool = False) -> tuple[int, int]:
    """Cores and threshold of a search of nq queries."""
    watched = Watched(unit_rows(50, DIM), ntotal=ALONE_BYTES // (4 * DIM) if large else None)
    FaissFlatIndex(watched).search(unit_rows(nq, DIM, 1), 3)
    return watched.seen[0]


@pytest.mark.parametrize(("nq", "way"), [(1, USUAL), (12, USUAL), (13, PRODUCT_VALUES), (60, PRODUCT_VALUES)])
def test_some_queries_at_once_are_one_product(nq: int, way: int) -> None:
    assert in_force(nq) == (1, min(way, USUAL))


def test_faiss_decides_for_hundreds() -> None:
    assert in_force(TEAM_VALUES // DIM) == (1, USUAL)


@pytest.mark.parametrize(
    ("cores", "nq", "asked"),
    [
        (1, 15, (1, PRODUCT_VALUES)),
        (2, 15, (2, USUAL)),  # 960 values: less than two cores scan in the same time
        (2, 30, (1, PRODUCT_VALUES)),
        (2, TEAM_VALUES // DIM, (2, USUAL)),
        (8, 60, (8, USUAL)),
    ],
)
def test_a_large_index_gets_its_share_of_the_cores(
    monkeypatch: pytest.MonkeyPatch, cores: int, nq: int, asked: tuple[int, int]
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    assert in_force(nq, large=True) == (asked[0], min(asked[1], USUAL))


@pytest.mark.parametrize("fails", [False, True])
def test_what_faiss_keeps_for_the_process_is_left_as_it_was(fails: bool) -> None:
    threads = faiss.omp_get_max_threads()
    index = FaissFlatIndex(Watched(unit_rows(50, DIM), fails=fails))
    if fails:
        with pytest.raises(RuntimeError, match="no memory"):
            index.search(unit_rows(20, DIM), 3)
    else:
        index.search(unit_rows(20, DIM), 3)
    assert (faiss.omp_get_max_threads(), faiss.cvar.distance_compute_blas_threshold) == (threads, USUAL)


def test_the_last_of_several_callers_leaves_it_as_it_was() -> None:
    index, found = FaissFlatIndex(unit_rows(300, DIM)), []

    def look_up(seed: int) -> None:
        for nq in (1, 20, 40):
            xq = unit_rows(nq, DIM, seed)
            found.append((index.search(xq, 3).similarity, np.sort(xq @ unit_rows(300, DIM).T, axis=1)[:, :-4:-1]))

    threads = [threading.Thread(target=look_up, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 18
    for ours, exact in found:
        np.testing.assert_allclose(ours, exact, atol=1e-5)
    assert faiss.cvar.distance_compute_blas_threshold == USUAL
