"""Clusters of near-duplicates in an index: published, described, checked, and carried along by later versions."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from guard.errors import ConfigError
from guard.indexes.builder import add_to_index, build_index
from guard.indexes.cluster_rows import clusters_entry, sizes, without_members, wrong_name
from guard.indexes.clusters import describe_clusters, write_clusters
from guard.indexes.edit import merge_indexes, remove_from_index
from guard.indexes.layout import file_entry
from guard.indexes.manifest import Manifest
from guard.indexes.store import open_index
from guard.indexes.verify import verify_index
from tests.support.references import photo_folder, tar_shard
from tests.support.toys import ToyEmbedder

TOY = ToyEmbedder()
PAIRS = np.array([0, 1, 0, 3, 1, 1])  # 0 with 2; 1 with 4 and 5; 3 alone


@pytest.fixture
def built(tmp_path: Path) -> Path:
    build_index(photo_folder(tmp_path / "photos", 6), tmp_path / "x.index", TOY, thumbnails=16)
    return tmp_path / "x.index"


def clusters_of(path: Path) -> list[tuple[int, int]]:
    with open_index(path) as index:
        return [(r.cluster, r.cluster_size) for r in index.records(range(len(index)))]


def problems(path: Path) -> list[str]:
    return [finding.problem for finding in verify_index(path) if finding.problem]


def test_a_new_index_has_none(built: Path) -> None:
    assert clusters_of(built) == [(-1, 1)] * 6
    assert problems(built) == []


def test_written_as_a_version_that_differs_in_nothing_else(built: Path) -> None:
    with open_index(built) as before:
        manifest = write_clusters(built, PAIRS, method="by hand", version="0001")
        with open_index(built) as after:
            assert (after.version, len(after)) == ("0002", 6)
            assert [after.thumbnail(i) for i in range(6)] == [before.thumbnail(i) for i in range(6)]
            assert (after.folder / "vectors.faiss").samefile(before.folder / "vectors.faiss")
            assert [r.uri for r in after.records(range(6))] == [r.uri for r in before.records(range(6))]
    assert clusters_of(built) == [(0, 2), (1, 3), (0, 2), (3, 1), (1, 3), (1, 3)]
    entry = manifest.clusters
    assert entry is not None
    assert (entry.references, entry.clusters, entry.members, entry.largest, entry.method) == (6, 2, 5, 3, "by hand")
    assert Manifest.read(built / "versions" / "0002" / "manifest.json") == manifest
    assert problems(built) == []


def test_removal_shrinks_clusters_and_names_them_anew(built: Path) -> None:
    write_clusters(built, PAIRS, method="by hand")
    manifest, _ = remove_from_index(built, ids=[1])
    assert clusters_of(built) == [(0, 2), (0, 2), (2, 1), (3, 2), (3, 2)]
    assert manifest.clusters is not None
    assert (manifest.clusters.clusters, manifest.clusters.members, manifest.clusters.largest) == (2, 4, 2)
    assert problems(built) == []


def test_what_is_added_stands_alone(built: Path, tmp_path: Path) -> None:
    manifest = write_clusters(built, PAIRS, method="by hand")
    add_to_index(photo_folder(tmp_path / "more", 2, first=500), built, TOY)
    assert clusters_of(built)[4:] == [(1, 3), (1, 3), (-1, 1), (-1, 1)]
    with open_index(built) as index:
        entry = index.manifest.clusters
    assert entry == manifest.clusters
    assert entry is not None
    assert "2 references were not looked at" in describe_clusters(entry, 8)[-1]
    assert problems(built) == []


def test_a_merge_forgets_them(built: Path, tmp_path: Path) -> None:
    write_clusters(built, PAIRS, method="by hand")
    build_index(photo_folder(tmp_path / "other", 2), tmp_path / "y.index", TOY)
    merged, _ = merge_indexes(built, tmp_path / "y.index", tmp_path / "z.index", duplicates=True)
    assert merged.clusters is None
    assert clusters_of(tmp_path / "z.index") == [(-1, 1)] * 8


@pytest.mark.parametrize("cluster", [[0, 1, 2], [0, 0, 1, 3, 4, 5], [1, 1, 2, 3, 4, 5], [-2, 1, 2, 3, 4, 5]])
def test_clusters_that_do_not_fit_are_refused(built: Path, cluster: list[int]) -> None:
    with pytest.raises(ConfigError, match="do not fit"):
        write_clusters(built, np.array(cluster), method="by hand")


def test_an_index_that_changed_meanwhile_is_refused(built: Path) -> None:
    write_clusters(built, PAIRS, method="by hand")
    with pytest.raises(ConfigError, match="from version 0001 to 0002"):
        write_clusters(built, PAIRS, method="by hand", version="0001")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("UPDATE records SET cluster_size = 7 WHERE id = 2", "cluster size 7 in a cluster of 2"),
        ("UPDATE records SET cluster = 5 WHERE id = 3", "cluster of id 3 is not named"),
        ("UPDATE records SET cluster = 3, cluster_size = 1", "cluster of id 0"),
        ("UPDATE records SET cluster = id, cluster_size = 1", "other clusters than the manifest"),
    ],
)
def test_contradictions_are_found(built: Path, change: str, said: str) -> None:
    write_clusters(built, PAIRS, method="by hand")
    at = built / "versions" / "0002"
    with closing(sqlite3.connect(at / "records.sqlite")) as records, records:
        records.execute(change)
    manifest = Manifest.read(at / "manifest.json")
    files = {**manifest.files, "records.sqlite": file_entry(at / "records.sqlite")}
    (at / "manifest.json").write_text(manifest.model_copy(update={"files": files}).to_json())
    assert any(said in problem for problem in problems(built)), problems(built)


def test_what_is_kept_of_a_picture(built: Path, tmp_path: Path) -> None:
    photos = sorted((tmp_path / "photos").iterdir())
    with open_index(built) as index:
        records = index.records(range(6))
    assert [(r.width, r.height) for r in records] == [(64, 64)] * 6
    assert [r.file_bytes for r in records] == [p.stat().st_size for p in photos]
    assert [r.modified for r in records] == [int(p.stat().st_mtime) for p in photos]
    assert len({r.pixels_sha256 for r in records}) == 6


def test_the_time_in_a_tar(tmp_path: Path) -> None:
    tar_shard(tmp_path / "s.tar", [("a.jpg", next((photo_folder(tmp_path / "p", 1)).iterdir()).read_bytes())])
    build_index(tmp_path / "s.tar", tmp_path / "x.index", TOY)
    with open_index(tmp_path / "x.index") as index:
        assert index.records([0])[0].modified == 0  # what tar_shard writes


def test_an_index_of_an_older_version_opens_and_can_be_extended(built: Path, tmp_path: Path) -> None:
    """Made by taking the later columns away from a new one."""
    at = built / "versions" / "0001"
    with closing(sqlite3.connect(at / "records.sqlite")) as records, records:
        for column in ("cluster", "width", "height", "file_bytes", "modified", "pixels_sha256"):
            records.execute(f"ALTER TABLE records DROP COLUMN {column}")
    manifest = Manifest.read(at / "manifest.json")
    files = {**manifest.files, "records.sqlite": file_entry(at / "records.sqlite")}
    (at / "manifest.json").write_text(manifest.model_copy(update={"files": files}).to_json())
    with open_index(built) as index:
        first = index.records([3])[0]
        assert (first.uri, first.cluster, first.width, first.pixels_sha256) == ("0003.jpg", -1, 0, "")
        assert index.reader.search_captions("nothing") == []
    assert problems(built) == []
    write_clusters(built, PAIRS, method="by hand")
    assert clusters_of(built)[0] == (0, 2)
    add_to_index(photo_folder(tmp_path / "more", 1, first=500), built, TOY)
    with open_index(built) as index:
        assert [r.width for r in index.records([0, 6])] == [0, 64]
    assert problems(built) == []


def test_rows() -> None:
    cluster = np.array([0, 0, -1, 3, 3, 0])
    assert sizes(cluster).tolist() == [3, 3, 1, 2, 2, 3]
    assert wrong_name(cluster) is None
    assert wrong_name(np.array([0, 2, 2])) == 1
    left = without_members(cluster, frozenset({0, 3}))
    assert left[[1, 2, 4, 5]].tolist() == [[0, 2], [-1, 1], [2, 1], [0, 2]]
    assert without_members(cluster, frozenset(range(6))).shape == (6, 2)
    none = np.zeros(0, np.int64)
    assert sizes(none).tolist() == []
    assert wrong_name(none) is None
    assert clusters_entry(none, "", datetime.now(UTC)).largest == 0
