"""A vector index whose queries go through the index's transform. Knows search and subtraction; fits nothing.

The papers append -bias to a query and 1 to each reference, so that an inner product subtracts it (Pizzi et al. 2022).
Subtracting after the search gives the same numbers and order, since all references of one query lose the same, and
costs no dimension. Each row of the queries loses its own: what is made of several views of a picture comes later.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from guard.indexes.base import VectorIndex
from guard.indexes.faiss_index import as_queries
from guard.indexes.transform import Transform, Whitening, no_direction
from guard.types import Candidates, Descriptors

__all__ = ["TransformedIndex"]


class TransformedIndex:
    """See VectorIndex; similarities lie in [-1 - beta, 1 + beta] with normalisation, else in [-1, 1]."""

    def __init__(
        self, stored: VectorIndex, transform: Transform, dim: int, search: Callable[[Descriptors], VectorIndex]
    ) -> None:
        """stored: the rows, transformed already. dim: of the queries. search: makes the index of the background."""
        self.stored, self.transform, self.dim = stored, transform, dim
        normal, background = transform.normalisation, transform.background
        self._normalisation = normal if normal is not None and len(normal.background) else None
        self._background = search(background) if self._normalisation is not None and background is not None else None
        self._placed: dict[Any, tuple[Any, Any]] = {}

    def __len__(self) -> int:
        return len(self.stored)

    def search(self, xq: Descriptors, k: int) -> Candidates:
        """See VectorIndex.search; xq (nq, dim) as the embedder makes them."""
        queries = self._rows(xq, k)
        found = self.stored.search(queries, k)
        if self._background is None:
            return found
        return Candidates(found.ids, found.similarity - self._bias(queries)[:, None])

    def similarity(self, xq: Descriptors, stored: Descriptors) -> npt.NDArray[np.float32]:
        """(nq, n) similarities of queries as the embedder makes them with rows (n, kept) as they are stored."""
        queries = self._rows(as_queries(xq, self.dim, 1), 1)
        inner: npt.NDArray[np.float32] = queries @ stored.T
        return inner if self._background is None else inner - self._bias(queries)[:, None]

    def compare(self, xq: Descriptors, xr: Descriptors) -> npt.NDArray[np.float32]:
        """(nq, nr) similarities that `search` would report if the pictures of xr stood in the index.

        xq (nq, dim), xr (nr, dim): descriptors as the embedder makes them, arrays or tensors.
        """
        return self.similarity(xq, self._rows(as_queries(xr, self.dim, 1), 1))

    def _bias(self, queries: Any) -> npt.NDArray[np.float32]:
        """(nq,) what each of the transformed queries loses."""
        assert self._background is not None
        assert self._normalisation is not None
        nearest = min(self._normalisation.nearest, len(self._background))
        similarity = self._background.search(queries, nearest).similarity
        return np.asarray(self._normalisation.beta * similarity.mean(axis=1, dtype=np.float64), np.float32)

    def _rows(self, xq: Any, k: int) -> Any:
        """(nq, dim) -> (nq, kept) that compare with the stored rows; a tensor on a device stays there."""
        on_device = hasattr(xq, "detach") and xq.device.type != "cpu"
        if not on_device or k < 1 or xq.ndim != 2 or xq.shape[1] != self.dim:
            return self.transform.rows(as_queries(xq, self.dim, k))  # raises for what is no query
        if self.transform.whitening is None:
            return xq
        return self._whitened(xq, self.transform.whitening)

    def _whitened(self, xq: Any, whitening: Whitening) -> Any:
        import torch

        dtype = torch.float32 if xq.device.type == "mps" else torch.float64
        if xq.device not in self._placed:
            mean, matrix = (torch.from_numpy(a).to(xq.device, dtype) for a in (whitening.mean, whitening.matrix))
            self._placed[xq.device] = (mean, matrix)
        mean, matrix = self._placed[xq.device]
        with torch.inference_mode():
            white = (xq.detach().to(dtype) - mean) @ matrix.T
            norms = white.norm(dim=1, keepdim=True)
            if not bool(norms.all()):
                raise no_direction()
            return (white / norms).float()
