"""What an index promises. Knows descriptors, ids and records; no pixels, embedder or threshold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from guard.types import Candidates, Descriptors, Record

if TYPE_CHECKING:
    from guard.indexes.manifest import Manifest

__all__ = ["Index", "SupportsComparison", "SupportsKeypoints", "SupportsRows", "SupportsThumbnails", "VectorIndex"]


@runtime_checkable
class VectorIndex(Protocol):
    """Exact or approximate nearest rows by inner product; row numbers are the ids."""

    def search(self, xq: Descriptors, k: int) -> Candidates:
        """Return the k nearest rows of each query.

        xq: (nq, dim) float32 unit rows, an array or a tensor on any device; nq = 0 is allowed.
        k >= 1, also larger than the index: missing places hold id -1 and similarity -inf, at the end.
        Thread-safe.
        """
        ...

    def __len__(self) -> int: ...


@runtime_checkable
class SupportsRows(Protocol):
    """A vector index that gives back what it holds, without a look at any file."""

    def rows(self, ids: npt.NDArray[np.int64]) -> Descriptors:
        """Return the rows of ids (n,), each 0 <= id < len: (n, dim) float32. Thread-safe."""
        ...


@runtime_checkable
class Index(VectorIndex, Protocol):
    """A published index: its vectors, and what it knows of each."""

    @property
    def manifest(self) -> Manifest: ...

    @property
    def version(self) -> str:
        """Name of the published version, e.g. "0003"."""
        ...

    def records(self, ids: Sequence[int]) -> list[Record]:
        """Return the records of ids, in their order. Raises IndexLoadError for an id that has none."""
        ...


@runtime_checkable
class SupportsComparison(Protocol):
    def compare(self, xq: Descriptors, xr: Descriptors) -> npt.NDArray[np.float32]:
        """Return (nq, nr) similarities that `search` would report if the pictures of xr stood in the index.

        xq (nq, dim), xr (nr, dim): descriptors as the embedder makes them, arrays or tensors. An index with a transform
        compares in no other way: an inner product of descriptors is not what its candidates are measured by.
        """
        ...


@runtime_checkable
class SupportsThumbnails(Protocol):
    def thumbnail(self, id: int) -> bytes | None:  # noqa: A002
        """Return the encoded thumbnail (JPEG or WebP) of a reference, None if none was stored."""
        ...


@runtime_checkable
class SupportsKeypoints(Protocol):
    def keypoints(self, id: int) -> bytes | None:  # noqa: A002
        """Return what guard.verification.stored made of a reference's thumbnail, None if none was stored."""
        ...
