"""What a similarity is worth beside those of other pictures: a copy is nearer to its original than to anything else.

A picture of something common, a shirt on white or a chest X-ray, is near to many references, and being near to one of
them says little. Its rivals for a candidate are the nearest references that are no copies of that candidate:

    similarity + beta * (usual - mean similarity of the query to its nearest rivals), at most 1

This is the score normalisation of Pizzi et al. 2022 (arXiv:2202.10261, equation 8) with the index itself in place of a
background, and the ratio test of Lowe 2004 as a difference. Their danger is the same: a second copy of the original
among the references would speak against the first. So references that are alike are no rivals of each other, and
where none but such are near, nothing is taken off. Knows similarities; no embedder and no threshold.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from guard.types import Candidates, Descriptors

if TYPE_CHECKING:
    from guard.indexes.base import VectorIndex

__all__ = ["DEPTH", "Rivals", "beside_rivals", "inputs_beside_rivals", "rivals_of", "search_with_rivals"]

DEPTH = 16
"""So many nearest references are looked through for rivals; more copies than that of one picture leave none."""

Similarity = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Rivals:
    """How similarities are weighed. Chosen as SSCD is evaluated (nearest, beta); alike, usual: docs/results.md."""

    nearest: int = 3
    beta: float = 1.0
    alike: float = 0.5
    """Similarity from which two references count as copies of one picture."""
    usual: float = 0.2
    """Mean similarity to rivals at which nothing changes, so that similarities keep their scale."""

    def weighed(self, similarity: Similarity, near: Similarity, alike: Similarity) -> Similarity:
        """(r, c) similarities of r queries with c candidates each -> (r, c), beside their rivals.

        near: (r, d) similarities with what may be rivals, nearest first; -inf for none. alike: (r, c, d) similarity
        of each candidate with each of these.
        """
        counts = (alike < self.alike) & np.isfinite(near)[:, None]
        counts &= np.cumsum(counts, axis=2) <= self.nearest
        number = counts.sum(axis=2)
        total = np.where(counts, near[:, None], np.float32(0)).sum(axis=2)
        mean = np.where(number > 0, total / np.maximum(number, 1), np.float32(self.usual))
        return np.minimum(similarity + np.float32(self.beta) * (np.float32(self.usual) - mean), 1).astype(np.float32)


def rivals_of(index: Any) -> Rivals | None:
    """How the index weighs similarities in checks; None: it does not."""
    entry = getattr(getattr(index, "manifest", None), "transform", None)
    return None if entry is None or entry.rivals is None else entry.rivals.plain()


def search_with_rivals(index: VectorIndex, rows: Descriptors, k: int) -> Candidates:
    """index.search(rows, k), and more where the index looks for rivals; nothing is weighed yet."""
    return index.search(rows, k if rivals_of(index) is None else max(k, DEPTH))


def beside_rivals(
    index: VectorIndex,
    rows: Descriptors,
    k: int,
    *,
    gone: Callable[[Ids], npt.NDArray[np.bool_]] | None = None,
    found: Candidates | None = None,
) -> Candidates:
    """As index.search(rows, k), each similarity weighed beside its rivals, if the index does that.

    rows: (r, dim) as the embedder makes them, an array or a tensor. gone: says which of (r, d) ids, -1 for none, are no
    rivals: the query itself where it stands in the index, and its copies. found: what search_with_rivals found for the
    rows and this k.
    """
    rivals, found = rivals_of(index), found or search_with_rivals(index, rows, k)
    if rivals is None:
        return found
    there = found.ids >= 0
    if not there.any():
        return Candidates(found.ids[:, :k], found.similarity[:, :k])
    vectors = _vectors(index, found.ids)  # (r, c, d)
    near = found.similarity[:, :DEPTH]
    if gone is not None:
        near = np.where(gone(found.ids[:, :DEPTH]), np.float32(-np.inf), near)
    alike = vectors @ vectors[:, :DEPTH].transpose(0, 2, 1)
    similarity = np.where(there, rivals.weighed(found.similarity, near, alike), np.float32(-np.inf))
    order = np.argsort(-similarity, axis=1, kind="stable")[:, :k]
    return Candidates(np.take_along_axis(found.ids, order, 1), np.take_along_axis(similarity, order, 1))


def inputs_beside_rivals(
    index: Any, rows: Descriptors, own: Descriptors, found: Candidates | None = None
) -> Similarity:
    """(r, m) similarities of queries with pictures that do not stand in the index, weighed as if they did.

    rows (r, dim), own (m, dim): as the embedder makes them, arrays or tensors. index: SupportsComparison, as all that
    have rivals. found: what search_with_rivals found for the rows and any k.
    """
    rivals = rivals_of(index)
    near: Similarity = index.compare(rows, own)
    if rivals is None:
        return near
    found = found or search_with_rivals(index, rows, DEPTH)
    ids, similarity = found.ids[:, :DEPTH], found.similarity[:, :DEPTH]
    known, places = np.unique(np.maximum(ids, 0), return_inverse=True)
    alike = index.similarity(own, known.tolist())[:, places.reshape(ids.shape)]  # (m, r, d)
    return rivals.weighed(near, similarity, alike.transpose(1, 0, 2))


def _vectors(index: Any, ids: Ids) -> Descriptors:
    known, places = np.unique(np.maximum(ids, 0), return_inverse=True)
    vectors: Descriptors = index.descriptors(known.tolist())[places.reshape(ids.shape)]
    return vectors
