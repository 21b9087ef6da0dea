"""Parquet files: bytes, structs and paths; captions; damage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from guard.errors import ConfigError
from guard.sources import Item, Skip, open_source
from tests.support.references import jpeg, photo_folder


def write(path: Path, **columns: Any) -> Path:
    pq.write_table(pa.table(columns), path, row_group_size=50)
    return path


def found(path: Path, **options: Any) -> list[tuple[str, bytes | None, str]]:
    return [(i.uri, i.data, i.caption) for i in open_source(path, **options).items() if isinstance(i, Item)]


def test_bytes(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", image_bytes=[b"1", b"2"], prompt=["one", None], width=[1, 2])
    assert found(path) == [("a.parquet#0", b"1", "one"), ("a.parquet#1", b"2", "")]


def test_hugging_face_images(tmp_path: Path) -> None:
    photo_folder(tmp_path, 1)
    images = [{"bytes": b"1", "path": "x.jpg"}, {"bytes": None, "path": "0000.jpg"}, None]
    path = write(tmp_path / "a.parquet", image=images, text=[["a", "b"], ["c"], []])
    items = list(open_source(path).items())
    assert isinstance(items[0], Item)
    assert (items[0].data, items[0].caption) == (b"1", "a")
    assert isinstance(items[1], Item)
    assert (items[1].path, items[1].uri) == (tmp_path / "0000.jpg", "a.parquet#1")
    assert isinstance(items[2], Skip)
    assert (items[2].uri, items[2].reason) == ("a.parquet#2", "no_image")


def test_paths(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", file_name=["deep/x.jpg"], caption=["c"])
    (item,) = open_source(path).items()
    assert isinstance(item, Item)
    assert (item.uri, item.path, item.caption) == ("deep/x.jpg", tmp_path / "deep/x.jpg", "c")


@pytest.mark.timeout(300)
def test_paths_to_what_is_no_file_are_skipped(tmp_path: Path) -> None:
    from guard.indexes import build_index
    from tests.support.toys import ToyEmbedder

    photo_folder(tmp_path / "photos", 1)
    path = write(
        tmp_path / "a.parquet", image_path=["photos/0000.jpg", "/dev/zero", "a\0b.jpg", "photos", "gone.jpg", None, ""]
    )
    report = build_index(path, tmp_path / "x.index", ToyEmbedder())
    assert (report.count, report.skipped) == (1, {"missing": 3, "no_image": 2, "not_an_image": 1})


def test_named_columns(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", scan=[b"1"], image=[b"2"], words=["w"], caption=["c"])
    assert found(path, image_column="scan", caption_column="words") == [("a.parquet#0", b"1", "w")]
    with pytest.raises(ConfigError, match=r"'none'.*scan"):
        open_source(path, image_column="none")
    with pytest.raises(ConfigError, match=r"'none'.*scan"):
        open_source(path, caption_column="none")
    with pytest.raises(ConfigError, match="bytes or paths"):
        open_source(write(tmp_path / "b.parquet", n=[1]), image_column="n")
    with pytest.raises(ConfigError, match="--image-column"):
        open_source(tmp_path / "b.parquet")


@pytest.mark.parametrize("start", [0, 1, 49, 50, 99, 120, 149, 150, 200])
def test_a_folder_can_be_entered_anywhere(tmp_path: Path, start: int) -> None:
    rows = [str(i).encode() for i in range(150)]
    write(tmp_path / "a.parquet", image=rows[:100])
    write(tmp_path / "b.parquet", image=rows[100:])
    source = open_source(tmp_path)
    assert source.survey().total == 150
    assert [i.data for i in source.items(start) if isinstance(i, Item)] == rows[start:]


def test_damaged_files_are_listed(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", image=[jpeg(0)] * 3)
    whole = write(tmp_path / "b.parquet", image=[jpeg(1)] * 3).read_bytes()
    write(tmp_path / "c.parquet", image=[jpeg(2)])
    (tmp_path / "b.parquet").write_bytes(whole[:200])
    items = list(open_source(tmp_path).items())
    assert [i.uri for i in items] == ["a.parquet#0", "a.parquet#1", "a.parquet#2", "b.parquet", "c.parquet#0"]
    assert isinstance(items[3], Skip)
    assert items[3].reason == "damaged_source"
    assert open_source(tmp_path).survey().total == 5
    (tmp_path / "a.parquet").write_bytes(b"")
    with pytest.raises(ConfigError, match=r"a\.parquet"):
        open_source(tmp_path)
