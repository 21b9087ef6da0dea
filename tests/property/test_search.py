"""Whatever is typed, a search by words answers; and a filter means the same in Python and in SQLite."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from guard.indexes.records import INDEXES, INSERT_RECORD, RECORDS, RecordReader, create_tables, row_of
from guard.indexes.selection import RecordFilter
from guard.types import Record

NAMES = ("training", "protected", "it's", 'a "b"', "é")
PLACES = ("https://x.example/é", "a/b")
ROWS = [Record(i, f"{PLACES[i % 2]}/{i}.jpg", "", f'cat {i} "dog" né', NAMES[: i % 6], 1 + i % 4) for i in range(24)]


@pytest.fixture(scope="module")
def reader() -> Iterator[RecordReader]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / RECORDS
        connection = sqlite3.connect(path)
        create_tables(connection, RECORDS)
        connection.executemany(INSERT_RECORD, [row_of(record) for record in ROWS])
        connection.executescript(INDEXES)
        connection.commit()
        connection.close()
        made = RecordReader(path)
        yield made
        made.close()


def texts() -> st.SearchStrategy[str]:
    """Any text, lone surrogates and FTS5's own signs among it."""
    signs = st.text(st.sampled_from("\"*^+-:(){},.;NEARORNOTAND cat0\0\\'%"), max_size=30)
    return st.one_of(signs, st.text(st.characters(), max_size=40))


@settings(max_examples=400, deadline=None)
@example('"')
@example('"""*')
@example("cat\0")
@example("\ud800")
@example("NEAR(cat dog, 2)")
@example("caption : cat")
@example("^cat")
@example("cat" * 300)
@example("a " * 500)
@given(words=texts())
def test_no_words_are_an_error_of_syntax(reader: RecordReader, words: str) -> None:
    found = reader.search_captions(words, 100)
    assert reader.count_captions(words) == len(found)
    assert sorted(record.id for record in found) == reader.ids_accepted(RecordFilter(), words).tolist()


@settings(max_examples=200, deadline=None)
@given(
    collections=st.lists(st.sampled_from([*NAMES, "none", "'", "\ud800"]), max_size=3),
    low=st.integers(1, 5),
    more=st.one_of(st.none(), st.integers(0, 3)),
    source=st.one_of(st.sampled_from(["a/", "é", "x.example", "1", "%", "_", ""]), texts()),
)
def test_a_filter_is_the_same_in_python_and_in_sqlite(
    reader: RecordReader, collections: list[str], low: int, more: int | None, source: str
) -> None:
    where = RecordFilter(tuple(collections), low, None if more is None else low + more, source)
    accepted = [record.id for record in ROWS if where.accepts(record)]
    assert reader.ids_accepted(where).tolist() == accepted
    assert sorted(r.id for r in reader.search_captions("cat", 100, where=where)) == accepted
