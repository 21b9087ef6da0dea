"""Hits into a file for other tools: JSON lines, CSV, Parquet. Knows columns and files; searches nothing."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from guard.errors import ConfigError, MissingExtraError
from guard.search.query import MAX_LIMIT, SearchHit, SearchQuery
from guard.search.searcher import Searcher
from guard.wholefile import whole_file

__all__ = ["FORMATS", "all_hits", "write_hits"]

COLUMNS = (
    "id", "uri", "sha256", "caption", "collections", "cluster_size", "similarity", "pdq_bits", "meaning"
)  # fmt: skip


def all_hits(searcher: Searcher, query: SearchQuery, most: int) -> Iterator[SearchHit]:
    """The first `most` hits from query.offset on, in order, a page at a time."""
    offset, end = query.offset, query.offset + most
    while offset < end:
        page = searcher.search(replace(query, offset=offset, limit=min(MAX_LIMIT, end - offset)))
        yield from page.hits
        offset += len(page.hits)
        if not page.more:
            return


def write_hits(hits: Iterable[SearchHit], path: Path) -> int:
    """Write them in the format that the suffix names, all or nothing; returns how many.

    Raises ConfigError for another suffix or a file that cannot be written, MissingExtraError without pyarrow.
    """
    write = FORMATS.get(path.suffix.lower())
    if write is None:
        raise ConfigError(f"{path}: hits are written as {', '.join(FORMATS)}; name a file that ends so")
    rows = [hit.to_dict() for hit in hits]
    with whole_file(path) as new:
        write(rows, new)
    return len(rows)


def _jsonl(rows: list[dict[str, Any]], path: Path) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="ascii")


def _csv(rows: list[dict[str, Any]], path: Path) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows({**row, "collections": ";".join(row["collections"])} for row in rows)


def _parquet(rows: list[dict[str, Any]], path: Path) -> None:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as exc:
        raise MissingExtraError("writing Parquet", extra="parquet") from exc
    text, number, whole = pa.string(), pa.float64(), pa.int64()
    kinds = (whole, text, text, text, pa.list_(text), whole, number, whole, number)
    schema = pa.schema(list(zip(COLUMNS, kinds, strict=True)))
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), path, compression="zstd")


FORMATS: Mapping[str, Callable[[list[dict[str, Any]], Path], None]] = MappingProxyType(
    {".jsonl": _jsonl, ".csv": _csv, ".parquet": _parquet}
)
