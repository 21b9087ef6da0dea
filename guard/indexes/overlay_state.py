"""What an overlay says at this moment, in arrays. Knows how changes and expiries are noticed; no index.

Asking costs a few microseconds as long as nothing has changed: one `stat` without an overlay, and SQLite's counter of
other connections' changes with one. Rows that were read before are not read again.

Time: an entry that protects ends when this machine's clock says so. One that excuses (`allow`, a reviewed pair, a
tombstone, a collection taken away) has ended as well if this process or the file's history has seen a later time: a
clock that was set back makes the guard stricter and never laxer.
"""

from __future__ import annotations

import math
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from guard.database import reason_of
from guard.errors import IndexLoadError
from guard.indexes.overlay_file import errors, open_for_reading, require_sound
from guard.types import Collection, Descriptors, Record

__all__ = ["EMPTY", "OverlayReader", "OverlayState"]

_HASH_BYTES = 32
_UNIT_SLACK = 1e-3


@dataclass(frozen=True, slots=True, eq=False)
class OverlayState:
    """What is in force. Frozen: a check that began with it ends with it."""

    records: Mapping[int, Record] = field(default_factory=dict)
    """Added references by id, with the collections that were given to them."""
    ids: npt.NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    """(m,) the same, ascending."""
    vectors: Descriptors = field(default_factory=lambda: np.empty((0, 0), np.float32))
    """(rows, dim) of all added references, as the embedder made them."""
    owners: npt.NDArray[np.intp] = field(default_factory=lambda: np.empty(0, np.intp))
    """(rows,) position in `ids` that a row belongs to, ascending."""
    hashes: npt.NDArray[np.uint8] = field(default_factory=lambda: np.empty((0, _HASH_BYTES), np.uint8))
    """(m, 32); zeros: none that is usable."""
    members: Mapping[str, Mapping[str, bool]] = field(default_factory=dict)
    """Of each key: collection -> given (True) or taken (False)."""
    buried: frozenset[str] = frozenset()
    """Keys of references that count no more."""
    pairs: Mapping[str, Descriptors] = field(default_factory=dict)
    """Of each key the (p, dim) descriptors of queries that are no copies of it."""
    ends: float = math.inf
    """Seconds since the epoch at which the next entry is over."""

    @property
    def empty(self) -> bool:
        return not (self.records or self.members or self.buried or self.pairs)

    def counts(self) -> dict[str, int]:
        """How many entries of each kind are in force."""
        return {
            "added": len(self.records),
            "memberships": sum(len(named) for named in self.members.values()),
            "reviewed_pairs": sum(len(rows) for rows in self.pairs.values()),
            "tombstones": len(self.buried),
        }


EMPTY = OverlayState()


@dataclass(frozen=True, slots=True, eq=False)
class _Material:
    """What never changes of an addition under one id."""

    key: str
    uri: str
    sha256: str
    caption: str
    vectors: Descriptors
    hash: bytes | None


class OverlayReader:
    """Follows one overlay file. Safe for threads; a forked child opens the file anew.

    identity: see guard.indexes.overlay.identity_of. clock: seconds since the epoch.
    """

    def __init__(self, path: Path, *, identity: str, dim: int, clock: Callable[[], float] = time.time) -> None:
        self.path = path
        self._identity, self._dim, self._clock = identity, dim, clock
        self._state = EMPTY
        self._material: dict[int, _Material] = {}
        self._latest = -math.inf
        self._seen = False
        self._process = -1
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._immutable = False
        self._file: tuple[Any, ...] = ()
        self._counter = -1

    def state(self) -> OverlayState:
        """What is in force now.

        Raises IndexLoadError, naming the file, if it is damaged, gone, or holds another embedder's descriptors.
        """
        if self._process != os.getpid():
            self._begin()
        with self._lock:
            try:
                return self._current()
            except BaseException:
                self._disconnect()  # what broke once is opened anew
                raise

    def query(self, sql: str, parameters: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        """Read from the file as it is now. Raises IndexLoadError."""
        if self._process != os.getpid():
            self._begin()
        with self._lock, errors(self.path):
            if self._connection is None:
                self._connect()
            assert self._connection is not None
            return self._connection.execute(sql, parameters).fetchall()

    def close(self) -> None:
        """Close the file; another call of `state` opens it again."""
        if self._process == os.getpid():
            with self._lock:
                self._disconnect()

    def _begin(self) -> None:
        """In a new process: locks and connections of the parent are left to it."""
        self._lock, self._connection, self._process = threading.Lock(), None, os.getpid()

    def _current(self) -> OverlayState:
        found = self._signature()
        if found is None:
            if self._seen:
                raise IndexLoadError(
                    f"{self.path} was there and is gone; put it back, or open the index anew: what it protected, "
                    "allowed and exempted then counts no more"
                )
            return self._state
        now = self._clock()
        self._latest = max(self._latest, now)
        with errors(self.path):
            if self._connection is None or found != self._file:
                self._disconnect()
                self._connect()
                self._file = found
                counter = -1
            else:
                counter = self._counter
            assert self._connection is not None
            # Before the rows: what changes while they are read is read again.
            self._counter = self._connection.execute("PRAGMA data_version").fetchone()[0]
            if self._counter != counter or now >= self._state.ends:
                self._state = self._load(self._connection, now)
                self._seen = True
        return self._state

    def _signature(self) -> tuple[Any, ...] | None:
        """What tells the file from another of its name; for one that is read without locks, also from a changed one."""
        try:
            found = self.path.stat()
        except FileNotFoundError:
            return None
        except OSError as exc:
            raise IndexLoadError(f"{self.path} cannot be read ({exc.strerror})") from exc
        if not self._immutable:
            return found.st_dev, found.st_ino
        return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size, self._log_size() > 0

    def _connect(self) -> None:
        self._immutable = False
        try:
            self._connection = open_for_reading(self.path)
        except sqlite3.Error as exc:
            # Nobody can write beside a file in a folder that is read-only, so that SQLite's locks have no place.
            if reason_of(exc) != "unwritable" or os.access(self.path.parent, os.W_OK) or self._log_size() > 0:
                raise
            self._connection, self._immutable = open_for_reading(self.path, immutable=True), True
        require_sound(self._connection, self.path)

    def _log_size(self) -> int:
        with suppress(OSError):
            return self.path.with_name(f"{self.path.name}-wal").stat().st_size
        return 0

    def _disconnect(self) -> None:
        if self._connection is not None:
            with suppress(sqlite3.Error):
                self._connection.close()
        self._connection = None

    def _load(self, connection: sqlite3.Connection, now: float) -> OverlayState:
        connection.execute("BEGIN")  # one state of the file, whatever is written meanwhile
        try:
            return self._read(connection, now)
        finally:
            connection.execute("ROLLBACK")

    def _read(self, connection: sqlite3.Connection, now: float) -> OverlayState:
        (written,) = connection.execute("SELECT COALESCE(MAX(time), 0) FROM history").fetchone()
        late = max(self._latest, written)
        ends: list[float] = []

        def holds(until: float | None, protects: bool) -> bool:
            if until is None:
                return True
            if now < until:
                ends.append(until)
            return (now if protects else late) < until

        members: dict[str, dict[str, bool]] = {}
        for key, collection, member, until in connection.execute(
            "SELECT key, collection, member, until FROM memberships"
        ):
            if holds(until, bool(member) and collection != Collection.ALLOW):
                members.setdefault(key, {})[collection] = bool(member)
        buried = frozenset(
            key for key, until in connection.execute("SELECT key, until FROM tombstones") if holds(until, False)
        )
        pairs: dict[str, list[Descriptors]] = {}
        for key, descriptor, until in connection.execute("SELECT key, descriptor, until FROM pairs"):
            if holds(until, False):
                pairs.setdefault(key, []).append(self._rows(descriptor, key))
        self._refresh_material(connection)
        if self._material or pairs:
            self._require_identity(connection)
        added = {
            i: m
            for i, m in sorted(self._material.items())
            if any(members.get(m.key, {}).values()) and m.key not in buried
        }
        return OverlayState(
            records={i: _record(i, m, members[m.key]) for i, m in added.items()},
            ids=np.array(list(added), np.int64),
            vectors=np.concatenate([m.vectors for m in added.values()]) if added else EMPTY.vectors,
            owners=np.repeat(np.arange(len(added)), np.array([len(m.vectors) for m in added.values()], np.intp)),
            hashes=np.frombuffer(b"".join(m.hash or bytes(_HASH_BYTES) for m in added.values()), np.uint8).reshape(
                -1, _HASH_BYTES
            ),
            members=members,
            buried=buried,
            pairs={key: np.concatenate(rows) for key, rows in pairs.items()},
            ends=min(ends, default=math.inf),
        )

    def _refresh_material(self, connection: sqlite3.Connection) -> None:
        present = {row[0] for row in connection.execute("SELECT id FROM additions")}
        self._material = {i: m for i, m in self._material.items() if i in present}
        sql = "SELECT id, key, uri, sha256, caption, vectors, hash FROM additions WHERE id = ?"
        for wanted in present.difference(self._material):
            i, key, uri, sha256, caption, vectors, hashed = connection.execute(sql, (wanted,)).fetchone()
            if hashed is not None and len(hashed) != _HASH_BYTES:
                raise self._unreadable(f"the hash of {uri}")
            self._material[i] = _Material(key, uri, sha256, caption, self._rows(vectors, uri), hashed)

    def _rows(self, blob: bytes, of: str) -> Descriptors:
        if len(blob) == 0 or len(blob) % (4 * self._dim):
            raise self._unreadable(f"the descriptors of {of}")
        rows = np.frombuffer(blob, "<f4").astype(np.float32).reshape(-1, self._dim)
        if not (np.abs(np.linalg.norm(rows, axis=1) - 1) <= _UNIT_SLACK).all():  # also of NaN
            raise self._unreadable(f"the descriptors of {of}")
        return rows

    def _unreadable(self, what: str) -> IndexLoadError:
        return IndexLoadError(f"{self.path} is damaged: {what} cannot be what was written; put back a copy of it")

    def _require_identity(self, connection: sqlite3.Connection) -> None:
        found = connection.execute("SELECT value FROM about WHERE name = 'embedder'").fetchone()
        if found is None or found[0] != self._identity:
            raise IndexLoadError(
                f"{self.path} holds descriptors of another embedder than the index: {found[0] if found else 'none'} "
                f"instead of {self._identity}; open the index that it belongs to, or move it away: what it protects, "
                "allows and exempts then counts no more"
            )


def _record(i: int, material: _Material, members: Mapping[str, bool]) -> Record:
    collections = tuple(name for name, member in members.items() if member)
    return Record(i, material.uri, material.sha256, material.caption, collections)
