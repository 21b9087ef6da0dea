"""Which references are near enough to be looked at: by the cosine of descriptors, by the bits of PDQ. Decides nothing.

Each reference is looked up among all the others and its nearest ones are kept, so that ten thousand copies of one
picture are ten thousand times NEAREST pairs and not fifty million. Descriptors are compared one by one up to EXACT
rows, and beyond that in the cells of an inverted file; hashes up to EXACT_BITS, and beyond that by what they have in
common in 16 parts, which misses none within 31 bits (Norouzi, Punjani and Fleet, CVPR 2012).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from guard.embedders.pdq import BITS
from guard.indexes.cluster_rows import Ids
from guard.indexes.faiss_index import import_faiss
from guard.types import Descriptors

__all__ = ["EXACT", "EXACT_BITS", "MIRROR", "NEAREST", "Method", "Pairs", "near_bits", "near_rows"]

NEAREST = 32  # neighbours kept of each reference, itself not counted
EXACT = 200_000
EXACT_BITS = 100_000
CELLS = 4.0  # times the square root of the rows
PROBED = 16  # cells that are searched for each row
ROWS_A_CELL = 64  # that the cells' centres are fitted on
PARTS = 16  # of a hash
MIRROR = np.uint8(0x55)
"""What changes in each byte of a hash when its picture is mirrored left to right, but for some five bits: every other
column of PDQ's cosine transform changes its sign."""
_BLOCK = 4096  # rows looked up together

Method = Literal["auto", "exact", "approximate"]
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """Pairs of ids, each once, by first and second."""

    first: Ids
    """(p,) each smaller than the second."""
    second: Ids

    def __len__(self) -> int:
        return len(self.first)

    def also(self, other: Pairs) -> Pairs:
        """The pairs that are in either."""
        return _unique([self.first, other.first], [self.second, other.second])


def near_rows(
    rows: Descriptors,
    ids: Ids,
    least: float,
    *,
    method: Method = "auto",
    on_progress: Progress = lambda _done, _total: None,
) -> Pairs:
    """Pairs of ids whose cosine is at least `least`, at most NEAREST for each and those of which it is a neighbour.

    rows: (count, d) float32 of unit norm, also mapped from a file; faiss copies those of ids, (n,) and ascending, once.
    on_progress: rows done, and n.
    """
    faiss = import_faiss()
    n = len(ids)
    if n < 2:
        return _unique([], [])
    approximate = method == "approximate" or (method == "auto" and n > EXACT)
    index = _inverted(faiss, rows, ids) if approximate else faiss.IndexFlatIP(rows.shape[1])
    for block in _blocks(rows, ids):
        index.add(block)
    found = _Found()
    for start, block in zip(range(0, n, _BLOCK), _blocks(rows, ids), strict=True):
        similarity, places = index.search(block, min(NEAREST + 1, n))
        found.add(start, places, (similarity >= least) & (places >= 0))
        on_progress(start + len(block), n)
    return found.pairs(ids)


def near_bits(
    hashes: npt.NDArray[np.uint8],
    ids: Ids,
    most: int,
    *,
    method: Method = "auto",
    on_progress: Progress = lambda _done, _total: None,
) -> Pairs:
    """Pairs of ids whose hashes differ in at most `most` bits, or would if one of the two were mirrored left to right.

    Otherwise as near_rows.

    hashes: (count, 32) packed; rows of zeros are no hashes.
    """
    faiss = import_faiss()
    usable = ids[np.asarray(hashes[ids]).any(axis=1)]
    n = len(usable)
    if n < 2:
        return _unique([], [])
    if method == "exact" or (method == "auto" and n <= EXACT_BITS):
        index = faiss.IndexBinaryFlat(BITS)
    else:
        index = faiss.IndexBinaryMultiHash(BITS, PARTS, BITS // PARTS)
        index.nflip = most // PARTS  # one of the parts differs in no more than that
    index.add(np.ascontiguousarray(hashes[usable]))
    found = _Found()
    for start in range(0, n, _BLOCK):
        block = np.ascontiguousarray(hashes[usable[start : start + _BLOCK]])
        for query in (block, block ^ MIRROR):
            bits, places = index.search(query, min(NEAREST + 1, n))
            found.add(start, places, (bits <= most) & (places >= 0))
        on_progress(start + len(block), n)
    return found.pairs(usable)


def _inverted(faiss: Any, rows: Descriptors, ids: Ids) -> Any:
    """An empty inverted file whose cells were fitted on rows spread over all of them."""
    n, dim = len(ids), rows.shape[1]
    cells = round(CELLS * math.sqrt(n))
    index = faiss.IndexIVFFlat(faiss.IndexFlatIP(dim), dim, cells, faiss.METRIC_INNER_PRODUCT)
    index.nprobe = PROBED
    index.cp.niter = 10
    index.cp.seed = 0
    index.cp.min_points_per_centroid, index.cp.max_points_per_centroid = 1, ROWS_A_CELL
    sample = ids[np.linspace(0, n - 1, min(n, ROWS_A_CELL * cells)).astype(np.int64)]
    index.train(np.ascontiguousarray(rows[sample], np.float32))
    return index


def _blocks(rows: Descriptors, ids: Ids) -> Iterator[Descriptors]:
    for start in range(0, len(ids), _BLOCK):
        yield np.ascontiguousarray(rows[ids[start : start + _BLOCK]], np.float32)


class _Found:
    """What block after block of look-ups brings, the smaller place of each pair first."""

    def __init__(self) -> None:
        self._first: list[Ids] = []
        self._second: list[Ids] = []

    def add(self, start: int, places: Ids, near: npt.NDArray[np.bool_]) -> None:
        """start: place of the block's first row. places: (block, k) of the neighbours; near: which of them count."""
        query, rank = np.nonzero(near)
        one, other = query + start, places[query, rank]
        apart = one != other
        self._first.append(np.minimum(one, other)[apart])
        self._second.append(np.maximum(one, other)[apart])

    def pairs(self, ids: Ids) -> Pairs:
        """Of ids instead of places."""
        found = _unique(self._first, self._second)
        return Pairs(ids[found.first], ids[found.second])


def _unique(first: list[Ids], second: list[Ids]) -> Pairs:
    if not first:
        return Pairs(np.zeros(0, np.int64), np.zeros(0, np.int64))
    both = np.unique(np.column_stack([np.concatenate(first), np.concatenate(second)]), axis=0)
    return Pairs(both[:, 0], both[:, 1])
