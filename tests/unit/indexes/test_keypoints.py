"""Keypoints in an index: of every picture, carried along, sealed, checked, and never needed to give an answer."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from guard import Guard
from guard.errors import ConfigError
from guard.indexes import open_index, open_overlaid
from guard.indexes.builder import add_to_index, build_index
from guard.indexes.edit import merge_indexes, remove_from_index
from guard.indexes.records import KEYPOINTS, THUMBNAILS
from guard.indexes.sealing import SealingKey
from guard.indexes.transforming import transform_index
from guard.indexes.verify import verify_index
from guard.verification.stored import pack_thumbnail
from tests.support.references import photo_folder
from tests.support.toys import ToyEmbedder, picture

TOY = ToyEmbedder()
KEY = SealingKey(bytes(range(32)))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return photo_folder(tmp_path / "photos", 5)


@pytest.fixture
def index(tmp_path: Path, photos: Path) -> Path:
    build_index(photos, tmp_path / "x.index", TOY, keypoints=True)
    return tmp_path / "x.index"


def each_fits_its_thumbnail(path: Path, count: int, key: SealingKey | None = None) -> None:
    with open_overlaid(path, key=key) as found:
        assert len(found) == count
        for i in range(count):
            thumbnail = found.thumbnail(i)
            assert thumbnail is not None
            assert found.keypoints(i) == pack_thumbnail(thumbnail)
    assert {one.check: one.problem for one in verify_index(path) if one.problem} == {}


def test_each_reference_has_its_own_wherever_it_goes(tmp_path: Path, index: Path) -> None:
    each_fits_its_thumbnail(index, 5)
    assert build_index(tmp_path / "photos", index, TOY, keypoints=True).unchanged
    add_to_index(photo_folder(tmp_path / "more", 2, side=80), index, TOY)
    each_fits_its_thumbnail(index, 7)
    remove_from_index(index, ids=[0, 3])
    each_fits_its_thumbnail(index, 5)
    transform_index(index, whiten=True)
    each_fits_its_thumbnail(index, 5)
    merge_indexes(index, index, tmp_path / "z.index", duplicates=True)
    each_fits_its_thumbnail(tmp_path / "z.index", 10)


def test_a_part_without_keypoints_goes_on_without(tmp_path: Path, photos: Path, index: Path) -> None:
    build_index(photos, tmp_path / "plain.index", TOY)
    merge_indexes(tmp_path / "plain.index", index, tmp_path / "z.index")
    with open_index(tmp_path / "z.index") as merged:
        assert [merged.keypoints(i) is None for i in range(10)] == [True] * 5 + [False] * 5
    assert {one.check: one.problem for one in verify_index(tmp_path / "z.index") if one.problem} == {}


def test_an_interrupted_build_goes_on_with_them(tmp_path: Path) -> None:
    many = photo_folder(tmp_path / "many", 40)

    def stop(done: int, _total: int | None) -> None:
        if done >= 36:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_index(many, tmp_path / "m.index", TOY, keypoints=True, batch=16, on_progress=stop)
    with pytest.raises(ConfigError, match="keypoints"):
        build_index(many, tmp_path / "m.index", TOY, batch=16)
    assert build_index(many, tmp_path / "m.index", TOY, keypoints=True, batch=16).resumed_at > 0
    each_fits_its_thumbnail(tmp_path / "m.index", 40)


def test_they_are_sealed_as_thumbnails_are(tmp_path: Path, photos: Path, index: Path) -> None:
    build_index(photos, tmp_path / "s.index", TOY, keypoints=True, key=KEY)
    each_fits_its_thumbnail(tmp_path / "s.index", 5, KEY)
    with open_index(index) as plain, open_index(tmp_path / "s.index") as shut:
        assert shut.keypoints(0) is None
        told = plain.keypoints(0)
        assert told is not None
        files = [file.read_bytes() for file in (tmp_path / "s.index").rglob("*") if file.is_file()]
        assert not any(told[10:60] in data for data in files)


def test_a_check_gives_the_same_evidence_with_them_without_them_and_with_damaged_ones(
    tmp_path: Path, photos: Path, index: Path
) -> None:
    def evidence(path: Path) -> list[object]:
        guard = Guard.open(path, embedder=TOY, verify=True, verify_budget_ms=60_000)
        (verdict,) = guard.check([picture(3)])
        assert verdict.verified
        return [(match.record.uri, match.evidence) for match in verdict.matches]

    build_index(photos, tmp_path / "plain.index", TOY)
    expected = evidence(tmp_path / "plain.index")
    assert expected
    assert evidence(index) == expected
    for damage in ("UPDATE keypoints SET data = CAST(zeroblob(LENGTH(data)) AS BLOB)", "DROP TABLE keypoints"):
        with closing(sqlite3.connect(index / "versions" / "0001" / KEYPOINTS)) as table, table:
            table.execute(damage)
        assert evidence(index) == expected


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("UPDATE keypoints SET data = CAST(substr(data, 1, 900) AS BLOB)", "are damaged"),
        ("UPDATE keypoints SET data = CAST(zeroblob(5000) AS BLOB)", "not made by"),
        ("INSERT INTO keypoints VALUES (7, x'00')", "id 7"),
    ],
)
def test_verify_names_what_is_wrong(index: Path, change: str, said: str) -> None:
    with closing(sqlite3.connect(index / "versions" / "0001" / KEYPOINTS)) as table, table:
        table.execute(change)
    problems = {one.check: one.problem for one in verify_index(index) if one.problem}
    assert said in problems["keypoints"]
    assert KEYPOINTS in problems["keypoints"]


def test_verify_finds_keypoints_of_another_thumbnail(tmp_path: Path, index: Path) -> None:
    with closing(sqlite3.connect(index / "versions" / "0001" / THUMBNAILS)) as table, table:
        table.execute("DELETE FROM thumbnails WHERE id = 2")
    problems = {one.check: one.problem for one in verify_index(index) if one.problem}
    assert "id 2, which has no thumbnail" in problems["keypoints"]


def test_without_thumbnails_there_are_none(tmp_path: Path, photos: Path) -> None:
    with pytest.raises(ConfigError, match="beside thumbnails"):
        build_index(photos, tmp_path / "x.index", TOY, keypoints=True, thumbnails=0)
