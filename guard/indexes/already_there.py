"""Which items of a source an index holds already. Knows the records and vectors of one version; reads no picture."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from guard.indexes.faissfile import FlatLayout
from guard.indexes.manifest import Manifest
from guard.indexes.records import RECORDS, RecordReader
from guard.indexes.selection import storable
from guard.indexes.staging import ALREADY_THERE
from guard.indexes.transformed_rows import original_rows
from guard.sources.base import Item, Skip
from guard.types import Descriptors, Record

__all__ = ["AlreadyThere", "left_out"]


class AlreadyThere:
    """The references of a version, by one look-up an item: memory does not grow with the index. For several threads."""

    def __init__(self, folder: Path, manifest: Manifest, layout: FlatLayout, collections: Sequence[str]) -> None:
        """folder, manifest: of the version. layout: of its descriptors. collections: what an item is added to that
        names none."""
        self._folder, self._manifest, self._layout = folder, manifest, layout
        self._collections = frozenset(collections)
        self._reader = RecordReader(folder / RECORDS)

    def skip(self, item: Item, sha256: str) -> Skip | None:
        """Why not to add the item; None if it is new.

        It is there if a reference has its bytes, or, where it has none, its uri and its vector; and if that reference
        is in every collection that the item would be added to, so that what protects is never left out.
        sha256: of the bytes; "" for a vector without.
        """
        row = self._layout.encode(item.vector.reshape(1, -1)) if item.vector is not None and not sha256 else b""
        record = self._found(item.uri, sha256, frozenset(item.collections) or self._collections, row)
        if record is None:
            return None
        return left_out(item.uri, record)

    def record_like(self, record: Record, row: bytes) -> Record | None:
        """By the same rule, of a reference of another index. row: of its whole picture, as that index encodes it."""
        return self._found(record.uri, record.sha256, frozenset(record.collections), row)

    def _found(self, uri: str, sha256: str, collections: frozenset[str], row: bytes) -> Record | None:
        uris = [] if sha256 else [storable(uri)]
        ids = self._reader.ids_where(sha256s=[sha256] if sha256 else [], uris=uris)
        for record in self._reader.records(sorted(ids)):
            same_kind = bool(record.sha256) == bool(sha256)
            if same_kind and collections.issubset(record.collections) and (sha256 or self._row_of(record.id) == row):
                return record
        return None

    def close(self) -> None:
        self._reader.close()

    def _row_of(self, id: int) -> bytes:  # noqa: A002
        first = id * self._layout.regions
        return self._rows[first : first + 1].tobytes()

    @cached_property
    def _rows(self) -> Descriptors:
        return original_rows(self._folder, self._manifest)


def left_out(uri: str, record: Record) -> Skip:
    """How what the record holds already is listed."""
    same = "the same bytes" if record.sha256 else "the same name and vector"
    return Skip(uri, ALREADY_THERE, f"reference {record.id}, {record.uri}, has {same}")
