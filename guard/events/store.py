"""The SQLite file of the log: its tables, how it is opened, bounded and set aside. Knows no thread and no verdict.

WAL mode: a process that is killed loses nothing that was committed, and readers never wait for a writer. Every
commit is synced, so that a power cut loses nothing either.
"""

from __future__ import annotations

import logging
import os
import secrets
import sqlite3
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from guard import database
from guard.database import is_new, statements, transaction, use_wal

__all__ = [
    "COLUMNS",
    "DamagedError",
    "ForeignFileError",
    "file_id",
    "insert",
    "open_file",
    "prune",
    "reason_of",
    "require_sound",
    "set_aside",
]

logger = logging.getLogger("guard.events")

APPLICATION_ID = 0x4D474556  # "MGEV", in the header of the file
FORMAT = 1
COLUMNS = "id, time, pipeline, mode, status, decision, action, prompt, prompt_hash, detail, thumbnail, descriptor"
_TABLES = """
    CREATE TABLE events (
        seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, time REAL NOT NULL, pipeline TEXT NOT NULL,
        mode TEXT NOT NULL, status TEXT NOT NULL, decision TEXT, action TEXT NOT NULL, prompt TEXT, prompt_hash TEXT,
        detail TEXT NOT NULL, thumbnail BLOB, descriptor BLOB, outcome TEXT);
    CREATE INDEX events_time ON events(time);
    CREATE INDEX events_decision ON events(decision, outcome);
    CREATE INDEX events_prompt ON events(prompt_hash) WHERE prompt_hash IS NOT NULL;
    CREATE TABLE reviews (
        seq INTEGER PRIMARY KEY AUTOINCREMENT, event TEXT NOT NULL, time REAL NOT NULL, outcome TEXT,
        who TEXT NOT NULL, note TEXT NOT NULL);
    CREATE INDEX reviews_event ON reviews(event);
    CREATE TRIGGER events_gone AFTER DELETE ON events BEGIN DELETE FROM reviews WHERE event = old.id; END;
"""
"""events.outcome is what the reviews come to; reviews.outcome is NULL where one takes the last back."""
_AT_ONCE = 500  # rows or pages a transaction, so that other writers wait for milliseconds
_WAL_BYTES = 4 << 20  # the file beside is cut to this after a checkpoint


class DamagedError(Exception):
    """SQLite opens the file, and its pages do not fit together."""


class ForeignFileError(Exception):
    """A database of other software, or a log of a later format: it is left alone."""


def open_file(path: Path, *, wait_s: float = 5.0) -> sqlite3.Connection:
    """Open a log for writing; make it if there is none, or an empty file. One thread at a time may use it.

    wait_s: how long each statement waits for another writer. Raises sqlite3.Error, or ForeignFileError.
    """
    connection = sqlite3.connect(path, timeout=wait_s, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # holds for a new file alone
        if is_new(connection):
            with transaction(connection):
                if is_new(connection):  # another process may have been first
                    for statement in statements(_TABLES):
                        connection.execute(statement)
                    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                    connection.execute(f"PRAGMA user_version = {FORMAT}")
        _require_ours(connection, path)
        use_wal(connection, wait_s)
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(f"PRAGMA journal_size_limit = {_WAL_BYTES}")
    except BaseException:
        connection.close()
        raise
    return connection


def require_sound(connection: sqlite3.Connection) -> None:
    """Look at the whole file, some 3 ms a megabyte. Raises DamagedError."""
    (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if found != "ok":
        raise DamagedError(found.replace("\n", " "))


def _require_ours(connection: sqlite3.Connection, path: Path) -> None:
    if connection.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
        raise ForeignFileError(f"{path} is a database of other software; name another file")
    found = connection.execute("PRAGMA user_version").fetchone()[0]
    if found != FORMAT:
        raise ForeignFileError(f"{path} is a log of format {found}, this version writes {FORMAT}; name another file")


def insert(connection: sqlite3.Connection, rows: Sequence[tuple[Any, ...]]) -> None:
    """Add rows of COLUMNS, all or none; an id that is there already is left as it is, so that a retry is safe."""
    marks = ", ".join("?" * len(COLUMNS.split(", ")))
    with transaction(connection):
        sql = f"INSERT INTO events ({COLUMNS}) VALUES ({marks}) ON CONFLICT(id) DO NOTHING"  # noqa: S608
        connection.executemany(sql, rows)


def prune(connection: sqlite3.Connection, *, older_than: float | None, max_bytes: float | None) -> int:
    """Delete events from before a time (seconds since the epoch), then the oldest until the file fits; how many went.

    A file that is too large is brought to nine tenths of its bound, so that not every event prunes.
    """
    removed = 0
    if older_than is not None:
        sql = "DELETE FROM events WHERE seq IN (SELECT seq FROM events WHERE time < ? ORDER BY time LIMIT ?)"
        while (gone := _delete(connection, sql, (older_than, _AT_ONCE))) > 0:
            removed += gone
    if max_bytes is not None and _used(connection) > max_bytes:
        sql = "DELETE FROM events WHERE seq IN (SELECT seq FROM events ORDER BY seq LIMIT ?)"
        while _used(connection) > 0.9 * max_bytes and (gone := _delete(connection, sql, (_share(connection),))) > 0:
            removed += gone
    while connection.execute("PRAGMA freelist_count").fetchone()[0]:
        connection.executescript(f"PRAGMA incremental_vacuum({_AT_ONCE})")  # execute would free one page and stop
    return removed


def _delete(connection: sqlite3.Connection, sql: str, parameters: tuple[Any, ...]) -> int:
    with transaction(connection):
        return connection.execute(sql, parameters).rowcount


def _used(connection: sqlite3.Connection) -> int:
    """Bytes of the file that hold something."""
    pages, free, size = (
        connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
    )
    return int((pages - free) * size)


def _share(connection: sqlite3.Connection) -> int:
    """One in twenty events."""
    count: int = connection.execute("SELECT count(*) FROM events").fetchone()[0]
    return min(_AT_ONCE, max(1, count // 20))


def file_id(path: Path) -> tuple[int, int] | None:
    """What tells a file from another one of the same name; None if there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def set_aside(path: Path, damaged: tuple[int, int] | None) -> Path | None:
    """Rename a damaged log and the files beside it, so that a new one can be made; nothing is deleted.

    damaged: `file_id` of the file that was found damaged; another file of that name is left alone, since another
    process was first. Returns the new name, None if nothing was renamed. Raises OSError.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        _lock(descriptor)
        if damaged is None or file_id(path) != damaged:
            return None
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        aside = path.with_name(f"{path.name}.damaged-{stamp}-{secrets.token_hex(4)}")  # a rename would overwrite
        path.rename(aside)
        for suffix in ("-wal", "-shm"):
            with suppress(FileNotFoundError):
                path.with_name(path.name + suffix).rename(aside.with_name(aside.name + suffix))
    finally:
        os.close(descriptor)
    return aside


def _lock(descriptor: int) -> None:
    with suppress(ImportError, OSError):  # without locks, two processes at once may set aside the new file as well
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX)


def reason_of(error: Exception) -> str:
    """One of guard.metrics.DROP_REASONS for an error while writing."""
    if isinstance(error, sqlite3.Error):
        return database.reason_of(error)
    if isinstance(error, DamagedError):
        return "damaged"
    return "unwritable" if isinstance(error, OSError | ForeignFileError) else "error"
