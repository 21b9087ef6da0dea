"""A version of an index and one state of its overlay, merged. Knows no clock, no file of the overlay's, no threshold.

The merge is exact: what is returned are the k nearest of the references that count, measured through one transform.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from guard.errors import IndexLoadError
from guard.indexes.faiss_index import as_queries
from guard.indexes.hashes import HashIndex
from guard.indexes.overlaid_hashes import OverlaidHashes
from guard.indexes.overlay import key_of
from guard.indexes.overlay_file import FIRST_ID
from guard.indexes.overlay_state import OverlayReader, OverlayState
from guard.indexes.records import RecordReader
from guard.indexes.store import OpenIndex
from guard.indexes.transformed import TransformedIndex
from guard.types import Candidates, Collection, Match

if TYPE_CHECKING:
    from guard.indexes.manifest import Manifest
    from guard.types import Descriptors, Record

__all__ = ["PAIR_SIMILARITY", "PAIR_SLACK", "Moment", "ids_of"]

PAIR_SIMILARITY = 0.99
"""Cosine, before the index's transform, from which a query counts as the one that was reviewed. With the shipped
descriptor a JPEG of quality 80 keeps 0.999, half the size 0.998, a crop of 2 % off each side 0.96 (docs/policy.md)."""
PAIR_SLACK = 0.01
"""Similarity by which it may lie nearer to the reference than the one that was reviewed."""


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
        known |= {key: ids_of(base.reader, key) for key, ids in held.items() if ids is None}
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
        self._hashes = (
            OverlaidHashes(base.hashes, self._buried, self._ids, hashes) if self._hashed(hashes) else base.hashes
        )

    def _hashed(self, hashes: npt.NDArray[np.uint8]) -> bool:
        return bool(hashes.any()) or (self.base.hashes is not None and len(self._buried) > 0)

    @cached_property
    def changed(self) -> Mapping[int, Record]:
        """The version's references of which collections were given or taken, as they count now."""
        ids = [i for key in self.state.members for i in ids_of(self.base.reader, key)]
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
    def hashes(self) -> HashIndex | OverlaidHashes | None:
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


def ids_of(reader: RecordReader, key: str) -> tuple[int, ...]:
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
