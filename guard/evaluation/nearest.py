"""The nearest references of many pictures, among the first so many of them. Knows descriptors; no rate and no picture.

By plain cosines, or as an index of so many references compares by default: whitened on them, and beside rivals. Such
an index keeps its transform when references are added, so that each transform is looked up at every size from its own
on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from guard.calibration.scored import NEIGHBOURS
from guard.embedders.base import EmbedderSpec
from guard.indexes.rivals import DEPTH, Rivals
from guard.indexes.usual import usual_transform

__all__ = ["Nearest", "as_indexed", "nearest_of"]

BLOCK = 4096  # pictures, and references, that are compared at once

Floats = npt.NDArray[np.float32]


class Nearest(NamedTuple):
    similarity: Floats
    """(n, NEIGHBOURS) nearest first."""
    first: npt.NDArray[np.int64]
    """(n,) who is nearest."""


def as_indexed(
    queries: Floats, references: Floats, sizes: Sequence[int], spec: EmbedderSpec
) -> dict[int, dict[int, Nearest]]:
    """By size of the index when it was built, and then by the size that it has grown to.

    queries (n, d), references (m, d): as the embedder makes them. sizes: ascending, at most m.
    """
    found: dict[int, dict[int, Nearest]] = {}
    for at, size in enumerate(sizes):
        transform = usual_transform(spec, references[:size])
        rows, known, rivals = queries, references[: sizes[-1]], None
        if transform is not None:
            rows, known, rivals = transform.rows(queries), transform.rows(known), transform.rivals
        found[size] = nearest_of(rows, known, sizes[at:], rivals)
    return found


def nearest_of(
    queries: Floats, references: Floats, sizes: Sequence[int], rivals: Rivals | None = None
) -> dict[int, Nearest]:
    """By size: the nearest of the first so many references (m, d). rivals: that similarities are weighed beside."""
    parts = [
        _of_some(queries[at : at + BLOCK], references, sizes, rivals) for at in range(0, max(1, len(queries)), BLOCK)
    ]
    return {size: Nearest(*map(np.concatenate, zip(*(part[size] for part in parts), strict=True))) for size in sizes}


def _of_some(queries: Floats, references: Floats, sizes: Sequence[int], rivals: Rivals | None) -> dict[int, Nearest]:
    kept = max(NEIGHBOURS, DEPTH)
    top = np.full((len(queries), kept), -np.inf, np.float32)
    ids = np.full((len(queries), kept), -1, np.int64)
    found: dict[int, Nearest] = {}
    start = 0
    for size in sizes:
        for at in range(start, size, BLOCK):
            block = queries @ references[at : min(at + BLOCK, size)].T
            both = np.concatenate([top, block], axis=1)
            order = np.argpartition(-both, kept - 1, axis=1)[:, :kept]
            top = np.take_along_axis(both, order, axis=1)
            before = np.take_along_axis(ids, np.minimum(order, kept - 1), axis=1)
            ids = np.where(order < kept, before, at + order - kept)
        top, ids = _sorted(top, ids)
        start, found[size] = size, _weighed(top, ids, references, rivals)
    return found


def _weighed(top: Floats, ids: npt.NDArray[np.int64], references: Floats, rivals: Rivals | None) -> Nearest:
    """As guard.indexes.rivals.beside_rivals."""
    if rivals is not None:
        near, vectors = top[:, :DEPTH], references[np.maximum(ids, 0)]
        weighed = rivals.weighed(top, near, vectors @ vectors[:, :DEPTH].transpose(0, 2, 1))
        top, ids = _sorted(np.where(ids >= 0, weighed, np.float32(-np.inf)), ids)
    return Nearest(top[:, :NEIGHBOURS], ids[:, 0])


def _sorted(top: Floats, ids: npt.NDArray[np.int64]) -> tuple[Floats, npt.NDArray[np.int64]]:
    order = np.argsort(-top, axis=1, kind="stable")
    return np.take_along_axis(top, order, axis=1), np.take_along_axis(ids, order, axis=1)
