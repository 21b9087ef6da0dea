"""The PDQ hashes of a version and of what its overlay adds, as one. Knows bits; nothing of the overlay's file."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from guard.embedders.pdq import BITS
from guard.indexes.faiss_index import as_queries
from guard.indexes.faissfile import unpack_bits
from guard.indexes.hashes import IDENTICAL_BITS, HashIndex
from guard.types import Descriptors

__all__ = ["OverlaidHashes"]

_MOST = 1 << 20


class OverlaidHashes:
    """The hashes of a version and of what was added, as HashIndex answers."""

    def __init__(
        self,
        base: HashIndex | None,
        buried: npt.NDArray[np.int64],
        ids: npt.NDArray[np.int64],
        rows: npt.NDArray[np.uint8],
    ) -> None:
        """ids (m,), rows (m, 32) packed: of the added references."""
        usable = rows.any(axis=1)
        self._base, self._buried = base, frozenset(buried.tolist())
        self._ids, self._values = ids[usable], unpack_bits(rows[usable], BITS)

    def identical(self, xq: Descriptors, k: int) -> list[dict[int, int]]:
        """See HashIndex.identical."""
        out: list[dict[int, int]] = [{} for _ in range(len(xq))]
        if self._base is not None:
            asked = min(k + len(self._buried), _MOST)
            for found, same in zip(out, self._base.identical(xq, asked), strict=True):
                found.update({i: bits for i, bits in same.items() if i not in self._buried})
        if len(self._ids):
            bits = np.rint((1 - as_queries(xq, BITS, 1) @ self._values.T) * (BITS / 2)).astype(int)
            for query, place in zip(*np.nonzero(bits <= IDENTICAL_BITS), strict=True):
                out[query][int(self._ids[place])] = int(bits[query, place])
        return [dict(sorted(same.items(), key=lambda pair: pair[1])[:k]) for same in out]
