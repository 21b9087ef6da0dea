"""What an index knows of each reference, in SQLite. Knows the tables, their readers and writers; no vectors."""

from __future__ import annotations

import json
import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from guard.errors import IndexLoadError
from guard.indexes.selection import Amended, RecordFilter, caption_match, storable
from guard.types import Record

__all__ = [
    "BLOBS",
    "INSERT_RECORD",
    "KEYPOINTS",
    "MOST_RANKED",
    "RECORDS",
    "THUMBNAILS",
    "BlobReader",
    "ReadOnlyTable",
    "RecordReader",
    "create_tables",
    "row_of",
]

RECORDS = "records.sqlite"
THUMBNAILS = "thumbnails.sqlite"
KEYPOINTS = "keypoints.sqlite"
"""What guard.verification.stored makes of the thumbnails."""
BLOBS = {THUMBNAILS: "thumbnails", KEYPOINTS: "keypoints"}
"""Files of one table, of bytes by the reference's id -> its name."""

_FIRST = ("id", "uri", "sha256", "caption", "collections", "cluster_size")
_LATER = {
    "cluster": "INTEGER NOT NULL DEFAULT -1",
    "width": "INTEGER NOT NULL DEFAULT 0",
    "height": "INTEGER NOT NULL DEFAULT 0",
    "file_bytes": "INTEGER NOT NULL DEFAULT 0",
    "modified": "INTEGER NOT NULL DEFAULT 0",
    "pixels_sha256": "TEXT NOT NULL DEFAULT ''",
}
"""Columns that an index of an older version lacks: they are read as these defaults, and added when it is extended."""
INSERT_RECORD = (
    f"INSERT INTO records ({', '.join((*_FIRST, *_LATER))}) VALUES ({', '.join('?' * len((*_FIRST, *_LATER)))})"  # noqa: S608
)
"""Of a row that row_of made."""
TABLES = {
    RECORDS: """CREATE TABLE IF NOT EXISTS records (
        id INTEGER PRIMARY KEY, uri TEXT NOT NULL, sha256 TEXT NOT NULL, caption TEXT NOT NULL,
        collections TEXT NOT NULL, cluster_size INTEGER NOT NULL)""",
    **{
        file: f"CREATE TABLE IF NOT EXISTS {table} (id INTEGER PRIMARY KEY, data BLOB NOT NULL)"
        for file, table in BLOBS.items()
    },
}
"""collections is a JSON list of names."""
INDEXES = """
    DROP TABLE IF EXISTS captions;
    CREATE VIRTUAL TABLE captions USING fts5(caption, content='records', content_rowid='id');
    INSERT INTO captions(captions) VALUES ('rebuild');
    CREATE INDEX IF NOT EXISTS records_uri ON records(uri);
    CREATE INDEX IF NOT EXISTS records_sha256 ON records(sha256);
"""
MOST_RANKED = 20_000  # captions that a search by words puts in order: 30 ms
_AT_ONCE = 500  # ids in one query; SQLite's own limit on parameters is higher


def create_tables(connection: sqlite3.Connection, name: str) -> None:
    """Also brings the records of an older version up to date."""
    connection.execute(TABLES[name])
    if name == RECORDS:
        there = {row[1] for row in connection.execute("PRAGMA table_info(records)")}
        for column, definition in _LATER.items():
            if column not in there:
                connection.execute(f"ALTER TABLE records ADD COLUMN {column} {definition}")


def row_of(record: Record) -> tuple[int | str, ...]:
    """A record as a row of the table. Text that is no valid Unicode is stored with its bytes escaped."""
    return (
        record.id,
        storable(record.uri),
        record.sha256,
        storable(record.caption),
        json.dumps(list(record.collections)),
        record.cluster_size,
        record.cluster,
        record.width,
        record.height,
        record.file_bytes,
        record.modified,
        record.pixels_sha256,
    )


class ReadOnlyTable:
    """A SQLite file of a published version. One connection a thread and process, opened when first used."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._connections: dict[tuple[int, int], sqlite3.Connection] = {}
        self._locks = {os.getpid(): threading.Lock()}  # a child must not inherit a lock that was held at the fork

    def query(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Raises IndexLoadError, naming the file, if it is damaged."""
        try:
            return self._connection().execute(sql, parameters).fetchall()
        except sqlite3.Error as exc:
            raise IndexLoadError(f"{self.path} is damaged or gone ({exc}); rebuild or reopen the index") from exc

    def stream(self, sql: str, parameters: Sequence[Any] = ()) -> Iterator[tuple[Any, ...]]:
        """As query, a row at a time."""
        try:
            yield from self._connection().execute(sql, parameters)
        except sqlite3.Error as exc:
            raise IndexLoadError(f"{self.path} is damaged or gone ({exc}); rebuild or reopen the index") from exc

    def close(self) -> None:
        """Close what this process opened; a connection of the parent process is left to it."""
        with self._locks.setdefault(os.getpid(), threading.Lock()):
            mine = [self._connections.pop(key) for key in list(self._connections) if key[0] == os.getpid()]
        for connection in mine:
            connection.close()

    def _connection(self) -> sqlite3.Connection:
        key = (os.getpid(), threading.get_ident())
        connection = self._connections.get(key)
        if connection is None:
            # immutable: a published file never changes, so no locks are taken and read-only mounts work.
            uri = f"{self.path.absolute().as_uri()}?mode=ro&immutable=1"
            connection = sqlite3.connect(uri, uri=True, check_same_thread=False)  # closed by close(), whoever calls it
            with self._locks.setdefault(key[0], threading.Lock()):
                self._connections[key] = connection
                self._forget_ended_threads()
        return connection

    def _forget_ended_threads(self) -> None:
        alive = {thread.ident for thread in threading.enumerate()} | {threading.get_ident()}
        for key in [k for k in self._connections if k[0] == os.getpid() and k[1] not in alive]:
            self._connections.pop(key).close()


class RecordReader:
    """Records by id, and the ids that carry a caption, uri, sha256 or collection."""

    def __init__(self, path: Path) -> None:
        self.table = ReadOnlyTable(path)

    @cached_property
    def _there(self) -> list[str]:
        """The fields of a record that this version holds; those that an older one lacks are the last."""
        columns = {row[1] for row in self.table.query("PRAGMA table_info(records)")}
        return [name for name in (*_FIRST, *_LATER) if name in columns or name in _FIRST]

    @property
    def _columns(self) -> str:
        return ", ".join(f"records.{name}" for name in self._there)

    def __len__(self) -> int:
        """Number of records; ids run from 0 without gaps, which `index verify` checks."""
        return int(self.table.query("SELECT COALESCE(MAX(id) + 1, 0) FROM records")[0][0])

    def records(self, ids: Sequence[int]) -> list[Record]:
        """Records in the order of ids. Raises IndexLoadError for an id without one."""
        wanted = [int(i) for i in ids]
        found: dict[int, Record] = {}
        unique = list(dict.fromkeys(wanted))
        for start in range(0, len(unique), _AT_ONCE):
            some = unique[start : start + _AT_ONCE]
            marks = ",".join("?" * len(some))
            rows = self.table.query(f"SELECT {self._columns} FROM records WHERE id IN ({marks})", some)  # noqa: S608
            found.update((row[0], _record(row)) for row in rows)
        missing = [i for i in unique if i not in found]
        if missing:
            raise IndexLoadError(f"{self.table.path} has no record of id {missing[0]}; verify or rebuild the index")
        return [found[i] for i in wanted]

    def all(self) -> Iterator[Record]:
        """Every record by ascending id, without holding them."""
        for row in self.table.stream(f"SELECT {self._columns} FROM records ORDER BY id"):  # noqa: S608
            yield _record(row)

    def clusters(self) -> npt.NDArray[np.int64]:
        """(count, 2) by ascending id: the cluster, -1 where nobody has looked, and its size."""
        cluster = "cluster" if "cluster" in self._there else "-1"
        rows = self.table.query(f"SELECT {cluster}, cluster_size FROM records ORDER BY id")  # noqa: S608
        return np.array(rows, np.int64).reshape(-1, 2)

    def of_uri(self, uri: str) -> list[Record]:
        """Records with this uri, by ascending id; several where sources hold pictures of one name."""
        sql = f"SELECT {self._columns} FROM records WHERE uri = ? ORDER BY id"  # noqa: S608
        return [_record(row) for row in self.table.query(sql, (storable(uri),))]

    def uri_like(self, uri: str) -> str:
        """The uri that was meant by one that is not there: a part of its path, or a path that ends with it; else ""."""
        parts = uri.split("/")
        tails = ["/".join(parts[i:]) for i in range(1, len(parts))]
        held = self._ids_by("uri", [storable(tail) for tail in tails if tail])
        longer = "SELECT uri FROM records WHERE substr(uri, -length(?1)) = ?1 ORDER BY id LIMIT 1"
        ending = [] if held or not parts[-1] else self.table.query(longer, (storable(f"/{uri}"),))
        return max(held, key=len) if held else str(ending[0][0]) if ending else ""

    def search_captions(
        self, words: str, limit: int = 50, *, offset: int = 0, where: RecordFilter | Amended | None = None
    ) -> list[Record]:
        """Records whose caption holds all the words, best first (BM25); see guard.indexes.selection.caption_match.

        Of more than MOST_RANKED, the first so many by id are ranked: words that so many captions share tell little.
        """
        matching, parameters = _captioned(words, where)
        if not matching:
            return []
        matched = f"SELECT captions.rowid AS hit, captions.rank AS place {matching} LIMIT {MOST_RANKED}"
        shown = f"SELECT hit, place FROM ({matched}) ORDER BY place, hit LIMIT ? OFFSET ?"  # noqa: S608
        sql = f"SELECT {self._columns} FROM ({shown}) JOIN records ON records.id = hit ORDER BY place, hit"  # noqa: S608
        return [_record(row) for row in self.table.query(sql, (*parameters, limit, offset))]

    def count_captions(self, words: str, where: RecordFilter | Amended | None = None) -> int:
        """How many captions hold all the words."""
        matching, parameters = _captioned(words, where)
        return int(self.table.query(f"SELECT COUNT(*) {matching}", parameters)[0][0]) if matching else 0

    def captioned(self) -> bool:
        """Whether any record has a caption."""
        return bool(self.table.query("SELECT EXISTS (SELECT 1 FROM records WHERE caption != '')")[0][0])

    def ids_accepted(self, where: RecordFilter | Amended, words: str | None = None) -> npt.NDArray[np.int64]:
        """Ids, ascending, of the records that the filter accepts and whose caption holds all the words, if any."""
        if words is None:
            condition, parameters = where.condition()
            sql = f"SELECT id FROM records WHERE {condition} ORDER BY id"  # noqa: S608
        else:
            matching, parameters = _captioned(words, where)
            if not matching:
                return np.zeros(0, np.int64)
            sql = f"SELECT captions.rowid {matching} ORDER BY captions.rowid"
        return np.array([row[0] for row in self.table.query(sql, parameters)], np.int64)

    def find(self, records: Sequence[Record]) -> list[int]:
        """Ids here of records of another index: by uri, else by SHA-256, else -1."""
        by_uri = self._ids_by("uri", [record.uri for record in records])
        missing = [r.sha256 for r in records if r.uri not in by_uri and r.sha256]
        by_sha256 = self._ids_by("sha256", missing)
        return [by_uri.get(r.uri, by_sha256.get(r.sha256, -1)) for r in records]

    def _ids_by(self, column: str, values: Sequence[str]) -> dict[str, int]:
        """Lowest id of each value that is there."""
        found: dict[str, int] = {}
        for start in range(0, len(values), _AT_ONCE):
            some = values[start : start + _AT_ONCE]
            marks = ",".join("?" * len(some))
            sql = f"SELECT {column}, MIN(id) FROM records WHERE {column} IN ({marks}) GROUP BY {column}"  # noqa: S608
            found.update(self.table.query(sql, some))
        return found

    def ids_where(
        self,
        *,
        ids: Iterable[int] = (),
        uris: Iterable[str] = (),
        sha256s: Iterable[str] = (),
        collections: Iterable[str] = (),
    ) -> set[int]:
        """Ids of the records that have any of these."""
        found: set[int] = set()
        for i in (i for i in ids if 0 <= i < 1 << 63):  # SQLite has no larger numbers
            found.update(r[0] for r in self.table.query("SELECT id FROM records WHERE id = ?", (i,)))
        for uri in uris:
            found.update(r[0] for r in self.table.query("SELECT id FROM records WHERE uri = ?", (uri,)))
        for sha256 in sha256s:
            found.update(r[0] for r in self.table.query("SELECT id FROM records WHERE sha256 = ?", (sha256.lower(),)))
        for name in collections:
            sql = "SELECT records.id FROM records, json_each(records.collections) WHERE json_each.value = ?"
            found.update(r[0] for r in self.table.query(sql, (name,)))
        return found

    def close(self) -> None:
        self.table.close()


class BlobReader:
    """path: of one of BLOBS."""

    def __init__(self, path: Path) -> None:
        self.table = ReadOnlyTable(path)
        self._sql = f"SELECT data FROM {BLOBS[path.name]} WHERE id = ?"  # noqa: S608

    def of(self, id: int) -> bytes | None:  # noqa: A002
        """What was stored of a reference, as it was stored; None if nothing was."""
        rows = self.table.query(self._sql, (int(id),))
        return bytes(rows[0][0]) if rows else None

    def empty(self) -> bool:
        """Whether nothing was stored of any reference."""
        return not self.table.query(self._sql.partition(" WHERE ")[0] + " LIMIT 1", ())

    def close(self) -> None:
        self.table.close()


def _captioned(words: str, where: RecordFilter | Amended | None) -> tuple[str, list[Any]]:
    """FROM and WHERE of a search by words, with its parameters; "" if there is no word."""
    match = caption_match(words)
    if not match:
        return "", []
    if not where:
        return "FROM captions WHERE captions MATCH ?", [match]
    condition, parameters = where.condition()
    joined = "FROM captions JOIN records ON records.id = captions.rowid WHERE captions MATCH ? AND "
    return joined + condition, [match, *parameters]


def _record(row: tuple[Any, ...]) -> Record:
    return Record(row[0], row[1], row[2], row[3], tuple(json.loads(row[4])), *row[5:])
