"""What takes effect at once, without a new version of the index: who may change it, and how. Knows no search.

References that were added, collections that were given or taken, pairs that a reviewer called no copies, and references
that count no more. Every entry says who, why, since and until when, and every change is a line of a history.

A reference is named by the sha256 of its bytes, and by its uri where it has none (`key_of`): ids shift when references
are removed, uris change when a folder moves, and what holds for a picture holds for every copy of its bytes.
"""

from __future__ import annotations

import json
import math
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from guard.errors import ConfigError, IndexLockedError
from guard.indexes.layout import IndexFolder
from guard.indexes.manifest import MANIFEST, Manifest
from guard.indexes.overlay_file import OVERLAY, errors, open_for_reading, open_for_writing, writing
from guard.types import Record

__all__ = ["Addition", "Change", "Membership", "Overlay", "Pair", "Tombstone", "identity_of", "key_of"]

_UNIT_SLACK = 1e-3


def key_of(record: Record) -> str:
    """What names a reference in every version of an index: its sha256, "uri:…" without one."""
    return record.sha256.lower() or f"uri:{record.uri}"


@dataclass(frozen=True, slots=True, eq=False)
class Addition:
    """A reference to add, as an index would hold it."""

    uri: str
    sha256: str
    """Of the encoded bytes; "" for a descriptor without a picture."""
    vectors: npt.NDArray[np.float32]
    """(regions, dim) unit rows as the embedder makes them: of the picture itself, then of its crops, if any."""
    caption: str = ""
    hash: bytes | None = None
    """32 bytes (guard.embedders.pdq.packed_hash); None without a usable one."""
    thumbnail: bytes | None = None
    """An encoded JPEG."""

    @property
    def key(self) -> str:
        return key_of(Record(-1, self.uri, self.sha256))


@dataclass(frozen=True, slots=True)
class Membership:
    """A collection that was given to a reference, or taken from it."""

    key: str
    collection: str
    member: bool
    """False: taken."""
    who: str
    why: str
    since: float
    until: float | None
    added: bool
    """True: the overlay itself holds the reference. False: it is one of the index, now or some day."""
    uri: str = ""
    """Of an added reference."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A reviewer's word that one query is no copy of one reference."""

    id: int
    key: str
    who: str
    why: str
    since: float
    until: float | None


@dataclass(frozen=True, slots=True)
class Tombstone:
    """A reference that counts no more."""

    key: str
    who: str
    why: str
    since: float
    until: float | None


@dataclass(frozen=True, slots=True)
class Change:
    """One line of the history."""

    seq: int
    time: float
    who: str
    action: str
    """add, give, take, withdraw, exempt, withdraw_pair, bury, unbury or purge."""
    key: str
    """"" once it was purged."""
    detail: dict[str, Any]


class Overlay:
    """The overlay of the index at path, for writing and listing. Safe for threads and processes.

    Nothing stays open between two calls; the file is made by the first change. clock: seconds since the epoch.
    Every method raises IndexLoadError if the file is damaged, IndexLockedError if another process writes for too long;
    those that change something ConfigError without a `who`, for an `until` that is over, or a folder that is read-only.
    """

    def __init__(self, path: str | Path, *, clock: Callable[[], float] = time.time) -> None:
        folder = IndexFolder(path)
        self.path = folder.path / OVERLAY
        self.manifest = Manifest.read(folder.version(folder.current()) / MANIFEST)
        """Of the version in use."""
        self._clock = clock

    def add(
        self,
        additions: Sequence[Addition],
        collections: Sequence[str],
        *,
        who: str,
        why: str = "",
        until: float | None = None,
    ) -> list[int]:
        """Add references and give them collections; returns their ids.

        One that is there already is replaced, under a new id, and belongs to these collections as well.
        Raises ConfigError for descriptors of another shape than the index's embedder makes.
        """
        if not collections or not all(collections):
            raise ConfigError("name at least one collection, e.g. 'opt-out'")
        blobs = [self._vectors(one.vectors, one.uri) for one in additions]
        with self._change(who, why, until) as change:
            change.require_identity(self.manifest)
            ids = []
            for one, blob in zip(additions, blobs, strict=True):
                change.log("add", one.key, uri=one.uri)
                ids.append(change.replace(one, blob))
                for collection in dict.fromkeys(collections):
                    change.set_member(one.key, collection, True)
            return ids

    def give(
        self, keys: Sequence[str], collection: str, *, who: str, why: str = "", until: float | None = None
    ) -> None:
        """Put references into a collection. One that no version holds yet belongs to it from when one does."""
        self._set(keys, collection, True, who, why, until)

    def take(
        self, keys: Sequence[str], collection: str, *, who: str, why: str = "", until: float | None = None
    ) -> None:
        """Count references as if they were not in a collection, whatever the index says."""
        self._set(keys, collection, False, who, why, until)

    def withdraw(self, keys: Sequence[str], collection: str | None = None, *, who: str, why: str = "") -> int:
        """Undo `add`, `give` and `take`, of one collection or all; returns how many memberships are gone.

        An added reference that is left in no collection is deleted with them.
        """
        with self._change(who, why, None) as change:
            gone = 0
            for key in dict.fromkeys(keys):
                found = change.rows("SELECT collection FROM memberships WHERE key = ?", (key,))
                for (name,) in found:
                    if collection in (None, name):
                        change.run("DELETE FROM memberships WHERE key = ? AND collection = ?", (key, name))
                        change.log("withdraw", key, collection=name)
                        gone += 1
                change.run(
                    "DELETE FROM additions WHERE key = ? AND NOT EXISTS "
                    "(SELECT 1 FROM memberships WHERE memberships.key = additions.key AND member)",
                    (key,),
                )
            return gone

    def exempt(
        self,
        key: str,
        descriptor: npt.NDArray[np.floating[Any]],
        *,
        who: str,
        why: str = "",
        until: float | None = None,
    ) -> int:
        """Say that a query is no copy of a reference; returns the pair's id. The reference counts for all others.

        descriptor: (dim,) of the query, as the embedder makes it; rounded to float16 will do (the decision log's).
        """
        row = np.asarray(descriptor, np.float32).reshape(1, -1)
        norm = float(np.linalg.norm(row))
        blob = self._vectors(row / norm if norm else row, "the query")
        with self._change(who, why, until) as change:
            change.require_identity(self.manifest)
            pair = change.run(
                "INSERT INTO pairs (key, descriptor, who, why, since, until) VALUES (?, ?, ?, ?, ?, ?)",
                (key, blob, *change.signed),
            )
            change.log("exempt", key, pair=pair)
            return pair

    def withdraw_pair(self, pair: int, *, who: str, why: str = "") -> bool:
        """Undo `exempt`; False if there is no such pair."""
        with self._change(who, why, None) as change:
            found = change.rows("SELECT key FROM pairs WHERE id = ?", (pair,))
            if found:
                change.run("DELETE FROM pairs WHERE id = ?", (pair,))
                change.log("withdraw_pair", found[0][0], pair=pair)
            return bool(found)

    def bury(self, keys: Sequence[str], *, who: str, why: str = "", until: float | None = None) -> None:
        """Let references count no more, as if the index did not hold them."""
        with self._change(who, why, until) as change:
            for key in dict.fromkeys(keys):
                change.run("INSERT OR REPLACE INTO tombstones VALUES (?, ?, ?, ?, ?)", (key, *change.signed))
                change.log("bury", key)

    def unbury(self, keys: Sequence[str], *, who: str, why: str = "") -> int:
        """Undo `bury`; returns how many count again."""
        with self._change(who, why, None) as change:
            gone = 0
            for key in dict.fromkeys(keys):
                if change.rows("SELECT 1 FROM tombstones WHERE key = ?", (key,)):
                    change.run("DELETE FROM tombstones WHERE key = ?", (key,))
                    change.log("unbury", key)
                    gone += 1
            return gone

    def purge(self, keys: Sequence[str], *, who: str, why: str = "", elsewhere: bool = False) -> int:
        """Delete all that the file holds of references, their part of the history too; returns how many it held.

        What is left of the history is that somebody did something at that time, and why the purge was asked for.
        elsewhere: something was purged outside of this file, which the history says even if nothing is held here.
        Afterwards no page of the file, and no file beside it, holds any of it: the file is rewritten (VACUUM) and its
        write-ahead log cut to nothing.
        Raises IndexLockedError if a reader keeps the log from being cut: everything is deleted then, and calling
        again finishes.
        """
        if not (self.path.exists() or elsewhere):
            return 0
        held = 0
        with self._change(who, why, None) as change:
            for key in dict.fromkeys(keys):
                rows = 0
                for table in ("additions", "memberships", "pairs", "tombstones"):
                    rows += len(change.rows(f"DELETE FROM {table} WHERE key = ? RETURNING 1", (key,)))  # noqa: S608
                rows += len(change.rows("SELECT 1 FROM history WHERE key = ?", (key,)))
                if rows:
                    change.run("UPDATE history SET key = '', detail = '' WHERE key = ?", (key,))
                    held += 1
            if held or elsewhere:
                change.log("purge", "")
        with errors(self.path, write=True), closing(open_for_writing(self.path)) as connection:
            connection.execute("VACUUM")
            busy, _, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if busy:
            raise IndexLockedError(
                f"{self.path}-wal still holds what was deleted, since a reader is at it; do it again"
            )
        return held

    def memberships(self) -> list[Membership]:
        """All that were given or taken, also those that are over; oldest first."""
        sql = (
            "SELECT m.key, collection, member, who, why, since, until, a.id IS NOT NULL, COALESCE(a.uri, '') "
            "FROM memberships m LEFT JOIN additions a ON a.key = m.key ORDER BY since, m.key, collection"
        )
        rows = self._list(sql)
        return [Membership(r[0], r[1], bool(r[2]), r[3], r[4], r[5], r[6], bool(r[7]), r[8]) for r in rows]

    def pairs(self) -> list[Pair]:
        """All reviewed pairs, also those that are over; oldest first."""
        return [Pair(*row) for row in self._list("SELECT id, key, who, why, since, until FROM pairs ORDER BY id")]

    def tombstones(self) -> list[Tombstone]:
        """All references that count no more, also where that is over; oldest first."""
        sql = "SELECT key, who, why, since, until FROM tombstones ORDER BY since, key"
        return [Tombstone(*row) for row in self._list(sql)]

    def history(self, key: str | None = None) -> list[Change]:
        """Every change, or those of one reference, oldest first."""
        sql = "SELECT seq, time, who, action, key, detail FROM history WHERE ? IS NULL OR key = ? ORDER BY seq"
        rows = self._list(sql, (key, key))
        return [Change(r[0], r[1], r[2], r[3], r[4], json.loads(r[5] or "{}")) for r in rows]

    def _set(self, keys: Sequence[str], collection: str, member: bool, who: str, why: str, until: float | None) -> None:
        if not collection:
            raise ConfigError("name a collection, e.g. 'opt-out'")
        with self._change(who, why, until) as change:
            for key in dict.fromkeys(keys):
                change.set_member(key, collection, member)

    def _list(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        if not self.path.exists():
            return []
        with errors(self.path), closing(open_for_reading(self.path)) as connection:
            return connection.execute(sql, parameters).fetchall()

    @contextmanager
    def _change(self, who: str, why: str, until: float | None) -> Iterator[_Change]:
        now = self._clock()
        if not who.strip():
            raise ConfigError("say who makes this change: a name for the history")
        if until is not None and not now < until < math.inf:
            raise ConfigError("until is over already; name a time to come")
        with writing(self.path) as connection:
            yield _Change(connection, now, who, why, until)

    def _vectors(self, rows: npt.NDArray[np.float32], of: str) -> bytes:
        dim, regions = self.manifest.embedder.dim, self.manifest.regions
        if rows.ndim != 2 or rows.shape[1] != dim or len(rows) not in (1, regions):
            raise ConfigError(f"{of} has descriptors of shape {rows.shape}; this index needs ({regions}, {dim})")
        if not (np.abs(np.linalg.norm(rows, axis=1) - 1) <= _UNIT_SLACK).all():  # also of NaN
            raise ConfigError(f"{of} has descriptors that are no unit vectors")
        return np.ascontiguousarray(rows, "<f4").tobytes()


@dataclass(frozen=True, slots=True)
class _Change:
    """One transaction of one person."""

    connection: sqlite3.Connection
    now: float
    who: str
    why: str
    until: float | None

    @property
    def signed(self) -> tuple[str, str, float, float | None]:
        return (_text(self.who), _text(self.why), self.now, self.until)

    def run(self, sql: str, parameters: Sequence[Any]) -> int:
        """Returns the id of a row that was inserted."""
        return self.connection.execute(sql, parameters).lastrowid or 0

    def rows(self, sql: str, parameters: Sequence[Any]) -> list[tuple[Any, ...]]:
        return self.connection.execute(sql, parameters).fetchall()

    def log(self, action: str, key: str, **detail: Any) -> None:
        said = {name: value for name, value in {**detail, "why": self.why, "until": self.until}.items() if value}
        self.run(
            "INSERT INTO history (time, who, action, key, detail) VALUES (?, ?, ?, ?, ?)",
            (self.now, _text(self.who), action, key, json.dumps(said)),
        )

    def require_identity(self, manifest: Manifest) -> None:
        """Descriptors of one embedder only: the first write says which, unless none are left of an older one."""
        stored = self.rows("SELECT value FROM about WHERE name = 'embedder'", ())
        empty = not self.rows("SELECT 1 FROM additions UNION ALL SELECT 1 FROM pairs LIMIT 1", ())
        mine = identity_of(manifest)
        if stored and stored[0][0] != mine and not empty:
            raise ConfigError(
                f"the overlay holds descriptors of embedder {json.loads(stored[0][0])['name']!r}, and the index was "
                f"built with {manifest.embedder.name!r}; they do not compare"
            )
        self.run("INSERT OR REPLACE INTO about VALUES ('embedder', ?)", (mine,))

    def replace(self, one: Addition, vectors: bytes) -> int:
        """Returns the new id."""
        self.run("DELETE FROM additions WHERE key = ?", (one.key,))
        return self.run(
            "INSERT INTO additions (key, uri, sha256, caption, vectors, hash, thumbnail) VALUES (?, ?, ?, ?, ?, ?, ?)",
            (one.key, _text(one.uri), one.sha256, _text(one.caption), vectors, one.hash, one.thumbnail),
        )

    def set_member(self, key: str, collection: str, member: bool) -> None:
        self.run(
            "INSERT OR REPLACE INTO memberships VALUES (?, ?, ?, ?, ?, ?, ?)",
            (key, collection, member, *self.signed),
        )
        self.log("give" if member else "take", key, collection=collection)


def identity_of(manifest: Manifest) -> str:
    """The embedder of an index, as the overlay keeps it."""
    return json.dumps(manifest.embedder.model_dump(), sort_keys=True)


def _text(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", " ")
