"""Whatever text a source holds, records come back by id, in any order, and captions are found by their words."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from guard.indexes import build_index, open_index
from guard.indexes.edit import remove_from_index
from guard.indexes.verify import verify_index
from tests.support.references import unit_rows
from tests.support.specs import Named

EMBEDDER = Named(8)
texts = st.text(min_size=1, max_size=30)  # any code points, lone surrogates aside
words = st.text(st.characters(categories=["Ll", "Lu", "Nd"]), min_size=1, max_size=8)


def build(folder: Path, rows: list[dict[str, str]]) -> Path:
    np.save(folder / "e.npy", unit_rows(len(rows), 8))
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "e.jsonl").write_text(lines, encoding="utf-8")
    build_index(folder / "e.npy", folder / "x.index", EMBEDDER, thumbnails=0)
    return folder / "x.index"


@settings(max_examples=12, deadline=None)
@example(uris=["a\0b", " x ", "\ud7ff"], order=[2, 0, 2])
@given(uris=st.lists(texts, min_size=1, max_size=6), order=st.lists(st.integers(0, 5), max_size=8))
def test_records_come_back(uris: list[str], order: list[int]) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        path = build(Path(temporary), [{"uri": uri, "caption": f"c {uri}"} for uri in uris])
        ids = [i for i in order if i < len(uris)]
        with open_index(path) as index:
            found = index.records(ids)
        assert [record.id for record in found] == ids
        for record in found:
            expected = uris[record.id].strip() or f"e.npy#{record.id}"
            assert record.uri == expected.replace("\0", " ")
            assert record.caption == f"c {uris[record.id]}".strip().replace("\0", " ")


@settings(max_examples=12, deadline=None)
@given(caption=st.lists(words, min_size=1, max_size=5), other=st.lists(words, max_size=5), data=st.data())
def test_a_caption_is_found_by_any_of_its_words(caption: list[str], other: list[str], data: st.DataObject) -> None:
    wanted = data.draw(st.sampled_from(caption))
    with tempfile.TemporaryDirectory() as temporary:
        path = build(Path(temporary), [{"caption": " ".join(other)}, {"caption": " ".join(caption)}])
        with open_index(path) as index:
            assert 1 in {record.id for record in index.reader.search_captions(wanted)}


@settings(max_examples=10, deadline=None)
@given(n=st.integers(1, 12), data=st.data())
def test_what_is_removed_is_gone_and_the_rest_stays(n: int, data: st.DataObject) -> None:
    gone = data.draw(st.sets(st.integers(0, n - 1), min_size=1))
    with tempfile.TemporaryDirectory() as temporary:
        path = build(Path(temporary), [{"uri": f"u{i}"} for i in range(n)])
        remove_from_index(path, ids=gone)
        stay = [i for i in range(n) if i not in gone]
        with open_index(path) as index:
            assert [record.uri for record in index.records(range(len(stay)))] == [f"u{i}" for i in stay]
            found = index.search(unit_rows(n, 8)[stay], 1)
            np.testing.assert_allclose(found.similarity, 1, atol=1e-5)
        assert not any(finding.problem for finding in verify_index(path))
