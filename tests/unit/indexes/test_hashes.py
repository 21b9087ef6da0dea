"""PDQ hashes beside the vectors: what is stored, what carries it along, what is found, what is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from guard.embedders.pdq import BITS, METHOD, PdqEmbedder, packed_hash
from guard.embedders.registry import load_embedder
from guard.errors import IndexLoadError
from guard.indexes.builder import add_to_index, build_index
from guard.indexes.edit import merge_indexes, remove_from_index
from guard.indexes.faiss_index import FaissBinaryIndex
from guard.indexes.faissfile import unpack_bits
from guard.indexes.hashes import HASHES, IDENTICAL_BITS, LAYOUT, HashIndex, encode_hashes, map_hashes
from guard.indexes.layout import file_entry
from guard.indexes.manifest import MANIFEST, HashesEntry, Manifest
from guard.indexes.store import open_index
from guard.indexes.torch_index import TorchIndex
from guard.indexes.transforming import transform_index
from guard.indexes.verify import verify_index
from guard.pixels import to_batch
from guard.sources import open_source
from tests.support.references import photo_folder, unit_rows
from tests.support.toys import ToyEmbedder

TOY = ToyEmbedder()
PDQ = PdqEmbedder()


def fine(path: Path) -> bool:
    return not any(finding.problem for finding in verify_index(path))


def stored(path: Path) -> np.ndarray:
    with open_index(path) as index:
        return np.array(map_hashes(index.folder, index.manifest))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Ten pictures; the fourth is flat."""
    folder = photo_folder(tmp_path / "photos", 10)
    Image.new("RGB", (64, 64), (90, 120, 150)).save(folder / "0003.jpg")
    return folder


@pytest.fixture
def built(photos: Path, tmp_path: Path) -> Path:
    build_index(photos, tmp_path / "x.index", TOY, thumbnails=0)
    return tmp_path / "x.index"


def test_a_row_is_the_hash_of_its_picture_and_a_flat_one_has_none(built: Path, photos: Path) -> None:
    rows = stored(built)
    for i, file in enumerate(sorted(photos.iterdir())):
        bits = np.packbits(PDQ.embed(to_batch(Image.open(file)))[0] > 0)
        assert rows[i].tolist() == (bits.tolist() if i != 3 else [0] * 32), file
    with open_index(built) as index:
        assert index.manifest.hashes == HashesEntry(method=METHOD, usable=9)
        assert index.manifest.files[HASHES].bytes == LAYOUT.file_bytes(10)
    assert fine(built)


def test_what_has_none(photos: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "rows.npy", unit_rows(4, TOY.spec.dim))
    precomputed = open_source(tmp_path / "rows.npy", spec=TOY.spec)
    build_index(photos, tmp_path / "off.index", TOY, hashes=False)
    build_index(photos, tmp_path / "pdq.index", load_embedder("pdq"))
    build_index(precomputed, tmp_path / "precomputed.index", TOY)
    for name in ("off", "pdq", "precomputed"):
        with open_index(tmp_path / f"{name}.index") as index:
            assert (index.hashes, index.manifest.hashes) == (None, None), name
            assert not (index.folder / HASHES).exists()
    add_to_index(photos, tmp_path / "off.index", TOY, duplicates=True)
    with open_index(tmp_path / "off.index") as index:
        assert index.hashes is None


def test_adding_and_removing_carry_them_along(built: Path, tmp_path: Path) -> None:
    before = stored(built)
    np.save(tmp_path / "rows.npy", unit_rows(2, TOY.spec.dim))
    add_to_index(photo_folder(tmp_path / "more", 12), built, TOY, duplicates=True)
    add_to_index(open_source(tmp_path / "rows.npy", spec=TOY.spec), built, TOY)  # no pixels: no hashes
    after = stored(built)
    assert len(after) == 24
    np.testing.assert_array_equal(after[:10], before)
    np.testing.assert_array_equal(after[14:20], before[4:])
    assert not after[22:].any()
    manifest, _ = remove_from_index(built, ids=[0, 3, 23])
    assert manifest.hashes == HashesEntry(method=METHOD, usable=20)
    np.testing.assert_array_equal(stored(built), np.delete(after, [0, 3, 23], axis=0))
    assert fine(built)


@pytest.mark.parametrize("others", [True, False])
def test_merging_keeps_those_that_are_there(built: Path, tmp_path: Path, others: bool) -> None:
    build_index(photo_folder(tmp_path / "other", 3), tmp_path / "y.index", TOY, hashes=others)
    manifest, _ = merge_indexes(built, tmp_path / "y.index", tmp_path / "z.index", duplicates=True)
    assert manifest.hashes == HashesEntry(method=METHOD, usable=9 + 3 * others)
    assert stored(tmp_path / "z.index")[10:].any() == others
    assert fine(tmp_path / "z.index")
    merge_indexes(tmp_path / "y.index", built, tmp_path / "back.index", duplicates=True)
    np.testing.assert_array_equal(stored(tmp_path / "back.index")[3:], stored(built))


def searched_by(backend: str, rows: np.ndarray) -> HashIndex:
    values = unpack_bits(rows, BITS)
    return HashIndex(rows, FaissBinaryIndex(values) if backend == "faiss" else TorchIndex(values))


@pytest.mark.parametrize("regions", [False, True])
def test_a_transform_and_regions_leave_them_one_a_reference(photos: Path, tmp_path: Path, regions: bool) -> None:
    build_index(photos, tmp_path / "x.index", TOY, thumbnails=0, regions=regions)
    before = stored(tmp_path / "x.index")
    transform_index(tmp_path / "x.index", whiten=True)
    np.testing.assert_array_equal(stored(tmp_path / "x.index"), before)
    assert len(before) == 10
    with open_index(tmp_path / "x.index") as index:
        xq = TOY.embed(to_batch(Image.open(photos / "0004.jpg")))
        found = index.search(xq, 10)
        given = index.similarity(xq, found.ids[0].tolist())[0]
        np.testing.assert_allclose(given, found.similarity[0], atol=1e-5)
    assert fine(tmp_path / "x.index")


@pytest.mark.parametrize("backend", ["faiss", "torch"])
def test_identical_is_within_31_bits_and_inclusive(built: Path, backend: str) -> None:
    rows = stored(built)
    signs = unpack_bits(rows[5:6], BITS)
    queries = np.repeat(signs, 4, axis=0)
    for query, flipped in zip(queries, (0, 1, IDENTICAL_BITS, IDENTICAL_BITS + 1), strict=True):
        query[:flipped] *= -1
    hashes = searched_by(backend, rows)
    assert hashes.identical(queries, 3) == [{5: 0}, {5: 1}, {5: IDENTICAL_BITS}, {}]
    assert hashes.identical(queries[:0], 3) == []
    assert hashes.identical(np.full((1, BITS), -1 / 16, np.float32), 20) == [{}]  # as a row of no hash
    with open_index(built) as index:
        assert index.hashes.identical(queries, 3) == hashes.identical(queries, 3)


@pytest.mark.parametrize("backend", ["faiss", "torch"])
def test_all_within_the_bar_are_found_up_to_k(backend: str, tmp_path: Path) -> None:
    photos = photo_folder(tmp_path / "p", 3)
    for i in range(4):
        (photos / f"again{i}.jpg").write_bytes((photos / "0001.jpg").read_bytes())
    build_index(photos, tmp_path / "x.index", TOY, thumbnails=0)
    rows = stored(tmp_path / "x.index")
    hashes, query = searched_by(backend, rows), unpack_bits(rows[1:2], BITS)
    assert hashes.identical(query, 7) == [dict.fromkeys((1, 3, 4, 5, 6), 0)]
    assert len(hashes.identical(query, 2)[0]) == 2


def test_the_hashes_stay_packed_where_torch_searches_the_vectors(built: Path) -> None:
    code = """
import sys
sys.modules["faiss"] = None  # as if it were not installed
from guard.indexes.store import open_index
from guard.indexes.faissfile import unpack_bits
import numpy as np
with open_index(sys.argv[1], backend="torch") as index:
    row = np.fromfile(index.folder / "hashes.faiss", np.uint8)[-32:]
    print(index.hashes.identical(unpack_bits(row[None], 256), 2))
"""
    done = subprocess.run([sys.executable, "-c", code, str(built)], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "[{9: 0}]", done.stderr


def test_an_empty_index_finds_nothing(tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    build_index(tmp_path / "p", tmp_path / "x.index", TOY)
    with open_index(tmp_path / "x.index") as index:
        assert index.hashes.identical(np.full((2, BITS), 1 / 16, np.float32), 3) == [{}, {}]


def test_hashes_of_another_size_or_method_are_refused(built: Path) -> None:
    at = built / "versions" / "0001"
    manifest = json.loads((at / MANIFEST).read_text())
    manifest["hashes"]["method"] = "squash:32;pdq"
    (at / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(IndexLoadError, match=r"hashes\.faiss holds hashes made by 'squash:32;pdq'"):
        open_index(built)
    manifest["hashes"]["method"] = METHOD
    (at / HASHES).write_bytes((at / HASHES).read_bytes()[:-32])
    manifest["files"][HASHES] = file_entry(at / HASHES).model_dump()
    (at / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(IndexLoadError, match=r"hashes\.faiss has 321 bytes"):
        open_index(built)
    del manifest["files"][HASHES]
    (at / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(IndexLoadError, match="holds no hashes"):
        open_index(built)


def test_verify_counts_the_hashes(built: Path) -> None:
    at = built / "versions" / "0001"
    data = bytearray((at / HASHES).read_bytes())
    data[-32:] = bytes(32)
    (at / HASHES).write_bytes(data)
    manifest = Manifest.read(at / MANIFEST)
    changed = manifest.model_copy(update={"files": {**manifest.files, HASHES: file_entry(at / HASHES)}})
    (at / MANIFEST).write_text(changed.to_json())
    problems = {finding.check: finding.problem for finding in verify_index(built)}
    assert "8 usable hashes; the manifest says 9" in problems["hashes"]
    assert not any(problem for check, problem in problems.items() if check != "hashes")


def test_packed_hash_declines_what_is_flat() -> None:
    assert packed_hash(np.full((100, 80, 3), 77, np.uint8)) is None


def test_rows_that_no_picture_has_are_zeros() -> None:
    assert encode_hashes([b"\x01" * 32, None]) == b"\x01" * 32 + bytes(32)
    rows = np.frombuffer(encode_hashes([None, b"\x0f" * 32]), np.uint8).reshape(2, 32)
    index = HashIndex(rows, FaissBinaryIndex(unpack_bits(rows, BITS)))
    sparse = np.full((1, BITS), -1 / 16, np.float32)
    sparse[0, :9] = 1 / 16  # nine bits from a row of zeros
    assert index.identical(sparse, 2) == [{}]
