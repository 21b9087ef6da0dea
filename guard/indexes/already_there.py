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
from guard.types import Descriptors

__all__ = ["AlreadyThere"]


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
        wanted = frozenset(item.collections) or self._collections
        uris = [] if sha256 else [storable(item.uri)]
        ids = self._reader.ids_where(sha256s=[sha256] if sha256 else [], uris=uris)
        for record in self._reader.records(sorted(ids)):
            same_kind = bool(record.sha256) == bool(sha256)
            if same_kind and wanted.issubset(record.collections) and (sha256 or self._has_vector(record.id, item)):
                same = "the same bytes" if sha256 else "the same name and vector"
                return Skip(item.uri, ALREADY_THERE, f"reference {record.id}, {record.uri}, has {same}")
        return None

    def close(self) -> None:
        self._reader.close()

    def _has_vector(self, id: int, item: Item) -> bool:  # noqa: A002
        first = id * self._layout.regions
        stored = self._rows[first : first + 1].tobytes()
        return item.vector is not None and self._layout.encode(item.vector.reshape(1, -1)) == stored

    @cached_property
    def _rows(self) -> Descriptors:
        return original_rows(self._folder, self._manifest)
