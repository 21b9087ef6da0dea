"""Precomputed embeddings: rows, tables beside them, packed bits."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from guard.embedders.registry import load_embedder
from guard.errors import ConfigError
from guard.indexes import build_index, open_index
from guard.indexes.faissfile import pack_bits
from guard.sources import Item, Skip, open_source
from tests.support.references import unit_rows
from tests.support.specs import Named

SPEC = Named(16).spec
ROWS = unit_rows(5, 16)
TABLE = [{"url": f"http://x/{i}", "caption": f"c {i}", "sha256": f"{i:064x}"} for i in range(5)]


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    np.save(tmp_path / "e.npy", ROWS * 3)
    return tmp_path / "e.npy"


@pytest.mark.parametrize("form", ["parquet", "jsonl", "csv"])
def test_metadata_of_each_form(saved: Path, form: str) -> None:
    table = saved.with_suffix(f".{form}")
    if form == "parquet":
        pq.write_table(pa.Table.from_pylist(TABLE), table)
    elif form == "jsonl":
        table.write_text("".join(json.dumps(row) + "\n" for row in TABLE))
    else:
        table.write_text("url,caption,sha256\n" + "".join(",".join(row.values()) + "\n" for row in TABLE))
    items = list(open_source(saved, spec=SPEC).items(2))
    for i, item in enumerate(items, 2):
        assert isinstance(item, Item)
        assert {"url": item.uri, "caption": item.caption, "sha256": item.sha256} == TABLE[i]
        assert item.vector is not None
        np.testing.assert_allclose(item.vector, ROWS[i], atol=1e-6)
    assert len(items) == 3


def test_without_metadata(saved: Path) -> None:
    assert [i.uri for i in open_source(saved, spec=SPEC).items()] == [f"e.npy#{i}" for i in range(5)]


def test_floats_are_not_made_hashes_without_a_word(tmp_path: Path) -> None:
    """256 values of another network have PDQ's dimension, and their signs would be taken for its bits."""
    spec = load_embedder("pdq").spec
    np.save(tmp_path / "e.npy", np.concatenate([unit_rows(2, 256), unit_rows(2, 256, signs=True)]))
    items = list(open_source(tmp_path / "e.npy", spec=spec).items())
    assert [(i.uri, i.reason) for i in items if isinstance(i, Skip)] == [
        ("e.npy#0", "no_vector"),
        ("e.npy#1", "no_vector"),
    ]
    np.save(tmp_path / "e.npy", unit_rows(2, 256, signs=True).astype(np.float16) * 3)
    assert all(isinstance(i, Item) for i in open_source(tmp_path / "e.npy", spec=spec).items())


def test_rows_that_are_no_vector_are_listed(tmp_path: Path) -> None:
    rows = ROWS.copy()
    rows[1], rows[3, 0] = 0, np.nan
    np.save(tmp_path / "e.npy", rows)
    items = list(open_source(tmp_path / "e.npy", spec=SPEC).items())
    assert [i.uri for i in items if isinstance(i, Skip)] == ["e.npy#1", "e.npy#3"]
    assert build_index(tmp_path / "e.npy", tmp_path / "x.index", Named(16)).skipped == {"no_vector": 2}


def test_a_folder_of_them(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", ROWS[:2].astype(np.float16))
    np.save(tmp_path / "b.npy", ROWS[2:].astype(np.float64))
    (tmp_path / "b.jsonl").write_text('{"key": "k"}\n' * 3)
    source = open_source(tmp_path, spec=SPEC)
    assert source.survey().total == 5
    for start in range(6):
        assert [i.uri for i in source.items(start)] == ["a.npy#0", "a.npy#1", "k", "k", "k"][start:]


def test_packed_bits(tmp_path: Path) -> None:
    embedder, rows = Named(64, "hamming"), unit_rows(9, 64, signs=True)
    np.save(tmp_path / "bits.npy", pack_bits(rows))
    build_index(tmp_path / "bits.npy", tmp_path / "x.index", embedder)
    with open_index(tmp_path / "x.index", embedder=embedder) as index:
        found = index.search(rows, 1)
        assert found.ids[:, 0].tolist() == list(range(9))
        assert (found.similarity == 1).all()


def test_what_does_not_fit(saved: Path) -> None:
    with pytest.raises(ConfigError, match="which embedder"):
        open_source(saved)
    with pytest.raises(ConfigError, match=r"\(n, 8\)"):
        open_source(saved, spec=Named(8).spec)
    saved.with_suffix(".csv").write_text("url\nx\n")
    with pytest.raises(ConfigError, match=r"5 rows and .* has 1"):
        open_source(saved, spec=SPEC)
    with pytest.raises(ConfigError, match="does not exist"):
        open_source(saved, spec=SPEC, metadata=saved.with_name("none.csv"))
    saved.write_bytes(b"damaged")
    with pytest.raises(ConfigError, match=r"no \.npy array"):
        open_source(saved, spec=SPEC)


def test_a_pickle_is_never_loaded(tmp_path: Path) -> None:
    np.save(tmp_path / "e.npy", np.array([{"code": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(ConfigError, match="Python objects"):
        open_source(tmp_path / "e.npy", spec=SPEC)


def test_options_of_other_sources_are_refused(saved: Path) -> None:
    with pytest.raises(ConfigError, match="parquet"):
        open_source(saved, spec=SPEC, image_column="x")
    with pytest.raises(ConfigError, match="metadata"):
        open_source(saved.parent / "a.tar", metadata="x.csv")
