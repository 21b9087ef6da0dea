"""What there is to find at one moment: the references of a version, and what its overlay says of them.

Knows the two, and which of them a filter accepts; ranks nothing but captions. What was added to the overlay is found as
the rest is, its captions before those of the version; what was buried is not.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from guard.indexes.moment import Moment
from guard.indexes.overlaid import OverlaidIndex
from guard.indexes.records import INDEXES, INSERT_RECORD, MOST_RANKED, RECORDS, create_tables, row_of
from guard.indexes.selection import Amended, RecordFilter, caption_match
from guard.indexes.store import OpenIndex
from guard.types import Record

__all__ = ["Holdings", "SearchedIndex"]

SearchedIndex: TypeAlias = OpenIndex | OverlaidIndex


class Holdings:
    """One moment of an index under one filter. Raises IndexLoadError for an overlay that cannot be read."""

    def __init__(self, index: SearchedIndex, where: RecordFilter) -> None:
        self.index: OpenIndex | Moment = index.now() if isinstance(index, OverlaidIndex) else index
        self.where = where
        self._added: tuple[Record, ...] = ()
        self._buried: frozenset[int] = frozenset()
        self._selects: RecordFilter | Amended = where
        if isinstance(self.index, Moment):
            self.version = self.index.base
            self._buried = frozenset(self.index.buried)
            self._added = tuple(record for record in self.index.added if where.accepts(record))
            accepted = {i: where.accepts(record) for i, record in self.index.changed.items() if i not in self._buried}
            refused = (*self._buried, *(i for i, fits in accepted.items() if not fits))
            self._selects = Amended(where, tuple(i for i, fits in accepted.items() if fits), refused)
        else:
            self.version = self.index

    def ids(self, words: str | None = None) -> npt.NDArray[np.int64]:
        """Ids, ascending, of what the filter accepts and whose caption holds all the words, if any."""
        added = self._added if words is None else self._captioned(words)
        of_version = self.version.reader.ids_accepted(self._selects, words)
        return np.concatenate([of_version, np.array(sorted(record.id for record in added), np.int64)])

    def captions(self, words: str, limit: int, offset: int) -> tuple[list[Record], int]:
        """Some of the records whose caption holds all the words, and how many there are in all.

        Of more than MOST_RANKED of the version, the first so many are put in order.
        """
        added, reader = self._captioned(words), self.version.reader
        records = added[offset : offset + limit]
        left = limit - len(records)
        if left:
            at = max(0, offset - len(added))
            found = reader.search_captions(words, left, offset=at, where=self._selects)
            records += self.index.records([record.id for record in found])  # with what the overlay says of them
        return records, len(added) + reader.count_captions(words, self._selects)

    @property
    def without_captions(self) -> bool:
        """Whether no caption is there to be searched, whatever the filter."""
        return not any(record.caption for record in self._added) and not self.version.reader.captioned()

    def holds(self, id: int) -> bool:  # noqa: A002
        return 0 <= id < len(self.version) or any(record.id == id for record in self._added)

    def ranked(self, total: int) -> int:
        """How many of so many captions can be paged through."""
        return min(total, MOST_RANKED + len(self._added))

    def accepted(self, ids: Sequence[int]) -> list[int]:
        """Those of the ids, in their order, that count and that the filter accepts."""
        counting = [i for i in ids if i not in self._buried]
        if not self.where:
            return counting
        records = self.index.records(counting)
        return [i for i, record in zip(counting, records, strict=True) if self.where.accepts(record)]

    def _captioned(self, words: str) -> list[Record]:
        """Added references whose caption holds all the words, best first."""
        match = caption_match(words)
        if not self._added or not match:
            return []
        known = {record.id: record for record in self._added}
        with closing(sqlite3.connect(":memory:")) as connection:
            create_tables(connection, RECORDS)
            connection.executemany(INSERT_RECORD, [row_of(record) for record in self._added])
            connection.executescript(INDEXES)
            sql = "SELECT rowid FROM captions WHERE captions MATCH ? ORDER BY rank, rowid"
            return [known[row[0]] for row in connection.execute(sql, (match,))]
