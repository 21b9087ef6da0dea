"""Exact search with faiss: cosines of float rows, and cosines of packed bits. Knows faiss; no files of an index.

faiss starts one thread a core for every call, so that several callers at once would share
each core many times over: every call here asks for its share of the cores only. And for some queries at once, as the
windows of a picture, it is told to multiply matrices, which it does by itself for hundreds only.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from guard.errors import ConfigError, IndexLoadError, MissingExtraError
from guard.extras import both_installed
from guard.indexes.faissfile import pack_bits
from guard.types import Candidates, Descriptors

__all__ = ["FaissBinaryIndex", "FaissFlatIndex", "as_queries", "pad"]


def import_faiss() -> ModuleType:
    try:
        import faiss
    except ImportError as exc:
        raise MissingExtraError("a faiss index", extra="cpu") from exc
    return faiss


class FaissFlatIndex:
    """Inner products of float32 rows, all of them compared."""

    def __init__(self, xb: Descriptors | Any, *, device: str | None = None) -> None:
        """xb: (n, dim) float32 unit rows, or a loaded faiss IndexFlat.

        device: "cuda" or "cuda:N" copies it to that GPU; needs the faiss-gpu wheel. Raises ConfigError without one.
        """
        faiss = import_faiss()
        if isinstance(xb, np.ndarray):
            index = faiss.IndexFlatIP(xb.shape[1])
            index.add(np.ascontiguousarray(xb, np.float32))
        else:
            index = xb
        self.dim: int = index.d
        self._index = to_gpu(faiss, index, device) if is_gpu(device) else index
        self._gpu_lock = threading.Lock() if is_gpu(device) else None  # a GPU index serves one thread at a time

    @classmethod
    def load(cls, path: Path, *, device: str | None = None, mapped: bool = False) -> FaissFlatIndex:
        """mapped: leave the rows in the file, where all processes that map it share them."""
        return cls(_read(path, "read_index", mapped), device=device)

    def __len__(self) -> int:
        return int(self._index.ntotal)

    def search(self, xq: Descriptors, k: int) -> Candidates:
        """See VectorIndex.search."""
        queries, found = as_queries(xq, self.dim, k), min(k, len(self))
        if found == 0 or len(queries) == 0:
            return pad(len(queries), k)
        if self._gpu_lock is not None:
            with self._gpu_lock:
                similarity, ids = self._index.search(queries, found)
        else:
            with _share_of_cores(len(self) * self.dim * 4, queries.size):
                similarity, ids = self._index.search(queries, found)
        return pad(len(queries), k, ids, similarity)

    def rows(self, ids: npt.NDArray[np.int64]) -> Descriptors:
        """See SupportsRows."""
        with self._gpu_lock or nullcontext():
            found: Descriptors = self._index.reconstruct_batch(np.ascontiguousarray(ids, np.int64))
        return found


class FaissBinaryIndex:
    """Cosines of +-1 rows, as Hamming distances of their packed signs: 32 times smaller than floats."""

    def __init__(self, xb: Descriptors | Any) -> None:
        """xb: (n, dim) rows of +-1 / sqrt(dim), dim a multiple of 8; or a loaded faiss IndexBinaryFlat."""
        faiss = import_faiss()
        if isinstance(xb, np.ndarray):
            index = faiss.IndexBinaryFlat(xb.shape[1])
            index.add(pack_bits(xb))
        else:
            index = xb
        self.dim: int = index.d
        self._index = index

    @classmethod
    def load(cls, path: Path, *, mapped: bool = False) -> FaissBinaryIndex:
        """mapped: as of FaissFlatIndex."""
        return cls(_read(path, "read_index_binary", mapped))

    def __len__(self) -> int:
        return int(self._index.ntotal)

    def search(self, xq: Descriptors, k: int) -> Candidates:
        """See VectorIndex.search; queries are packed by the signs of their values."""
        queries, found = as_queries(xq, self.dim, k), min(k, len(self))
        if found == 0 or len(queries) == 0:
            return pad(len(queries), k)
        with _share_of_cores(len(queries) * len(self) * self.dim // 8):
            bits, ids = self._index.search(pack_bits(queries), found)
        return pad(len(queries), k, ids, 1 - 2 * bits.astype(np.float32) / np.float32(self.dim))


def as_queries(xq: Any, dim: int, k: int) -> Descriptors:
    """An array or tensor of queries -> (nq, dim) float32, contiguous. Raises ValueError for another shape or k < 1."""
    if k < 1:
        raise ValueError(f"k is {k}; at least one neighbour must be asked for")
    if hasattr(xq, "detach"):
        xq = xq.detach().float().cpu().numpy()
    queries = np.ascontiguousarray(xq, np.float32)
    if queries.ndim != 2 or queries.shape[1] != dim:
        raise ValueError(
            f"queries have shape {queries.shape}; this index holds vectors of dimension {dim}: (nq, {dim})"
        )
    return queries


def pad(
    nq: int, k: int, ids: npt.NDArray[np.int64] | None = None, similarity: npt.NDArray[np.float32] | None = None
) -> Candidates:
    """(nq, found) of both -> (nq, k): missing places hold id -1 and similarity -inf, at the end."""
    all_ids = np.full((nq, k), -1, np.int64)
    all_similarity = np.full((nq, k), -np.inf, np.float32)
    if ids is not None and similarity is not None:
        all_ids[:, : ids.shape[1]] = ids
        all_similarity[:, : ids.shape[1]] = np.where(ids < 0, -np.inf, similarity)
    return Candidates(all_ids, all_similarity)


def is_gpu(device: str | None) -> bool:
    """Raises ConfigError for what names no device: it would mean the CPU without a word."""
    if device is not None and not re.fullmatch(r"cpu|cuda(:\d+)?", device):
        raise ConfigError(f"device {device!r} is unknown; known: cpu, cuda, cuda:1 …")
    return device is not None and device != "cpu"


def to_gpu(faiss: ModuleType, index: Any, device: str | None) -> Any:
    """Not run by our tests, for want of a GPU with the faiss-gpu wheel."""
    number = int((device or "").partition(":")[2] or 0)
    gpus = faiss.get_num_gpus() if hasattr(faiss, "StandardGpuResources") else 0
    if number >= gpus:
        raise ConfigError(
            f"device {device!r}: the faiss that is installed sees {gpus} GPUs; "
            f"{both_installed('faiss-cpu', 'faiss-gpu') or 'install memorization-guard[gpu]'}, or use backend='torch'"
        )
    resources = faiss.StandardGpuResources()
    moved = faiss.index_cpu_to_gpu(resources, number, index)
    moved.guard_resources = resources  # faiss keeps only a borrowed reference
    return moved


def _read(path: Path, reader: str, mapped: bool) -> Any:
    faiss = import_faiss()
    try:
        return getattr(faiss, reader)(str(path), faiss.IO_FLAG_MMAP_IFC if mapped else 0)
    except RuntimeError as exc:
        raise IndexLoadError(f"{path} cannot be read by faiss ({exc}); rebuild the index") from exc


_searching: set[tuple[int, int]] = set()  # (process, thread) of each search that runs; needs no lock across a fork


ALONE_BYTES = 128 * 2**20  # a scan of less takes one core some 8 ms: less than a team of threads on a busy machine
PRODUCT_VALUES = 800
"""Values of the queries (nq * dim) for each core from which a matrix product is quicker than a scan for each query.

As faiss means to count them (its pull request 5109); 1.15 counts TEAM_VALUES, whatever the cores.
"""
TEAM_VALUES = 128_000


@contextmanager
def _share_of_cores(scanned_bytes: int, values: int = 0) -> Iterator[None]:
    """Divide the cores among the searches that run now. OpenMP keeps the number for each thread on its own.

    A small scan gets one core: where all cores are busy, the team's barrier costs more than the scan
    (30 ms instead of 3 for 8 queries against 100,000 hashes, beside two busy processes on two cores; and of processor
    time, 35 ms instead of 6 for one query against 100,000 rows of 256 floats).

    values: of float queries; 0 for bits. A matrix product of some of them gets one core, if it had two at most: a
    product in a team has a barrier for each 1,024 rows. Of 15 queries against 100,000 rows of 256 floats, on idle
    cores, beside two busy processes, and for four callers at once: a scan by two threads 37, 154, 149 ms, a product
    by two 18, 955, 1335 ms, and by one 28 to 33, 93, 46 ms.
    """
    faiss = import_faiss()
    me = (os.getpid(), threading.get_ident())
    threshold = _product_threshold()
    _searching.add(me)
    before, cores = faiss.omp_get_max_threads(), 1
    if scanned_bytes >= ALONE_BYTES:
        cores = max(1, (os.cpu_count() or 1) // _running(me[0]))
    if cores <= 2 and PRODUCT_VALUES * cores <= values < TEAM_VALUES:
        cores = 1
        faiss.cvar.distance_compute_blas_threshold = min(threshold, PRODUCT_VALUES)
    faiss.omp_set_num_threads(cores)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)
        _searching.discard(me)
        if not _running(me[0]):  # faiss keeps it for the process, in which others may use faiss as well
            faiss.cvar.distance_compute_blas_threshold = threshold


def _running(process: int) -> int:
    return sum(1 for one, _ in list(_searching) if one == process)


@cache
def _product_threshold() -> int:
    """As it was before the first search."""
    return int(import_faiss().cvar.distance_compute_blas_threshold)
