"""Merging two indexes and removing references."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from guard.errors import ConfigError, IndexLoadError
from guard.indexes.builder import add_to_index, build_index
from guard.indexes.edit import merge_indexes, remove_from_index
from guard.indexes.layout import IndexFolder
from guard.indexes.staging import LEFT_OUT, read_skipped
from guard.indexes.store import open_index
from guard.indexes.verify import verify_index
from guard.pixels import to_batch
from guard.sources import open_source
from tests.support.references import photo_folder
from tests.support.toys import ToyEmbedder, picture

TOY = ToyEmbedder()


@pytest.fixture
def built(tmp_path: Path) -> Path:
    folder = photo_folder(tmp_path / "photos", 10)
    (folder / "bad.jpg").write_bytes(b"")
    build_index(folder, tmp_path / "x.index", TOY, thumbnails=16)
    return tmp_path / "x.index"


def current(path: Path) -> Path:
    folder = IndexFolder(path)
    return folder.version(folder.current())


def fine(path: Path) -> bool:
    return not any(finding.problem for finding in verify_index(path))


def test_remove_by_each_name(built: Path) -> None:
    with open_index(built) as index:
        sha256, thumbnail = index.records([4])[0].sha256, index.thumbnail(9)
    manifest, removed = remove_from_index(built, ids=[0], uris=["0002.jpg"], sha256s=[sha256.upper()])
    assert (manifest.count, removed, manifest.collections) == (7, 3, {"training": 7})
    with open_index(built) as index:
        assert [r.uri for r in index.records(range(7))] == [f"{i:04d}.jpg" for i in (1, 3, 5, 6, 7, 8, 9)]
        assert index.thumbnail(6) == thumbnail
        assert index.manifest.skipped == {"empty": 1}
        assert index.search(TOY.embed(to_batch(picture(2))), 1).similarity[0, 0] < 0.99
        assert index.search(TOY.embed(to_batch(picture(9))), 1).ids[0, 0] == 6
    assert fine(built)


def test_remove_a_collection_and_its_old_versions(built: Path, tmp_path: Path) -> None:
    add_to_index(photo_folder(tmp_path / "more", 3), built, TOY, collections=("opt-out", "training"))
    manifest, removed = remove_from_index(built, collections=["opt-out"], keep=1)
    assert (manifest.count, removed) == (10, 3)
    assert [p.name for p in (built / "versions").iterdir()] == ["0003"]
    assert fine(built)


def test_removing_everything_and_nothing(built: Path) -> None:
    with pytest.raises(ConfigError, match="nothing was removed"):
        remove_from_index(built, uris=["none.jpg"], ids=[77])
    for written in ("/photos/0002.jpg", "photos/2024/0002.jpg"):
        with pytest.raises(ConfigError, match=r"did you mean the uri 0002\.jpg\?$"):
            remove_from_index(built, uris=[written])
    assert remove_from_index(built, collections=["training"])[0].count == 0
    assert fine(built)


def test_merge(built: Path, tmp_path: Path) -> None:
    build_index(
        photo_folder(tmp_path / "other", 4), tmp_path / "y.index", TOY, thumbnails=0, collections=("protected",)
    )
    manifest, left_out = merge_indexes(built, tmp_path / "y.index", tmp_path / "z.index")
    assert left_out == 0, "what protects is never left out"
    assert (manifest.count, manifest.collections) == (14, {"protected": 4, "training": 10})
    assert manifest.sources == ("folder photos", "folder other")
    assert manifest.skipped == {"empty": 1}
    with open_index(tmp_path / "z.index") as index:
        assert [r.uri for r in index.records([9, 10])] == ["0009.jpg", "0000.jpg"]
        assert index.thumbnail(9)
        assert index.thumbnail(10) is None
    assert fine(tmp_path / "z.index")


def test_a_merge_leaves_out_what_the_first_holds_already(built: Path, tmp_path: Path) -> None:
    again = photo_folder(tmp_path / "again", 4, first=8)  # the last two pictures of the first index, and two new ones
    build_index(again, tmp_path / "y.index", TOY, thumbnails=16)
    manifest, left_out = merge_indexes(built, tmp_path / "y.index", tmp_path / "z.index")
    assert (manifest.count, left_out) == (12, 2)
    assert manifest.skipped == {"empty": 1}
    listed = [(skip.uri, skip.detail) for skip in read_skipped(current(tmp_path / "z.index"), LEFT_OUT)]
    assert listed == [(f"{i:04d}.jpg", f"reference {8 + i}, {8 + i:04d}.jpg, has the same bytes") for i in range(2)]
    with open_index(tmp_path / "z.index") as index:
        assert [r.uri for r in index.records([9, 10, 11])] == ["0009.jpg", "0002.jpg", "0003.jpg"]
        assert index.search(TOY.embed(to_batch(picture(11))), 1).ids[0, 0] == 11
        assert index.thumbnail(11)
    assert fine(tmp_path / "z.index")
    manifest, left_out = merge_indexes(built, tmp_path / "y.index", tmp_path / "z.index", duplicates=True)
    assert (manifest.count, left_out) == (14, 0)


@pytest.mark.parametrize("lacks", [{"thumbnails": 0}, {"hashes": False}])
def test_a_merge_loses_nothing_that_the_second_alone_keeps(tmp_path: Path, lacks: dict[str, Any]) -> None:
    photos = photo_folder(tmp_path / "photos", 3)
    build_index(photos, tmp_path / "less.index", TOY, **{"thumbnails": 16, **lacks})
    build_index(photos, tmp_path / "more.index", TOY, thumbnails=16)
    assert merge_indexes(tmp_path / "less.index", tmp_path / "more.index", tmp_path / "z.index")[1] == 0
    assert merge_indexes(tmp_path / "more.index", tmp_path / "less.index", tmp_path / "z.index")[1] == 3


def test_a_caption_that_the_second_alone_has_is_kept(tmp_path: Path) -> None:
    photos = photo_folder(tmp_path / "photos", 3)
    build_index(photos, tmp_path / "plain.index", TOY)
    (photos / "0001.txt").write_text("a red barn", encoding="utf-8")
    build_index(photos, tmp_path / "told.index", TOY)
    manifest, left_out = merge_indexes(tmp_path / "plain.index", tmp_path / "told.index", tmp_path / "z.index")
    assert (manifest.count, left_out) == (4, 2)
    with open_index(tmp_path / "z.index") as index:
        assert index.records([3])[0].caption == "a red barn"
    assert merge_indexes(tmp_path / "told.index", tmp_path / "plain.index", tmp_path / "z.index")[1] == 3


def test_of_embeddings_a_name_with_the_same_vector_is_there_already(tmp_path: Path) -> None:
    rows = TOY.embed(to_batch([picture(seed) for seed in range(4)]))
    for name, some in (("x", rows[:3]), ("y", np.stack([rows[0], rows[1], rows[3]]))):
        np.save(tmp_path / f"{name}.npy", some)
        (tmp_path / name).mkdir()
        (tmp_path / f"{name}.npy").rename(tmp_path / name / "rows.npy")
        build_index(open_source(tmp_path / name / "rows.npy", spec=TOY.spec), tmp_path / f"{name}.index", TOY)
    manifest, left_out = merge_indexes(tmp_path / "x.index", tmp_path / "y.index", tmp_path / "z.index")
    assert (manifest.count, left_out) == (4, 2)
    assert fine(tmp_path / "z.index")


def test_what_cannot_be_merged(built: Path, tmp_path: Path) -> None:
    build_index(photo_folder(tmp_path / "other", 2), tmp_path / "y.index", ToyEmbedder(name="other"))
    with pytest.raises(ConfigError, match="name is 'toy' in the first and 'other'"):
        merge_indexes(built, tmp_path / "y.index", tmp_path / "z.index")
    with pytest.raises(ConfigError, match="--out"):
        merge_indexes(built, tmp_path / "y.index", built)
    with pytest.raises(IndexLoadError):
        merge_indexes(built, tmp_path / "none.index", tmp_path / "z.index")
