"""An index and its overlay as one: every check sees what was added, given, taken or buried before it began.

Knows how the two are merged; not how the overlay is stored, and no threshold. The merge is exact: what is returned are
the k nearest of the references that count, measured through the same transform.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from guard.embedders.pdq import BITS
from guard.errors import IndexLoadError
from guard.indexes.faiss_index import as_queries
from guard.indexes.faissfile import unpack_bits
from guard.indexes.hashes import IDENTICAL_BITS, HashIndex
from guard.indexes.layout import IndexFolder
from guard.indexes.overlay import identity_of, key_of
from guard.indexes.overlay_file import FIRST_ID, OVERLAY
from guard.indexes.overlay_state import OverlayReader, OverlayState
from guard.indexes.records import RECORDS, RecordReader
from guard.indexes.store import OpenIndex, open_index
from guard.indexes.transformed import TransformedIndex
from guard.types import Candidates, Collection, Match

if TYPE_CHECKING:
    from guard.indexes.manifest import Manifest
    from guard.types import Descriptors, Record

__all__ = ["PAIR_SIMILARITY", "PAIR_SLACK", "Moment", "OverlaidIndex", "count_now", "open_overlaid", "state_of"]

PAIR_SIMILARITY = 0.99
"""Cosine, before the index's transform, from which a query counts as the one that was reviewed. With the shipped
descriptor a JPEG of quality 80 keeps 0.999, half the size 0.998, a crop of 2 % off each side 0.96 (docs/policy.md)."""
PAIR_SLACK = 0.01
"""Similarity by which it may lie nearer to the reference than the one that was reviewed."""
_MOST = 1 << 20


def open_overlaid(path: str | Path, **options: Any) -> OverlaidIndex:
    """Open an index directory as `open_index` does, with its overlay."""
    return OverlaidIndex(open_index(path, **options), Path(path))


def state_of(path: str | Path, manifest: Manifest) -> OverlayState:
    """What the overlay of the index at path says at this moment. Raises IndexLoadError as OverlaidIndex.now does."""
    reader = OverlayReader(Path(path) / OVERLAY, identity=identity_of(manifest), dim=manifest.embedder.dim)
    try:
        return reader.state()
    finally:
        reader.close()


def count_now(path: str | Path, version: str, manifest: Manifest, state: OverlayState) -> int:
    """How many references the index at path holds with a state of its overlay, without its vectors."""
    reader = RecordReader(IndexFolder(path).version(version) / RECORDS)
    try:
        buried = {i for key in state.buried for i in _ids_of(reader, key)}
        new = sum(not _ids_of(reader, key_of(record)) for record in state.records.values())
        return manifest.count - len(buried) + new
    finally:
        reader.close()


class OverlaidIndex:
    """See the Index protocol. Each method answers for this moment; `now` gives one moment to ask several things of."""

    def __init__(self, base: OpenIndex, path: Path, *, clock: Callable[[], float] = time.time) -> None:
        """base: an open version of the index at path, closed with this one."""
        self.base = base
        self.overlay = OverlayReader(
            path / OVERLAY, identity=identity_of(base.manifest), dim=base.manifest.embedder.dim, clock=clock
        )
        self._moment: Moment | None = None
        self._known: dict[str, tuple[int, ...]] = {}

    def now(self) -> OpenIndex | Moment:
        """The index as it is at this moment, for one check: the version itself if the overlay is empty.

        Raises IndexLoadError, naming the file, for an overlay that is damaged or of another embedder.
        """
        state = self.overlay.state()
        if state.empty:
            return self.base
        moment = self._moment
        if moment is None or moment.state is not state:
            moment = self._moment = Moment(self.base, self.overlay, state, self._known)
        return moment

    @property
    def manifest(self) -> Manifest:
        return self.base.manifest

    @property
    def version(self) -> str:
        return self.base.version

    @property
    def folder(self) -> Path:
        return self.base.folder

    @property
    def has_thumbnails(self) -> bool:
        return self.base.has_thumbnails

    def lacks_thumbnails(self) -> bool:
        """See OpenIndex.lacks_thumbnails: those that were added at once are not asked for."""
        return self.base.lacks_thumbnails()

    @property
    def hashes(self) -> HashIndex | _Hashes | None:
        return self.now().hashes

    def __len__(self) -> int:
        return len(self.now())

    def search(self, xq: Descriptors, k: int) -> Candidates:
        """See VectorIndex.search."""
        return self.now().search(xq, k)

    def similarity(self, xq: Descriptors, ids: Sequence[int]) -> npt.NDArray[np.float32]:
        """See OpenIndex.similarity."""
        return self.now().similarity(xq, ids)

    def compare(self, xq: Descriptors, xr: Descriptors) -> npt.NDArray[np.float32]:
        """See SupportsComparison."""
        return self.base.compare(xq, xr)

    def descriptors(self, ids: Sequence[int]) -> Descriptors:
        """See OpenIndex.descriptors."""
        return self.now().descriptors(ids)

    def records(self, ids: Sequence[int]) -> list[Record]:
        """See Index.records."""
        return self.now().records(ids)

    def thumbnail(self, id: int) -> bytes | None:  # noqa: A002
        """See OpenIndex.thumbnail."""
        return self.now().thumbnail(id)

    def keypoints(self, id: int) -> bytes | None:  # noqa: A002
        """See OpenIndex.keypoints; of what was added at once, none are kept."""
        return self.base.keypoints(id) if id < FIRST_ID else None

    def close(self) -> None:
        self.overlay.close()
        self.base.close()

    def __enter__(self) -> OverlaidIndex:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


class Moment:
    """A version and one state of its overlay; see the Index protocol."""

    def __init__(
        self, base: OpenIndex, overlay: OverlayReader, state: OverlayState, known: dict[str, tuple[int, ...]]
    ) -> None:
        """known: ids in the version by key, shared by the moments of one version."""
        self.base, self.overlay, self.state = base, overlay, state
        given = {name for members in state.members.values() for name, member in members.items() if member}
        self.collections = frozenset(given.union(base.manifest.collections))
        """Those that a reference may be in."""
        held = {key: known.get(key) for key in (*state.buried, *map(key_of, state.records.values()))}
        known |= {key: _ids_of(base.reader, key) for key, ids in held.items() if ids is None}
        self._buried = np.array(sorted(i for key in state.buried for i in known[key]), np.int64)
        # What the version holds itself is searched there; its collections are changed by its key.
        new = np.array([not known[key_of(record)] for record in state.records.values()], np.bool_)
        rows = new[state.owners] if len(new) else np.empty(0, np.bool_)
        self._ids = state.ids[new] if len(new) else state.ids
        self._owners = (np.cumsum(new) - 1)[state.owners[rows]] if len(new) else state.owners
        self._first = np.searchsorted(self._owners, np.arange(len(self._ids)))
        vectors = state.vectors[rows] if len(new) else state.vectors
        self._stored = _stored(base, vectors) if len(self._ids) else vectors
        hashes = state.hashes[new] if len(new) else state.hashes
        self._hashes = _Hashes(base.hashes, self._buried, self._ids, hashes) if self._hashed(hashes) else base.hashes

    def _hashed(self, hashes: npt.NDArray[np.uint8]) -> bool:
        return bool(hashes.any()) or (self.base.hashes is not None and len(self._buried) > 0)

    @cached_property
    def changed(self) -> Mapping[int, Record]:
        """The version's references of which collections were given or taken, as they count now."""
        ids = [i for key in self.state.members for i in _ids_of(self.base.reader, key)]
        return {record.id: record for record in self.records(ids)}

    @property
    def buried(self) -> list[int]:
        """Ids of the version that count no more."""
        return [int(i) for i in self._buried]

    def unburied(self) -> Moment:
        """As this one, and what is buried in the version counts."""
        return Moment(self.base, self.overlay, replace(self.state, buried=frozenset()), {})

    @property
    def added(self) -> list[Record]:
        """References that the version does not hold."""
        return self.records(self._ids.tolist())

    @property
    def manifest(self) -> Manifest:
        return self.base.manifest

    @property
    def version(self) -> str:
        return self.base.version

    @property
    def folder(self) -> Path:
        return self.base.folder

    @property
    def has_thumbnails(self) -> bool:
        return self.base.has_thumbnails

    @property
    def hashes(self) -> HashIndex | _Hashes | None:
        return self._hashes

    def __len__(self) -> int:
        return len(self.base) - len(self._buried) + len(self._ids)

    def search(self, xq: Descriptors, k: int) -> Candidates:
        found = self._search_base(xq, k)
        if not len(self._ids):
            return found
        added = self._added(xq)  # (nq, m)
        ids = np.concatenate([found.ids, np.broadcast_to(self._ids, added.shape)], axis=1)
        similarity = np.concatenate([found.similarity, added], axis=1)
        order = np.argsort(-similarity, axis=1, kind="stable")[:, :k]
        return Candidates(np.take_along_axis(ids, order, 1), np.take_along_axis(similarity, order, 1))

    def similarity(self, xq: Descriptors, ids: Sequence[int]) -> npt.NDArray[np.float32]:
        wanted = np.asarray(ids, np.int64)
        added = wanted >= FIRST_ID
        if not added.any():
            return self.base.similarity(xq, ids)
        out = np.empty((len(xq), len(wanted)), np.float32)
        if not added.all():
            out[:, ~added] = self.base.similarity(xq, wanted[~added].tolist())
        places = np.searchsorted(self._ids, wanted[added])
        out[:, added] = self._added(xq)[:, places]
        return out

    def compare(self, xq: Descriptors, xr: Descriptors) -> npt.NDArray[np.float32]:
        return self.base.compare(xq, xr)

    def descriptors(self, ids: Sequence[int]) -> Descriptors:
        """See OpenIndex.descriptors."""
        wanted = np.asarray(ids, np.int64)
        added = wanted >= FIRST_ID
        out = np.empty((len(wanted), self.manifest.dim), np.float32)
        out[~added] = self.base.descriptors(wanted[~added].tolist())
        out[added] = self._stored[self._first[np.searchsorted(self._ids, wanted[added])]]
        return out

    def records(self, ids: Sequence[int]) -> list[Record]:
        """See Index.records; of an added reference that is gone from the overlay only if this moment holds it."""
        of_base = iter(self.base.records([i for i in ids if i < FIRST_ID]))
        out = []
        for i in ids:
            if i < FIRST_ID:
                record = next(of_base)
                out.append(_with_members(record, self.state.members.get(key_of(record))))
                continue
            if i not in self.state.records:
                raise IndexLoadError(f"{self.overlay.path} holds no reference of id {i}")
            out.append(self.state.records[i])
        return out

    def thumbnail(self, id: int) -> bytes | None:  # noqa: A002
        if id < FIRST_ID:
            found = self.base.thumbnail(id)
            if found is not None or not self.state.records:
                return found
            key = key_of(self.base.records([id])[0])  # the version may have none of what was added with one
            rows = self.overlay.query("SELECT thumbnail, sha256 FROM additions WHERE key = ?", (key,))
        else:
            rows = self.overlay.query("SELECT thumbnail, sha256 FROM additions WHERE id = ?", (int(id),))
        stored = bytes(rows[0][0]) if rows and rows[0][0] is not None else None
        return self.base.unsealed(stored, lambda: str(rows[0][1]))

    def exempt(self, xq: Descriptors, matches: Sequence[Match]) -> frozenset[int]:
        """Ids of the matches that a reviewer called no copies of this query.

        xq: (dim,) the query itself, as the embedder makes it. It counts as the reviewed one from PAIR_SIMILARITY,
        unless it lies nearer to the reference than that one by more than PAIR_SLACK.
        """
        found: set[int] = set()
        for match in matches if self.state.pairs else ():
            reviewed = self.state.pairs.get(key_of(match.record))
            if reviewed is None:
                continue
            row = as_queries(xq.reshape(1, -1), reviewed.shape[1], 1)
            same = reviewed[reviewed @ row[0] >= PAIR_SIMILARITY]
            if len(same):
                near = self.similarity(np.concatenate([row, same]), [match.record.id])[:, 0]
                if near[1:].max() >= near[0] - PAIR_SLACK:
                    found.add(match.record.id)
        return frozenset(found)

    def _search_base(self, xq: Descriptors, k: int) -> Candidates:
        """The k nearest that are not buried: asked again for more while buried ones take their places."""
        if not len(self._buried):
            return self.base.search(xq, k)
        asked = k
        while True:
            found = self.base.search(xq, asked)
            keeps = (found.ids >= 0) & ~np.isin(found.ids, self._buried)
            if asked >= len(self.base) or (keeps.sum(axis=1) >= k).all():
                break
            asked = min(max(2 * asked, k + 1), len(self.base))
        order = np.argsort(~keeps, axis=1, kind="stable")[:, :k]  # what counts comes first, in its order
        kept = np.take_along_axis(keeps, order, 1)
        ids = np.where(kept, np.take_along_axis(found.ids, order, 1), -1)
        similarity = np.where(kept, np.take_along_axis(found.similarity, order, 1), np.float32(-np.inf))
        return Candidates(*_padded(ids, similarity, k))

    def _added(self, xq: Descriptors) -> npt.NDArray[np.float32]:
        """(nq, m) similarities of queries with the added references, each at the best of its regions."""
        if isinstance(self.base.vectors, TransformedIndex):
            inner = self.base.vectors.similarity(xq, self._stored)
        else:
            inner = as_queries(xq, self._stored.shape[1], 1) @ self._stored.T
        less = np.full(inner.shape[1], self.manifest.region_handicap, np.float32)
        less[self._first] = 0  # the pictures themselves
        return np.asarray(np.maximum.reduceat(inner - less, self._first, axis=1), np.float32)


class _Hashes:
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


def _ids_of(reader: RecordReader, key: str) -> tuple[int, ...]:
    """The references of a version that a key names."""
    if not key.startswith("uri:"):
        return tuple(reader.ids_where(sha256s=[key]))
    ids = sorted(reader.ids_where(uris=[key.removeprefix("uri:")]))
    return tuple(record.id for record in reader.records(ids) if key_of(record) == key)


def _stored(base: OpenIndex, vectors: Descriptors) -> Descriptors:
    return base.vectors.transform.rows(vectors) if isinstance(base.vectors, TransformedIndex) else vectors


def _with_members(record: Record, members: Any) -> Record:
    """A record with the collections that the overlay gives and takes; in none it counts as training."""
    if not members:
        return record
    kept = [name for name in record.collections if members.get(name, True)]
    kept += [name for name, member in members.items() if member and name not in kept]
    return replace(record, collections=tuple(kept) or (Collection.TRAINING.value,))


def _padded(
    ids: npt.NDArray[np.int64], similarity: npt.NDArray[np.float32], k: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    short = k - ids.shape[1]
    if short <= 0:
        return ids, similarity
    return (
        np.pad(ids, ((0, 0), (0, short)), constant_values=-1),
        np.pad(similarity, ((0, 0), (0, short)), constant_values=-np.inf),
    )
