"""The bytes of a flat faiss file: a header and rows. Knows two of faiss's layouts; does not import faiss.

Rows are appended as they are made and the header is written last, so that a build needs no
memory for the vectors and no second copy on disk. faiss reads the result as its own
(tests/unit/indexes/test_faissfile.py compares the bytes with those that faiss writes).
Source: faiss/impl/index_write.cpp, "IxFI" and "IBxF".
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from guard.errors import IndexLoadError

if TYPE_CHECKING:
    from guard.indexes.manifest import Manifest, VectorKind
    from guard.types import Descriptors

__all__ = [
    "ORIGINALS",
    "VECTORS",
    "FlatLayout",
    "check_file",
    "check_rows_file",
    "map_rows",
    "originals",
    "pack_bits",
    "unpack_bits",
]

VECTORS = "vectors.faiss"
ORIGINALS = "originals.faiss"
"""The rows before a whitening that VECTORS has gone through; read when a version is made of it, never by a search."""
_DUMMY = 1 << 20  # two unused words of faiss's header
_FLOAT = struct.Struct("<4siqqqBiQ")  # fourcc, d, ntotal, dummy, dummy, is_trained, metric, number of floats
_BITS = struct.Struct("<4siiqBiQ")  # fourcc, d, code_size, ntotal, is_trained, metric, number of bytes


@dataclass(frozen=True, slots=True)
class FlatLayout:
    """Where the rows of a file of `kind` and `dim` lie."""

    kind: VectorKind
    dim: int
    regions: int = 1
    """Rows of each reference, one after another: the picture itself, then its crops. Counts are of references."""

    @property
    def header_bytes(self) -> int:
        return (_BITS if self.kind == "bits" else _FLOAT).size

    @property
    def row_bytes(self) -> int:
        return self.dim // 8 if self.kind == "bits" else self.dim * 4

    @property
    def dtype(self) -> npt.DTypeLike:
        return np.uint8 if self.kind == "bits" else np.dtype("<f4")

    def header(self, count: int) -> bytes:
        rows = count * self.regions
        if self.kind == "bits":
            return _BITS.pack(b"IBxF", self.dim, self.row_bytes, rows, 1, 1, rows * self.row_bytes)
        return _FLOAT.pack(b"IxFI", self.dim, rows, _DUMMY, _DUMMY, 1, 0, rows * self.dim)

    def file_bytes(self, count: int) -> int:
        return self.header_bytes + count * self.regions * self.row_bytes

    def encode(self, vectors: Descriptors) -> bytes:
        """(n, dim) rows -> their bytes in the file."""
        if self.kind == "bits":
            return pack_bits(vectors).tobytes()
        return np.ascontiguousarray(vectors, dtype="<f4").tobytes()


def pack_bits(vectors: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """(n, dim) rows -> (n, dim / 8) signs, first value in the highest bit; > 0 is 1."""
    return np.packbits(np.asarray(vectors) > 0, axis=1)


def unpack_bits(packed: npt.NDArray[np.uint8], dim: int) -> Descriptors:
    """(n, dim / 8) -> (n, dim) float32 rows of +-1 / sqrt(dim)."""
    signs = np.unpackbits(packed, axis=1)[:, :dim].astype(np.float32)
    return ((signs * 2 - 1) / np.float32(np.sqrt(dim))).astype(np.float32)


def check_file(path: Path, manifest: Manifest) -> FlatLayout:
    """Compare size and header with the manifest before anything is loaded. Raises IndexLoadError."""
    layout = FlatLayout(manifest.vectors, manifest.dim, manifest.regions)
    check_rows_file(path, layout, manifest.count)
    return layout


def originals(folder: Path, manifest: Manifest) -> tuple[Path, FlatLayout]:
    """The file with the rows as the embedder made them: ORIGINALS beside whitened vectors, else the vectors themselves.

    Checked as check_file does.
    """
    path = folder / (ORIGINALS if ORIGINALS in manifest.files else VECTORS)
    layout = FlatLayout(manifest.vectors, manifest.embedder.dim, manifest.regions)
    check_rows_file(path, layout, manifest.count)
    return path, layout


def check_rows_file(path: Path, layout: FlatLayout, count: int) -> None:
    """Raise IndexLoadError unless the file has the size and the header of so many rows."""
    expected = layout.header(count)
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            found = file.read(len(expected))
    except OSError as exc:
        raise IndexLoadError(f"{path} cannot be read ({exc.strerror}); rebuild the index") from exc
    if size != layout.file_bytes(count):
        raise IndexLoadError(
            f"{path} has {size} bytes where {count * layout.regions} vectors of dimension {layout.dim} need "
            f"{layout.file_bytes(count)}; it is truncated or of another build: rebuild the index"
        )
    if found != expected:
        raise IndexLoadError(
            f"{path}: its header does not say {count * layout.regions} vectors of dimension {layout.dim} "
            f"({layout.kind}), as the manifest does; it is damaged or of another build: rebuild the index"
        )


def map_rows(path: Path, layout: FlatLayout, count: int) -> npt.NDArray[Any]:
    """The rows as they lie in the file, mapped read-only: n = count * layout.regions of them.

    (n, dim) float32, or (n, dim / 8) uint8.
    """
    width = layout.row_bytes // np.dtype(layout.dtype).itemsize
    if count == 0:
        return np.empty((0, width), layout.dtype)
    return np.memmap(path, layout.dtype, "r", offset=layout.header_bytes, shape=(count * layout.regions, width))
