"""The overlays of indexes that become one. Knows what contradicts; a doubt is decided for what protects."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from guard.errors import ConfigError
from guard.indexes.overlay_file import OVERLAY, errors, open_for_reading, require_sound, writing
from guard.types import Collection

__all__ = ["merge_overlays"]

Row = tuple[Any, ...]
_COPIED = {
    "additions": "key, uri, sha256, caption, vectors, hash, thumbnail",
    "pairs": "key, descriptor, who, why, since, until",
    "history": "time, who, action, key, detail",
}


def merge_overlays(indexes: Sequence[Path], out: Path, *, identity: str) -> None:
    """Add the entries of the indexes' overlays to that of the folder out; nothing if none of them has one.

    Of a collection that one gives and another takes, `allow` is taken and any other given; of two ends the later one
    holds for what protects and the earlier for what excuses. identity: see guard.indexes.overlay.identity_of.
    Raises ConfigError for an overlay with another embedder's descriptors, and as guard.indexes.overlay_file.errors.
    """
    read = [_read(index / OVERLAY, identity) for index in indexes if (index / OVERLAY).exists()]
    if not read:
        return
    with writing(out / OVERLAY) as connection:
        connection.execute("INSERT OR REPLACE INTO about VALUES ('embedder', ?)", (identity,))
        for tables in read:
            for name, columns in _COPIED.items():
                marks = ", ".join("?" * len(columns.split(", ")))
                verb = "INSERT OR REPLACE" if name == "additions" else "INSERT"
                connection.executemany(f"{verb} INTO {name} ({columns}) VALUES ({marks})", tables[name])
            for row in tables["memberships"]:
                _settle_membership(connection, row)
            for row in tables["tombstones"]:
                _settle_tombstone(connection, row)


def _read(path: Path, identity: str) -> dict[str, list[Row]]:
    with errors(path), closing(open_for_reading(path)) as connection:
        require_sound(connection, path)
        connection.execute("BEGIN")
        tables = {
            name: connection.execute(f"SELECT {columns} FROM {name} ORDER BY rowid").fetchall()  # noqa: S608
            for name, columns in _COPIED.items()
        }
        for name in ("memberships", "tombstones"):
            tables[name] = connection.execute(f"SELECT * FROM {name}").fetchall()  # noqa: S608
        stored = connection.execute("SELECT value FROM about WHERE name = 'embedder'").fetchone()
    if (tables["additions"] or tables["pairs"]) and (stored is None or stored[0] != identity):
        raise ConfigError(f"{path} holds descriptors of another embedder than its index; they cannot be merged")
    return tables


def _settle_membership(connection: sqlite3.Connection, row: Row) -> None:
    key, collection, member, *_, until = row
    sql = "SELECT * FROM memberships WHERE key = ? AND collection = ?"
    other = connection.execute(sql, (key, collection)).fetchone()
    if other is not None:
        wins = 0 if collection == Collection.ALLOW else 1
        if other[2] != member:
            row = row if member == wins else other
        else:
            protects = bool(member) and collection != Collection.ALLOW
            row = (*row[:-1], _end(until, other[-1], later=protects))
    connection.execute("INSERT OR REPLACE INTO memberships VALUES (?, ?, ?, ?, ?, ?, ?)", row)


def _settle_tombstone(connection: sqlite3.Connection, row: Row) -> None:
    other = connection.execute("SELECT until FROM tombstones WHERE key = ?", (row[0],)).fetchone()
    if other is not None:
        row = (*row[:-1], _end(row[-1], other[0], later=False))
    connection.execute("INSERT OR REPLACE INTO tombstones VALUES (?, ?, ?, ?, ?)", row)


def _end(one: float | None, other: float | None, *, later: bool) -> float | None:
    """The later or the earlier of two ends; None is never."""
    if one is None or other is None:
        known = other if one is None else one
        return None if later else known
    return max(one, other) if later else min(one, other)
