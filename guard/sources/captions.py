"""Captions and other columns of tables and sidecar files. Knows CSV, JSON lines and column names; no pictures."""

from __future__ import annotations

import csv
import json
import sqlite3
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from guard.errors import ConfigError

__all__ = [
    "CAPTION_COLUMNS",
    "MAX_CAPTION_BYTES",
    "METADATA_NAMES",
    "URL_COLUMNS",
    "Captions",
    "caption_of_json",
    "caption_of_text",
    "pick",
    "table_rows",
]

METADATA_NAMES = ("metadata.csv", "metadata.jsonl")
URL_COLUMNS = ("url", "URL", "image_url", "original_url")
CAPTION_COLUMNS = ("caption", "text", "prompt", "TEXT", "title", "description", "alt_text", "additional_feature")
"""Tried in this order where the caller names none."""
MAX_CAPTION = 10_000  # characters
MAX_CAPTION_BYTES = 1 << 20  # of one file that holds a caption


def pick(row: Mapping[str, Any], column: str | None, known: Sequence[str] = CAPTION_COLUMNS) -> str:
    """Text of the named column, or of the first known one that has any; "" if none has."""
    for name in (column,) if column else known:
        value = row.get(name)
        if isinstance(value, list) and value:
            value = value[0]  # several captions of one picture: the first
        if isinstance(value, str) and value.strip():
            return value.strip()[:MAX_CAPTION]
    return ""


def caption_of_text(data: bytes) -> str:
    return data.decode("utf-8-sig", "replace").strip()[:MAX_CAPTION]


def caption_of_json(data: bytes, column: str | None, known: Sequence[str] = CAPTION_COLUMNS) -> str:
    """Of a JSON object; "" if it is none, or has no such field: a caption is not worth a lost picture."""
    try:
        fields = json.loads(data)
    except ValueError:
        return ""
    return pick(fields, column, known) if isinstance(fields, dict) else ""


def table_rows(path: Path) -> Iterator[dict[str, Any]]:
    """Rows of a .csv (or .tsv) or .jsonl file, one at a time. Raises ConfigError naming the line that is broken."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            if path.suffix in (".csv", ".tsv"):
                csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
                yield from csv.DictReader(file, delimiter="\t" if path.suffix == ".tsv" else ",")
                return
            for number, line in enumerate(file, 1):
                if line.strip():
                    row = json.loads(line)
                    if not isinstance(row, dict):
                        raise ConfigError(f"{path}, line {number} is not a JSON object")
                    yield row
    except (ValueError, csv.Error, OSError) as exc:
        if isinstance(exc, ConfigError):
            raise
        raise ConfigError(f"{path} cannot be read as a table: {exc}") from exc


class Captions:
    """file_name -> caption of one metadata file, kept in a temporary SQLite file and not in memory."""

    def __init__(self, path: Path, column: str | None) -> None:
        """Raises ConfigError if it has no column file_name, or not the named caption column."""
        self._db = sqlite3.connect("", check_same_thread=False)  # "": a temporary file that SQLite deletes
        self._db.execute("CREATE TABLE captions (name TEXT PRIMARY KEY, caption TEXT NOT NULL) WITHOUT ROWID")
        self._db.executemany("INSERT OR REPLACE INTO captions VALUES (?, ?)", _named(path, column))
        self._db.commit()

    def get(self, name: str) -> str | None:
        """None if the file is not listed."""
        name = name.encode("utf-8", "replace").decode()
        row = self._db.execute("SELECT caption FROM captions WHERE name = ?", (name,)).fetchone()
        return row[0] if row else None

    def names(self) -> Iterator[str]:
        """Listed files, sorted."""
        for (name,) in self._db.execute("SELECT name FROM captions ORDER BY name"):
            yield name

    def __del__(self) -> None:
        if hasattr(self, "_db"):
            self._db.close()


def _named(path: Path, column: str | None) -> Iterator[tuple[str, str]]:
    for row in table_rows(path):
        name = row.get("file_name")
        if not isinstance(name, str) or not name:
            raise ConfigError(f"{path} has a row without file_name; each row names its picture relative to the file")
        if column and column not in row:
            raise ConfigError(f"{path} has no column {column!r}; it has {sorted(map(str, row))}")
        yield name.encode("utf-8", "replace").decode(), pick(row, column).encode("utf-8", "replace").decode()
