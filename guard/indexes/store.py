"""A published index, opened for reading: checks, vectors, records, thumbnails. Knows no builder and no policy."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from guard.errors import ConfigError, IndexLoadError
from guard.indexes.base import SupportsRows
from guard.indexes.best import best_of_each
from guard.indexes.faiss_index import as_queries
from guard.indexes.faissfile import VECTORS, FlatLayout, check_file, map_rows, unpack_bits
from guard.indexes.hashes import HashIndex, load_hashes
from guard.indexes.layout import IndexFolder, hold, release
from guard.indexes.manifest import MANIFEST, Manifest
from guard.indexes.records import BLOBS, KEYPOINTS, RECORDS, THUMBNAILS, BlobReader, RecordReader
from guard.indexes.sealing import SealingKey, fitting_key, keypoints_name
from guard.indexes.transformed import TransformedIndex
from guard.indexes.transformed_rows import read_transform
from guard.types import Candidates

if TYPE_CHECKING:
    from guard.embedders.base import Embedder
    from guard.indexes.base import VectorIndex
    from guard.types import Descriptors, Record

__all__ = ["Backend", "Memory", "OpenIndex", "load_vectors", "open_index"]

Backend = Literal["faiss", "torch"]
Memory = Literal["load", "map"]


def open_index(
    path: str | Path,
    *,
    embedder: Embedder | None = None,
    backend: Backend = "faiss",
    device: str | None = None,
    version: str | None = None,
    memory: Memory = "load",
    key: SealingKey | None = None,
) -> OpenIndex:
    """Open the version in use (or `version`) of the index at path.

    embedder: what will make the queries; refused if the index was built with another one.
    backend: "faiss", or "torch" for an exact product on `device` ("cpu", "cuda", "cuda:1", ...);
    with "faiss" and a cuda device the faiss-gpu wheel is needed.
    memory: "map" leaves the vectors in their file, where all processes share them; faiss on the CPU only. A published
    file is never changed: where somebody cuts one short all the same, a search of it ends the process.
    key: of sealed thumbnails; without it an index that has some gives none.
    Raises IndexLoadError naming the file or field that does not fit; ConfigError for an unknown backend or device.
    """
    if backend not in ("faiss", "torch"):
        raise ConfigError(f"unknown index backend {backend!r}; known: ['faiss', 'torch']")
    if memory == "map" and (backend != "faiss" or device not in (None, "cpu")):
        raise ConfigError("index_memory = 'map' is of faiss on the CPU; leave it at 'load' for torch or a GPU")
    folder = IndexFolder(path)
    name = version or folder.current()
    at = folder.version(name)
    held = hold(at)  # before anything is read, so that a writer does not prune it meanwhile
    try:
        manifest = Manifest.read(at / MANIFEST)
        if embedder is not None:
            manifest.require(embedder.spec, index=str(path))
        if manifest.sealed is not None and key is not None:
            fitting_key(manifest, key, str(path))
        _check_sizes(at, manifest)
        _check_records(at / RECORDS, manifest.count)
        vectors = load_vectors(at, manifest, backend=backend, device=device, memory=memory)
        transform = read_transform(at, manifest)
        if transform is not None:
            exact = partial(_exact, backend=backend, device=device)
            vectors = TransformedIndex(vectors, transform, manifest.embedder.dim, exact)
        hashes = None
        if manifest.hashes:
            hashes = load_hashes(at, manifest, backend=backend, device=device, mapped=memory == "map")
        return OpenIndex(at, manifest, vectors, held, hashes=hashes, key=key)
    except BaseException:
        release(held)
        raise


class OpenIndex:
    """One version of an index; see the Index protocol. Safe for threads, and after a fork.

    Searching, records and thumbnails work until close() (or the end of a `with`), even if
    newer versions are published meanwhile: a version that is open is not pruned.
    """

    def __init__(
        self,
        folder: Path,
        manifest: Manifest,
        vectors: VectorIndex,
        held: int = -1,
        *,
        hashes: HashIndex | None = None,
        key: SealingKey | None = None,
    ) -> None:
        """held: what layout.hold returned; released by close()."""
        self._key = key if manifest.sealed else None
        self.folder = folder
        self.manifest = manifest
        self.vectors = vectors
        self.hashes = hashes
        self.reader = RecordReader(folder / RECORDS)
        self._blobs = {name: BlobReader(folder / name) for name in BLOBS if name in manifest.files}
        self._shut = weakref.finalize(self, _shut, [self.reader, *self._blobs.values()], held)

    @property
    def version(self) -> str:
        return self.folder.name

    @property
    def has_thumbnails(self) -> bool:
        """True if some were stored and, where they are sealed, the key is at hand."""
        return THUMBNAILS in self._blobs and (self.manifest.sealed is None or self._key is not None)

    def lacks_thumbnails(self) -> bool:
        """Whether none can be read: none was stored of any reference, or they are sealed. Raises IndexLoadError."""
        return not self.has_thumbnails or self._blobs[THUMBNAILS].empty()

    def __len__(self) -> int:
        return self.manifest.count

    def search(self, xq: Descriptors, k: int) -> Candidates:
        """See VectorIndex.search: ids are of references, each at the best of its regions.

        Of k times as many rows as a reference has, so that k references are found whatever comes first. Where crops
        count less, what lies below the last of those rows may be up to the handicap higher.
        """
        regions = self.manifest.regions
        if regions == 1:
            return self.vectors.search(xq, k)
        found = self.vectors.search(xq, k * regions)
        ids = np.where(found.ids >= 0, found.ids // regions, -1)
        less = np.where(found.ids % regions > 0, np.float32(self.manifest.region_handicap), np.float32(0))
        return Candidates(*best_of_each(ids, found.similarity - less, k))

    def descriptors(self, ids: Sequence[int]) -> Descriptors:
        """(n, dim) of references as they are searched: transformed, without their crops."""
        return self._rows(ids)[:, 0]

    def _rows(self, ids: Sequence[int]) -> Descriptors:
        """(n, regions, dim), the pictures themselves first."""
        regions = self.manifest.regions
        layout = FlatLayout(self.manifest.vectors, self.manifest.dim, regions)
        chosen = (np.asarray(ids, np.int64).reshape(-1, 1) * regions + np.arange(regions)).ravel()
        stored = self.vectors.stored if isinstance(self.vectors, TransformedIndex) else self.vectors
        if isinstance(stored, SupportsRows):
            known = stored.rows(chosen)
        else:
            rows = np.array(map_rows(self.folder / VECTORS, layout, self.manifest.count)[chosen])
            known = unpack_bits(rows, layout.dim) if layout.kind == "bits" else np.asarray(rows, np.float32)
        return known.reshape(len(ids), regions, known.shape[1])

    def similarity(self, xq: Descriptors, ids: Sequence[int]) -> npt.NDArray[np.float32]:
        """(nq, len(ids)) similarities of any queries and references, as search gives them."""
        rows = self._rows(ids)
        known = rows.reshape(-1, rows.shape[2])
        if isinstance(self.vectors, TransformedIndex):
            inner = self.vectors.similarity(xq, known)
        else:
            inner = as_queries(xq, known.shape[1], 1) @ known.T
        inner = inner.reshape(len(inner), -1, rows.shape[1])
        inner[:, :, 1:] -= np.float32(self.manifest.region_handicap)
        best: npt.NDArray[np.float32] = inner.max(axis=2)
        return best

    def compare(self, xq: Descriptors, xr: Descriptors) -> npt.NDArray[np.float32]:
        """See SupportsComparison."""
        if isinstance(self.vectors, TransformedIndex):
            return self.vectors.compare(xq, xr)
        dim = self.manifest.embedder.dim
        inner: npt.NDArray[np.float32] = as_queries(xq, dim, 1) @ as_queries(xr, dim, 1).T
        return inner

    def records(self, ids: Sequence[int]) -> list[Record]:
        """See Index.records."""
        return self.reader.records(ids)

    def thumbnail(self, id: int) -> bytes | None:  # noqa: A002
        """Encoded JPEG of a reference; None if none was stored, or it is sealed and the key is not at hand.

        Raises IndexLoadError for a sealed one that is damaged.
        """
        if not self.has_thumbnails:
            return None
        return self.unsealed(self._blobs[THUMBNAILS].of(id), lambda: self.records([id])[0].sha256)

    def keypoints(self, id: int) -> bytes | None:  # noqa: A002
        """What was prepared of a reference's thumbnail; None as of `thumbnail`, and what that raises."""
        if KEYPOINTS not in self._blobs or not self.has_thumbnails:
            return None
        return self.unsealed(self._blobs[KEYPOINTS].of(id), lambda: keypoints_name(self.records([id])[0].sha256))

    def unsealed(self, stored: bytes | None, name: Callable[[], str]) -> bytes | None:
        """A thumbnail as it was stored, in this index or its overlay -> a JPEG. name: that it was sealed under: the
        SHA-256 of its picture; asked for only if it is sealed."""
        if stored is None or self.manifest.sealed is None:
            return stored
        return None if self._key is None else self._key.open(stored, name())

    def close(self) -> None:
        self._shut()

    def __enter__(self) -> OpenIndex:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


def load_vectors(
    folder: Path,
    manifest: Manifest,
    *,
    backend: Backend = "faiss",
    device: str | None = None,
    memory: Memory = "load",
) -> VectorIndex:
    """Load the vectors of a version after checking their size and header. Raises IndexLoadError."""
    path = folder / VECTORS
    layout = check_file(path, manifest)
    if backend == "torch":
        from guard.indexes.torch_index import TorchIndex

        rows = map_rows(path, layout, manifest.count)
        return TorchIndex(unpack_bits(rows, layout.dim) if layout.kind == "bits" else rows, device=device)
    from guard.indexes.faiss_index import FaissBinaryIndex, FaissFlatIndex, is_gpu

    if layout.kind == "float32":
        return FaissFlatIndex.load(path, device=device, mapped=memory == "map")
    if is_gpu(device):
        raise ConfigError(f"device {device!r}: faiss searches packed bits on the CPU; use backend='torch' for a GPU")
    return FaissBinaryIndex.load(path, mapped=memory == "map")


def _exact(rows: Descriptors, *, backend: Backend, device: str | None) -> VectorIndex:
    """An index of rows in memory, searched as those of the version are."""
    if backend == "torch":
        from guard.indexes.torch_index import TorchIndex

        return TorchIndex(rows, device=device)
    from guard.indexes.faiss_index import FaissFlatIndex

    return FaissFlatIndex(rows, device=device)


def _check_sizes(folder: Path, manifest: Manifest) -> None:
    for required in (VECTORS, RECORDS):
        if required not in manifest.files:
            raise IndexLoadError(f"{folder / MANIFEST}: files lacks {required}; rebuild the index")
    for name, entry in manifest.files.items():
        try:
            size = (folder / name).stat().st_size
        except OSError as exc:
            raise IndexLoadError(f"{folder / name} cannot be read ({exc.strerror}); rebuild the index") from exc
        if size != entry.bytes:
            raise IndexLoadError(
                f"{folder / name} has {size} bytes where the manifest says {entry.bytes}; it is truncated or of "
                "another build: rebuild the index"
            )


def _check_records(path: Path, count: int) -> None:
    reader = RecordReader(path)
    try:
        if len(reader) != count:
            raise IndexLoadError(
                f"{path} has {len(reader)} records where the manifest counts {count}; rebuild the index"
            )
    finally:
        reader.close()


def _shut(readers: Sequence[RecordReader | BlobReader], held: int) -> None:
    for reader in readers:
        reader.close()
    release(held)
