"""What every SQLite file of ours shares: transactions, WAL mode, and what an error means. Knows no table."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

__all__ = ["is_new", "reason_of", "statements", "transaction", "use_wal"]


def is_new(connection: sqlite3.Connection) -> bool:
    """True for a file without tables that no software has marked as its own."""
    count: int = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    return count == 0 and connection.execute("PRAGMA application_id").fetchone()[0] == 0


def use_wal(connection: sqlite3.Connection, wait_s: float) -> None:
    """Raises sqlite3.OperationalError if other processes hold the file for longer than wait_s."""
    end = time.monotonic() + wait_s
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as exc:
            # SQLite itself does not wait for this lock. Contended once, when several processes make one file.
            if reason_of(exc) != "locked" or time.monotonic() >= end:
                raise
            time.sleep(0.01)
        else:
            return


def statements(script: str) -> Iterator[str]:
    """Single statements: executescript would commit the transaction that they belong to."""
    statement = ""
    for part in script.split(";"):
        statement += part + ";"
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """All or nothing, on a connection that commits each statement by itself otherwise."""
    connection.execute("BEGIN IMMEDIATE")  # waits for other writers here, and not in the middle
    try:
        yield
    except BaseException:
        with suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


_PRIMARY = {
    sqlite3.SQLITE_BUSY: "locked",
    sqlite3.SQLITE_LOCKED: "locked",
    sqlite3.SQLITE_FULL: "disk",
    sqlite3.SQLITE_IOERR: "disk",
    sqlite3.SQLITE_READONLY: "unwritable",
    sqlite3.SQLITE_CANTOPEN: "unwritable",
    sqlite3.SQLITE_PERM: "unwritable",
    sqlite3.SQLITE_CORRUPT: "damaged",
    sqlite3.SQLITE_NOTADB: "damaged",
}


def reason_of(error: sqlite3.Error) -> str:
    """ "locked", "disk", "unwritable", "damaged", or "error" for anything else."""
    return _PRIMARY.get(getattr(error, "sqlite_errorcode", 0) & 0xFF, "error")
