"""Rows in a file of the user's choice: JSON lines, CSV or Parquet, by its suffix. Knows no column's meaning."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from guard.errors import ConfigError, MissingExtraError
from guard.sources.captions import table_rows
from guard.sources.parquet import open_parquet
from guard.wholefile import whole_file

__all__ = ["SUFFIXES", "Kind", "read_rows", "write_lines", "write_rows"]

SUFFIXES = (".jsonl", ".csv", ".parquet")
Kind = Literal["text", "whole", "number", "texts"]
"""Of a column: a string, an integer, a float, a list of strings. Any value may be None."""


def write_rows(rows: Sequence[Mapping[str, Any]], path: Path, columns: Mapping[str, Kind]) -> None:
    """Write rows with these columns, or some of them, all or nothing; CSV joins lists with ";".

    Raises ConfigError for another suffix or a file that cannot be written, MissingExtraError without pyarrow.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise ConfigError(f"{path}: write a file that ends in {', '.join(SUFFIXES)}")
    with whole_file(path) as new:
        if suffix == ".jsonl":
            new.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="ascii")
        elif suffix == ".csv":
            _csv(rows, new, columns)
        else:
            _parquet(rows, new, columns)


def write_lines(lines: Sequence[str], path: Path) -> None:
    """Write a line each, all or nothing; what is no Unicode with its bytes escaped. Raises ConfigError."""
    with whole_file(path) as new:
        new.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", errors="backslashreplace")


def read_rows(path: Path) -> Iterator[dict[str, Any]]:
    """Rows of a .jsonl, .csv, .tsv or .parquet file, one at a time. Raises ConfigError naming what is broken."""
    if not path.is_file():
        raise ConfigError(f"{path} does not exist")
    if path.suffix.lower() == ".parquet":
        for batch in open_parquet(path).iter_batches(4096):
            yield from batch.to_pylist()
    else:
        yield from table_rows(path)


def _csv(rows: Sequence[Mapping[str, Any]], path: Path, columns: Mapping[str, Kind]) -> None:
    with path.open("w", encoding="utf-8", newline="", errors="backslashreplace") as file:
        writer = csv.DictWriter(file, list(columns))
        writer.writeheader()
        for row in rows:
            writer.writerow({n: ";".join(v) if columns[n] == "texts" else v for n, v in row.items()})


def _parquet(rows: Sequence[Mapping[str, Any]], path: Path, columns: Mapping[str, Kind]) -> None:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as exc:
        raise MissingExtraError("writing Parquet", extra="parquet") from exc
    kinds = {"text": pa.string(), "whole": pa.int64(), "number": pa.float64(), "texts": pa.list_(pa.string())}
    schema = pa.schema([(name, kinds[kind]) for name, kind in columns.items()])
    valid = [{n: _valid(v) if columns[n] == "text" else v for n, v in row.items()} for row in rows]
    pq.write_table(pa.Table.from_pylist(valid, schema=schema), path, compression="zstd")


def _valid(text: str | None) -> str | None:
    """Names of files may hold what is no Unicode; Parquet takes none of that."""
    return None if text is None else text.encode("utf-8", "backslashreplace").decode()
