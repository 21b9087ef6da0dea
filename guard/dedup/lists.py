"""Keep-list and drop-list: CSV, Parquet, and the keys of a webdataset. Knows columns; chooses nothing."""

from __future__ import annotations

import csv
import sqlite3
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from guard.dedup.find import Duplicates
from guard.dedup.material import Material
from guard.indexes.cluster_rows import Ids
from guard.sources.webdataset import TAR_SUFFIXES, sample_key
from guard.types import Record
from guard.wholefile import whole_file

__all__ = ["COLUMNS", "KEYS", "Listed", "Why", "write_lists"]

KEYS = "keep.keys"
COLUMNS = (
    "id", "uri", "sha256", "width", "height", "cluster", "cluster_size",
    "stays_id", "stays_uri", "why", "similarity", "pdq_bits",
)  # fmt: skip
"""Of both lists. The last five say of a dropped picture which one stays for it, and how alike the two are."""
_ROWS = 4096  # a row group of Parquet

Why = str
"""Why a picture is dropped: it has the "bytes" or the "pixels" of the one that stays, or is "near" it."""


@dataclass(frozen=True, slots=True)
class Listed:
    kept: int
    dropped: dict[Why, int]
    files: tuple[str, ...]
    """Names of what was written."""
    note: str = ""
    """What was not written, and why."""


def write_lists(folder: Path, found: Duplicates, stays: Ids, material: Material) -> Listed:
    """Write keep.csv and drop.csv, the same as Parquet where pyarrow is installed, and keep.keys for tar shards.

    stays: (count,) the id that stays for each reference, as guard.dedup.choose gives it. Each file is written whole or
    not at all. keep.keys holds a key a line, and is left out where one key stands in two shards.
    """
    dropped: Counter[Why] = Counter()
    kept, files, sizes = 0, ["keep.csv", "drop.csv"], found.sizes
    with ExitStack() as stack, _Keys(folder / KEYS) as keys:
        lists = [_csv(stack, folder / "keep.csv"), _csv(stack, folder / "drop.csv")]
        if find_spec("pyarrow"):
            files += ["keep.parquet", "drop.parquet"]
            also = [_parquet(stack, folder / name) for name in ("keep.parquet", "drop.parquet")]
            lists = [_both(*pair) for pair in zip(lists, also, strict=True)]
        for record in material.records():
            row = _row(record, int(sizes[record.id]), found, stays, material)
            if row["why"] is None:
                kept += 1
                keys.add(record.uri)
                lists[0](row)
            else:
                dropped[row["why"]] += 1
                lists[1](row)
    if keys.written:
        files.append(KEYS)
    return Listed(kept, dict(sorted(dropped.items())), tuple(files), keys.note)


def _row(record: Record, size: int, found: Duplicates, stays: Ids, material: Material) -> dict[str, Any]:
    stayer = int(stays[record.id])
    row: dict[str, Any] = dict.fromkeys(COLUMNS)
    row |= {
        "id": record.id,
        "uri": record.uri,
        "sha256": record.sha256,
        "width": record.width,
        "height": record.height,
        "cluster": int(found.cluster[record.id]),
        "cluster_size": size,
    }
    if stayer != record.id:
        (other,) = material.index.records([stayer])
        one, two = np.array([record.id]), np.array([stayer])
        near = "near"
        if record.sha256 and record.sha256 == other.sha256:
            near = "bytes"
        elif found.exact[record.id] == found.exact[stayer]:
            near = "pixels"
        similarity = round(float(material.similarity(one, two)[0]), 6)
        bits = material.bits(one, two)[0]
        row |= {"stays_id": stayer, "stays_uri": other.uri, "why": near, "similarity": similarity, "pdq_bits": bits}
    return row


Sink = Callable[[dict[str, Any]], None]


def _both(one: Sink, other: Sink) -> Sink:
    def write(row: dict[str, Any]) -> None:
        one(row)
        other(row)

    return write


def _csv(stack: ExitStack, path: Path) -> Sink:
    new = stack.enter_context(whole_file(path))
    writer = csv.DictWriter(stack.enter_context(new.open("w", encoding="utf-8", newline="")), COLUMNS)
    writer.writeheader()
    return writer.writerow


def _parquet(stack: ExitStack, path: Path) -> Sink:
    import pyarrow as pa
    import pyarrow.parquet as pq

    kinds = {"uri": pa.string(), "sha256": pa.string(), "stays_uri": pa.string(), "why": pa.string()}
    kinds["similarity"] = pa.float64()
    schema = pa.schema([(name, kinds.get(name, pa.int64())) for name in COLUMNS])
    new = stack.enter_context(whole_file(path))
    writer = stack.enter_context(pq.ParquetWriter(new, schema, compression="zstd"))
    waiting: list[dict[str, Any]] = []

    def flush() -> None:
        writer.write_table(pa.Table.from_pylist(waiting, schema=schema))
        waiting.clear()

    def write(row: dict[str, Any]) -> None:
        waiting.append(row)
        if len(waiting) >= _ROWS:
            flush()

    stack.callback(flush)
    return write


class _Keys:
    """Keys of the samples whose picture stays, in their order, once each."""

    def __init__(self, path: Path) -> None:
        self.written, self.note = False, ""
        self._path = path
        self._shards: bool | None = None  # whether every picture came out of a tar

    def __enter__(self) -> _Keys:
        self._db = sqlite3.connect("")  # "": a temporary file, once it outgrows a cache
        self._db.execute("CREATE TABLE keys (n INTEGER PRIMARY KEY, key TEXT UNIQUE, shard TEXT)")
        return self

    def add(self, uri: str) -> None:
        shard, _, member = uri.partition("/")
        self._shards = self._shards is not False and shard.endswith(TAR_SUFFIXES) and bool(member)
        if not self._shards or self.note:
            return
        key = sample_key(member)
        self._db.execute("INSERT OR IGNORE INTO keys (key, shard) VALUES (?, ?)", (key, shard))
        ((where,),) = self._db.execute("SELECT shard FROM keys WHERE key = ?", (key,))
        if where != shard:
            self.note = f"no {KEYS}: key {key!r} stands in {where} and in {shard}; use the uris of keep.csv"

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        with closing(self._db):
            if kind is not None:
                return
            if not self._shards or self.note:
                self._path.unlink(missing_ok=True)  # of an earlier run
                return
            with whole_file(self._path) as new, new.open("w", encoding="utf-8") as file:
                file.writelines(f"{key}\n" for (key,) in self._db.execute("SELECT key FROM keys ORDER BY n"))
            self.written = True
