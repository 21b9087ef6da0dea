"""PDQ hashes beside the vectors: 32 bytes a reference, and which of them a picture is identical to. Knows no policy.

They are rows of a flat faiss file, in the order of the ids. A picture with too little detail for PDQ (quality
below 50) has a row of zeros: half the bits of a true hash are set, so that none lies near it, and `HashIndex` drops
what would. Source of the hash and of the bar of 31 bits: "PDQ & TMK + PDQF", Facebook 2019.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from guard.embedders.pdq import BITS, BLOCK_BITS, METHOD
from guard.errors import IndexLoadError
from guard.indexes.faissfile import FlatLayout, check_rows_file, map_rows, unpack_bits

if TYPE_CHECKING:
    from guard.embedders.base import EmbedderSpec
    from guard.indexes.base import VectorIndex
    from guard.indexes.manifest import Manifest
    from guard.types import Descriptors

__all__ = [
    "HASHES",
    "HASHES_BY_DEFAULT",
    "IDENTICAL_BITS",
    "LAYOUT",
    "HashIndex",
    "count_usable",
    "encode_hashes",
    "load_hashes",
    "map_hashes",
    "takes_hashes",
]

HASHES = "hashes.faiss"
HASHES_BY_DEFAULT = True
IDENTICAL_BITS = BLOCK_BITS  # of 256, inclusive
LAYOUT = FlatLayout("bits", BITS)
_BLOCK = 1 << 16  # rows looked at together


def takes_hashes(spec: EmbedderSpec) -> bool:
    """False for an index of bits: PDQ beside PDQ would say the same thing twice."""
    return spec.metric != "hamming"


def encode_hashes(hashes: Sequence[bytes | None]) -> bytes:
    """Rows of the file; None, of a picture without a usable hash, becomes zeros."""
    return b"".join(one or bytes(LAYOUT.row_bytes) for one in hashes)


def map_hashes(folder: Path, manifest: Manifest) -> npt.NDArray[np.uint8]:
    """(count, 32) packed, mapped read-only. Raises IndexLoadError for a file that does not fit the manifest."""
    path = folder / HASHES
    entry = manifest.hashes
    if entry is None or HASHES not in manifest.files:
        raise IndexLoadError(f"{folder} holds no hashes; rebuild the index with --hashes")
    if entry.method != METHOD:
        raise IndexLoadError(
            f"{path} holds hashes made by {entry.method!r}, and this version looks up {METHOD!r}: rebuild the index"
        )
    check_rows_file(path, LAYOUT, manifest.count)
    return map_rows(path, LAYOUT, manifest.count)


def count_usable(rows: npt.NDArray[np.uint8]) -> int:
    """How many of (n, 32) packed rows are hashes."""
    return sum(int(rows[at : at + _BLOCK].any(axis=1).sum()) for at in range(0, len(rows), _BLOCK))


class HashIndex:
    """The hashes of a version, searched exactly."""

    def __init__(self, rows: npt.NDArray[np.uint8], searched: VectorIndex) -> None:
        """rows: (n, 32) packed. searched: an index of the same rows as values of +-1/16."""
        self._rows, self._searched = rows, searched

    def identical(self, xq: Descriptors, k: int) -> list[dict[int, int]]:
        """Of each query, the references within IDENTICAL_BITS: id -> differing bits, the k nearest at most.

        xq: (nq, 256) rows of +-1/16, as PdqEmbedder makes them; nq = 0 is allowed. Thread-safe.
        """
        found = self._searched.search(xq, k)
        bits = np.rint((1 - np.maximum(found.similarity, -1)) * (BITS / 2)).astype(int)  # missing: similarity -inf
        near = (found.ids >= 0) & (bits <= IDENTICAL_BITS)
        out: list[dict[int, int]] = [{} for _ in range(len(found.ids))]
        for query, place in zip(*np.nonzero(near), strict=True):
            reference = int(found.ids[query, place])
            if self._rows[reference].any():
                out[query][reference] = int(bits[query, place])
        return out


def load_hashes(
    folder: Path,
    manifest: Manifest,
    *,
    backend: Literal["faiss", "torch"] = "faiss",
    device: Any = None,
    mapped: bool = False,
) -> HashIndex:
    """Open the hashes of a version: packed, scanned by faiss on the CPU, also where torch searches the vectors.

    Without faiss, torch compares them as values on `device`, at 1 kB a reference instead of 32 bytes.
    Raises IndexLoadError as map_hashes does.
    """
    rows = map_hashes(folder, manifest)
    searched: VectorIndex
    if backend == "torch" and find_spec("faiss") is None:
        from guard.indexes.torch_index import TorchIndex

        searched = TorchIndex(unpack_bits(rows, BITS), device=device)
    else:
        from guard.indexes.faiss_index import FaissBinaryIndex

        searched = FaissBinaryIndex.load(folder / HASHES, mapped=mapped)
    return HashIndex(rows, searched)
