"""The file that we write is byte for byte the one that faiss writes."""

from __future__ import annotations

from pathlib import Path

import faiss
import numpy as np
import pytest

from guard.indexes.faissfile import FlatLayout, map_rows, pack_bits
from tests.support.references import unit_rows


@pytest.mark.parametrize("n", [0, 1, 37])
def test_float_rows(tmp_path: Path, n: int) -> None:
    rows, layout = unit_rows(n, 24), FlatLayout("float32", 24)
    theirs = faiss.IndexFlatIP(24)
    theirs.add(rows)
    ours = layout.header(n) + layout.encode(rows)
    assert ours == faiss.serialize_index(theirs).tobytes()
    assert len(ours) == layout.file_bytes(n)
    (tmp_path / "v.faiss").write_bytes(ours)
    assert faiss.read_index(str(tmp_path / "v.faiss")).ntotal == n
    np.testing.assert_array_equal(map_rows(tmp_path / "v.faiss", layout, n), rows)


@pytest.mark.parametrize("n", [0, 1, 37])
def test_bits(tmp_path: Path, n: int) -> None:
    rows, layout = unit_rows(n, 24, signs=True), FlatLayout("bits", 24)
    theirs = faiss.IndexBinaryFlat(24)
    theirs.add(pack_bits(rows))
    ours = layout.header(n) + layout.encode(rows)
    assert ours == faiss.serialize_index_binary(theirs).tobytes()
    (tmp_path / "v.faiss").write_bytes(ours)
    assert faiss.read_index_binary(str(tmp_path / "v.faiss")).ntotal == n
    np.testing.assert_array_equal(map_rows(tmp_path / "v.faiss", layout, n), pack_bits(rows))
