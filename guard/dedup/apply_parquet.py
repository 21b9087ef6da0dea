"""Parquet files without their duplicates: the rows that stay, in files of the same names. Decides nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from guard.dedup.fates import Applied, Fate, Fates
from guard.dedup.stage import filled
from guard.errors import ConfigError
from guard.sources.base import Skip
from guard.sources.parquet import ROWS, ParquetSource, open_parquet

__all__ = ["apply_parquet"]

GROUP = 128  # rows written together


def apply_parquet(
    source: ParquetSource,
    folder: Path,
    fates: Fates,
    applied: Applied,
    *,
    on_progress: Callable[[int], None] = lambda _done: None,
) -> None:
    """Fill a folder with a file for each file of the source, with all its columns. on_progress: rows done.

    Raises ConfigError for a source whose pictures lie outside of its files: their paths would lead nowhere.
    """
    if source.form == "path":
        raise ConfigError("this parquet holds paths of pictures, and no pictures: take the rows of keep.csv")
    done = 0
    for file in source.files:
        try:
            parquet = open_parquet(file)
        except ConfigError:
            applied.count(fates.of(file.name, size=0, modified=0, data=bytes))
            continue
        with ExitStack() as stack:
            writer = _Writer(folder / file.name, parquet.schema_arrow, stack)
            for row, batch, stays in _rows(source, file, parquet, fates, applied):
                writer.add(batch, stays)
                on_progress(done + row)
        done += parquet.metadata.num_rows
        applied.copied += 1


def _rows(
    source: ParquetSource, file: Path, parquet: Any, fates: Fates, applied: Applied
) -> Iterator[tuple[int, Any, list[bool]]]:
    """(rows so far, some of them with all columns, which of these stay), up to where a damaged file breaks off."""
    row = 0
    try:
        for batch in parquet.iter_batches(ROWS, use_threads=False):
            found = [_fate(source, file, row + i, one, fates) for i, one in enumerate(_fields(batch, source))]
            for fate in found:
                applied.count(fate)
            row += len(found)
            yield row, batch, [fate is Fate.STAYS for fate in found]
    except (OSError, ValueError) as exc:  # pyarrow's own errors are among these
        if isinstance(exc, ConfigError):
            raise
        applied.count(fates.of(file.name, size=0, modified=0, data=bytes))


def _fields(batch: Any, source: ParquetSource) -> list[dict[str, Any]]:
    fields: list[dict[str, Any]] = batch.select(source.columns).to_pylist()
    return fields


class _Writer:
    """A file in the making; one that is there already is left as it is."""

    def __init__(self, path: Path, schema: Any, stack: ExitStack) -> None:
        self._waiting: list[Any] = []
        self._schema, self._writer = schema, None
        if not path.exists():
            new = stack.enter_context(filled(path))
            self._writer = stack.enter_context(_pq().ParquetWriter(new, schema, compression="zstd"))
            stack.callback(self._flush)

    def add(self, batch: Any, stays: list[bool]) -> None:
        import pyarrow as pa

        if self._writer is None or not any(stays):
            return
        self._waiting.append(batch.filter(pa.array(stays)))
        if sum(len(one) for one in self._waiting) >= GROUP:
            self._flush()

    def _flush(self) -> None:
        import pyarrow as pa

        if self._waiting and self._writer is not None:
            self._writer.write_table(pa.Table.from_batches(self._waiting, self._schema))
        self._waiting.clear()


def _pq() -> Any:
    import pyarrow.parquet as pq

    return pq


def _fate(source: ParquetSource, file: Path, row: int, fields: dict[str, Any], fates: Fates) -> Fate:
    item = source.item(file, row, fields)
    if isinstance(item, Skip):
        return fates.of(item.uri, size=0, modified=0, data=bytes)
    data = item.data
    if data is None:
        raise ConfigError(f"row {row} of {file.name} holds a path and no picture: take the rows of keep.csv")
    return fates.of(item.uri, size=len(data), modified=0, data=lambda: data)
