"""Damaged, missing and foreign files of an index are refused by name, and `verify` finds what opening does not."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from guard.errors import IndexLoadError
from guard.indexes.builder import build_index
from guard.indexes.store import open_index
from guard.indexes.verify import verify_index
from tests.support.references import photo_folder
from tests.support.toys import ToyEmbedder

TOY = ToyEmbedder()
FILES = ["vectors.faiss", "hashes.faiss", "records.sqlite", "thumbnails.sqlite", "keypoints.sqlite", "skipped.jsonl"]


@pytest.fixture
def version(tmp_path: Path) -> Path:
    folder = photo_folder(tmp_path / "photos", 30)
    (folder / "bad.jpg").write_bytes(b"")
    build_index(folder, tmp_path / "x.index", TOY, thumbnails=16, keypoints=True)
    return tmp_path / "x.index" / "versions" / "0001"


def problems(version: Path) -> dict[str, str]:
    return {f.check: f.problem for f in verify_index(version.parent.parent) if f.problem}


def test_an_index_that_is_whole(version: Path) -> None:
    assert problems(version) == {}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("kept", [0, 1, 40, -1])
def test_truncated_files_are_refused(version: Path, name: str, kept: int) -> None:
    data = (version / name).read_bytes()
    (version / name).write_bytes(data[:kept])
    with pytest.raises(IndexLoadError, match=name):
        open_index(version.parent.parent)
    assert name in problems(version)["files"]


@pytest.mark.parametrize("name", FILES)
def test_missing_files_are_refused(version: Path, name: str) -> None:
    (version / name).unlink()
    with pytest.raises(IndexLoadError, match=name):
        open_index(version.parent.parent)
    assert name in problems(version)["files"]


@pytest.mark.parametrize("kept", [0, 1, 64, 300, -3])
def test_truncated_manifests_are_refused(version: Path, kept: int) -> None:
    text = (version / "manifest.json").read_text()
    (version / "manifest.json").write_text(text[:kept])
    with pytest.raises(IndexLoadError, match=r"manifest\.json"):
        open_index(version.parent.parent)
    with pytest.raises(IndexLoadError, match=r"manifest\.json"):
        verify_index(version.parent.parent)


@pytest.mark.parametrize(
    ("name", "at"), [*(("vectors.faiss", at) for at in (0, 4, 8, 35)), *(("hashes.faiss", at) for at in (0, 12, 30))]
)
def test_a_header_that_disagrees_is_refused(version: Path, name: str, at: int) -> None:
    data = bytearray((version / name).read_bytes())
    data[at] ^= 1
    (version / name).write_bytes(data)
    with pytest.raises(IndexLoadError, match=rf"{name}.*header"):
        open_index(version.parent.parent)


def test_flipped_bytes_are_found_by_verify(version: Path) -> None:
    data = bytearray((version / "vectors.faiss").read_bytes())
    data[-2] ^= 0xFF  # the high byte of a float
    (version / "vectors.faiss").write_bytes(data)
    assert set(problems(version)) >= {"files", "vectors"}
    assert "row 29" in problems(version)["vectors"]


def test_a_damaged_database_is_named_when_it_is_read(version: Path) -> None:
    data = bytearray((version / "records.sqlite").read_bytes())
    data[4096:] = bytes(len(data) - 4096)
    (version / "records.sqlite").write_bytes(data)
    with pytest.raises(IndexLoadError, match=r"records\.sqlite"), open_index(version.parent.parent) as index:
        index.records([0])
    assert set(problems(version)) >= {"files", "records"}


def forge(version: Path, change: Callable[[dict[str, object]], None]) -> None:
    fields = json.loads((version / "manifest.json").read_text())
    change(fields)
    (version / "manifest.json").write_text(json.dumps(fields))


def test_a_manifest_of_another_count_is_refused(version: Path) -> None:
    forge(version, lambda fields: fields.update(count=29))
    with pytest.raises(IndexLoadError, match=r"records\.sqlite"):
        open_index(version.parent.parent)
    assert set(problems(version)) >= {"vectors", "records"}


def test_counts_that_disagree_are_found_by_verify(version: Path) -> None:
    forge(version, lambda fields: fields.update(skipped={"damaged": 4}, collections={"training": 3}))
    assert set(problems(version)) == {"records", "skipped"}


def test_an_older_or_newer_format_is_refused_by_name(version: Path) -> None:
    forge(version, lambda fields: fields.update(format_version=7))
    with pytest.raises(IndexLoadError, match="format_version 7"):
        open_index(version.parent.parent)


def test_a_manifest_without_records_is_refused(version: Path) -> None:
    forge(version, lambda fields: fields["files"].pop("records.sqlite"))  # type: ignore[attr-defined]
    with pytest.raises(IndexLoadError, match=r"records\.sqlite"):
        open_index(version.parent.parent)


def test_a_current_that_names_nothing(version: Path) -> None:
    index = version.parent.parent
    for text in ("", "0009\n", "\0\0"):
        (index / "CURRENT").write_text(text)
        with pytest.raises(IndexLoadError, match="CURRENT"):
            open_index(index)
