"""Tables of addresses: rows that say where a picture was published, and hold none. Knows columns; fetches nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from guard.errors import ConfigError
from guard.sources.base import Item, Skip, Survey
from guard.sources.captions import URL_COLUMNS, pick, table_rows
from guard.sources.files import files_fingerprint, files_of
from guard.sources.parquet import open_parquet

__all__ = ["AddressSource"]

SUFFIXES = (".parquet", ".csv", ".tsv", ".jsonl")
_COLUMNS_SHA256 = ("sha256", "hash_sha256")
_ROWS = 4096


class AddressSource:
    """Rows of a table, or of a folder of parquet files, such as the lists from which LAION's pictures are fetched."""

    def __init__(self, path: str | Path) -> None:
        """Raises ConfigError for a file that is no table."""
        self.path = Path(path)
        self.files = files_of(self.path, ".parquet")
        if self.files[0].suffix not in SUFFIXES:
            raise ConfigError(f"{path} is no table of addresses ({', '.join(SUFFIXES)})")

    def survey(self) -> Survey:
        many = f"{len(self.files)} table{'s' * (len(self.files) != 1)} of {self.path.name}"
        return Survey(many, files_fingerprint(self.files), None, pixels=False)

    def items(self, start: int = 0) -> Iterator[Item | Skip]:
        return islice(self._items(), start, None)

    def _items(self) -> Iterator[Item | Skip]:
        for file in self.files:
            for number, row in enumerate(_rows(file)):
                url, sha256 = pick(row, None, URL_COLUMNS), pick(row, None, _COLUMNS_SHA256).lower()
                if url or sha256:
                    yield Item(url or f"{file.name}#{number}", sha256=sha256, url=url)
                else:
                    yield Skip(f"{file.name}#{number}", "no_image", f"row {number} of {file.name} has no address")


def _rows(file: Path) -> Iterable[dict[str, Any]]:
    if file.suffix != ".parquet":
        return table_rows(file)
    parquet = open_parquet(file)
    columns = [name for name in (*URL_COLUMNS, *_COLUMNS_SHA256) if name in parquet.schema_arrow.names]
    if not columns:
        raise ConfigError(f"{file} has no column of addresses ({', '.join(URL_COLUMNS)})")
    return (row for batch in parquet.iter_batches(_ROWS, columns=columns) for row in batch.to_pylist())
