"""overlay.sqlite: its tables, how it is opened, and what its errors mean. Knows SQL; not what an entry does.

WAL mode: readers never wait for the writer, and a process that is killed in a write leaves the state before it. Every
commit is synced. Deleted rows are overwritten with zeros (secure_delete).
"""

from __future__ import annotations

import os
import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from guard.database import reason_of, statements, transaction, use_wal
from guard.errors import ConfigError, GuardError, IndexLoadError, IndexLockedError
from guard.indexes.layout import sync_path

__all__ = [
    "FIRST_ID",
    "FORMAT",
    "OVERLAY",
    "errors",
    "open_for_reading",
    "open_for_writing",
    "require_sound",
    "writing",
]

OVERLAY = "overlay.sqlite"
APPLICATION_ID = 0x4D474F56  # "MGOV", in the header of the file
FORMAT = 1
FIRST_ID = 1 << 52
"""Ids of added references begin here: above any row of an index, below 2^53, where JSON's numbers lose their last
digit in other languages. An id is never used again."""
WAIT_S = 5.0  # for another writer
_WAL_BYTES = 4 << 20  # the file beside is cut to this after a checkpoint

TABLES = """
    CREATE TABLE about (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE additions (
        id INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL UNIQUE, uri TEXT NOT NULL, sha256 TEXT NOT NULL,
        caption TEXT NOT NULL, vectors BLOB NOT NULL, hash BLOB, thumbnail BLOB);
    CREATE TABLE memberships (
        key TEXT NOT NULL, collection TEXT NOT NULL, member INTEGER NOT NULL, who TEXT NOT NULL, why TEXT NOT NULL,
        since REAL NOT NULL, until REAL, PRIMARY KEY (key, collection));
    CREATE TABLE pairs (
        id INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL, descriptor BLOB NOT NULL, who TEXT NOT NULL,
        why TEXT NOT NULL, since REAL NOT NULL, until REAL);
    CREATE INDEX pairs_key ON pairs(key);
    CREATE TABLE tombstones (
        key TEXT PRIMARY KEY, who TEXT NOT NULL, why TEXT NOT NULL, since REAL NOT NULL, until REAL);
    CREATE TABLE history (
        seq INTEGER PRIMARY KEY AUTOINCREMENT, time REAL NOT NULL, who TEXT NOT NULL, action TEXT NOT NULL,
        key TEXT NOT NULL, detail TEXT NOT NULL);
    CREATE INDEX history_key ON history(key);
    CREATE TRIGGER history_stays BEFORE DELETE ON history
        BEGIN SELECT RAISE(ABORT, 'the history is append-only'); END;
    CREATE TRIGGER history_is_not_rewritten BEFORE UPDATE ON history
        WHEN NEW.seq IS NOT OLD.seq OR NEW.time IS NOT OLD.time OR NEW.who IS NOT OLD.who
            OR NEW.action IS NOT OLD.action OR NEW.key != '' OR NEW.detail != ''
        BEGIN SELECT RAISE(ABORT, 'the history is append-only'); END;
"""
"""key: see guard.indexes.overlay.key_of. vectors, descriptor: little-endian float32 rows as the embedder makes them.
until: seconds since the epoch, NULL for ever. A row of the history can only lose its key and detail, by a purge."""


def open_for_writing(path: Path, *, wait_s: float = WAIT_S) -> sqlite3.Connection:
    """Open an overlay; make it if there is none. Raises sqlite3.Error, OSError, or IndexLoadError for another file."""
    if not path.exists():
        _make(path)
    connection = sqlite3.connect(path, timeout=wait_s, isolation_level=None, check_same_thread=False)
    try:
        _require_ours(connection, path)
        use_wal(connection, wait_s)
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA secure_delete = ON")
        connection.execute("PRAGMA temp_store = MEMORY")  # a purge copies the file; not into a folder for temporaries
        connection.execute(f"PRAGMA journal_size_limit = {_WAL_BYTES}")
    except BaseException:
        connection.close()
        raise
    return connection


def _make(path: Path) -> None:
    """A finished file gets the name in one step: an empty one of that name is always damage, and never a beginning."""
    new = path.with_name(f"{path.name}.new-{secrets.token_hex(4)}")
    try:
        with closing(sqlite3.connect(new, isolation_level=None)) as connection, transaction(connection):
            for statement in statements(TABLES):
                connection.execute(statement)
            connection.execute("INSERT INTO sqlite_sequence VALUES ('additions', ?)", (FIRST_ID - 1,))
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {FORMAT}")
        sync_path(new)
        try:
            os.link(new, path)
        except FileExistsError:  # another process was first
            return
        except OSError:  # a file system without second names
            new.rename(path)
        sync_path(path.parent)
    finally:
        new.unlink(missing_ok=True)


def open_for_reading(path: Path, *, immutable: bool = False, wait_s: float = 1.0) -> sqlite3.Connection:
    """Open an overlay that exists. immutable: without locks, for a file that nobody changes while it is open.

    Raises sqlite3.Error, or IndexLoadError for a file that is no overlay, or one of another format.
    """
    uri = f"{path.absolute().as_uri()}?mode=ro" + ("&immutable=1" if immutable else "")
    connection = sqlite3.connect(uri, uri=True, timeout=wait_s, isolation_level=None, check_same_thread=False)
    try:
        _require_ours(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection


def require_sound(connection: sqlite3.Connection, path: Path) -> None:
    """Look at the whole file, some 3 ms a megabyte. Raises IndexLoadError."""
    (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if found != "ok":
        raise IndexLoadError(_damaged(path, found.replace("\n", " ")))


@contextmanager
def writing(path: Path) -> Iterator[sqlite3.Connection]:
    """One transaction on the overlay, which is looked at first: nothing is built on damage. Raises as `errors` does."""
    with errors(path, write=True), closing(open_for_writing(path)) as connection:
        require_sound(connection, path)
        with transaction(connection):
            yield connection


@contextmanager
def errors(path: Path, *, write: bool = False) -> Iterator[None]:
    """SQLite's errors as ours, naming the file.

    Raises IndexLockedError if other processes hold it, IndexLoadError if it is damaged or cannot be read, ConfigError
    if it cannot be written, GuardError for a full disk.
    """
    try:
        yield
    except sqlite3.Error as exc:
        reason = reason_of(exc)
        if reason == "locked":
            raise IndexLockedError(f"{path} is being written by another process; try again") from exc
        if reason == "disk":
            raise GuardError(f"{path} cannot be written ({exc}); make room, then do it again") from exc
        if reason == "unwritable" and write:
            raise ConfigError(f"{path} cannot be written ({exc}); see who may write this folder") from exc
        raise IndexLoadError(_damaged(path, exc)) from exc
    except OSError as exc:
        raise ConfigError(f"{path} cannot be written ({exc.strerror}); see who may write this folder") from exc


def _damaged(path: Path, why: object) -> str:
    return (
        f"{path} is damaged or cannot be read ({why}); put back a copy of it. Moved away, everything that it protects, "
        "allows and exempts counts no more"
    )


def _require_ours(connection: sqlite3.Connection, path: Path) -> None:
    if connection.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
        raise IndexLoadError(_damaged(path, "it is empty, or a database of other software"))
    found = connection.execute("PRAGMA user_version").fetchone()[0]
    if found != FORMAT:
        raise IndexLoadError(
            f"{path} is an overlay of format {found}, this version reads {FORMAT}: use the version that wrote it"
        )
