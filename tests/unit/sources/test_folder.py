"""A folder as a source: order, captions, links, and what is no picture."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from guard.errors import ConfigError
from guard.sources import Item, Skip, open_source
from tests.support.references import captioned, jpeg, photo_folder


def listed(path: Path, **options: str) -> list[str]:
    return [item.uri for item in open_source(path, **options).items()]


def captions(path: Path, **options: str) -> dict[str, str]:
    return {i.uri: i.caption for i in open_source(path, **options).items() if isinstance(i, Item)}


def test_order_is_by_name_depth_first(tmp_path: Path) -> None:
    for name in ("b.jpg", "a/2.png", "a/10.png", "c/x.webp", "B.JPG"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(jpeg(0))
    assert listed(tmp_path) == ["B.JPG", "a/10.png", "a/2.png", "b.jpg", "c/x.webp"]
    survey = open_source(tmp_path).survey()
    assert (survey.total, survey.ignored) == (5, 0)


@pytest.mark.parametrize("start", [0, 1, 4, 5, 9])
def test_it_can_be_entered_anywhere(tmp_path: Path, start: int) -> None:
    photo_folder(tmp_path, 5)
    source = open_source(tmp_path)
    assert [i.uri for i in source.items(start)] == [f"{i:04d}.jpg" for i in range(start, 5)]


def test_links_are_followed_and_loops_end(tmp_path: Path) -> None:
    photos = photo_folder(tmp_path / "photos", 1)
    elsewhere = photo_folder(tmp_path / "elsewhere", 2)
    (photos / "link").symlink_to(elsewhere)
    (photos / "self").symlink_to(photos)
    (elsewhere / "up").symlink_to(tmp_path)
    assert listed(photos) == ["0000.jpg", "link/0000.jpg", "link/0001.jpg"]


def test_what_is_no_picture_is_ignored_and_counted(tmp_path: Path) -> None:
    photo_folder(tmp_path, 1)
    for name in (".DS_Store", "readme.md", "notes.txt", "data.bin"):
        (tmp_path / name).write_bytes(b"no picture")
    (tmp_path / "suffixless").write_bytes(jpeg(1))
    (tmp_path / "0000.txt").write_text("a caption")
    assert listed(tmp_path) == ["0000.jpg", "suffixless"]
    assert open_source(tmp_path).survey().ignored == 4


def test_sidecar_captions(tmp_path: Path) -> None:
    captioned(tmp_path, "a", 0, "  a red fox\n")
    captioned(tmp_path, "b", 1, fields={"prompt": "a crow", "width": 3})
    captioned(tmp_path, "c", 2, fields={"other": "words"})
    captioned(tmp_path, "d", 3)
    (tmp_path / "c.json").write_text("{damaged")
    assert captions(tmp_path) == {"a.jpg": "a red fox", "b.jpg": "a crow", "c.jpg": "", "d.jpg": ""}


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_imagefolder_metadata(tmp_path: Path, form: str) -> None:
    photo_folder(tmp_path / "deep", 2)
    photo_folder(tmp_path, 2)
    rows = [("0000.jpg", "zero"), ("deep/0001.jpg", "deep, one"), ("gone.jpg", "no file")]
    if form == "csv":
        text = "file_name,text\n" + "".join(f'{name},"{text}"\n' for name, text in rows)
    else:
        text = "".join(json.dumps({"file_name": name, "text": text}) + "\n" for name, text in rows)
    (tmp_path / f"metadata.{form}").write_text(text)
    items = list(open_source(tmp_path).items())
    assert captions(tmp_path) == {
        "0000.jpg": "zero",
        "0001.jpg": "",
        "deep/0000.jpg": "",
        "deep/0001.jpg": "deep, one",
    }
    assert isinstance(items[-1], Skip)
    assert (items[-1].uri, items[-1].reason) == ("gone.jpg", "missing")
    assert open_source(tmp_path).survey().total == len(items) == 5
    with pytest.raises(ConfigError, match="'nothing'"):
        captions(tmp_path, caption_column="nothing")


def test_what_a_table_lists_and_no_walk_yields_is_skipped_with_a_reason(tmp_path: Path) -> None:
    photos = photo_folder(tmp_path / "photos", 1)
    photo_folder(tmp_path / "private", 1)
    (photos / "notes.md").write_text("no picture")
    names = ["0000.jpg", "../private/0000.jpg", str(tmp_path / "private" / "0000.jpg"), "notes.md", "gone.jpg"]
    (photos / "metadata.csv").write_text("file_name,text\n" + "".join(f"{name},x\n" for name in names))
    items = list(open_source(photos).items())
    assert [i.uri for i in items if isinstance(i, Item)] == ["0000.jpg"]
    assert sorted((s.uri, s.reason) for s in items if isinstance(s, Skip)) == [
        ("../private/0000.jpg", "outside"),
        ("../private/0000.jpg", "outside"),
        ("gone.jpg", "missing"),
        ("notes.md", "not_an_image"),
    ]
    assert open_source(photos).survey().total == len(items)


@pytest.mark.timeout(300)
def test_pipes_and_devices_are_never_opened(tmp_path: Path) -> None:
    from guard.indexes import build_index
    from tests.support.toys import ToyEmbedder

    photos = photo_folder(tmp_path / "photos", 1)
    os.mkfifo(photos / "pipe.jpg")
    os.mkfifo(photos / "suffixless")
    os.mkfifo(photos / "0000.txt")
    (photos / "zero.png").symlink_to("/dev/zero")
    report = build_index(photos, tmp_path / "x.index", ToyEmbedder())
    assert (report.count, report.skipped, report.ignored) == (1, {"not_an_image": 2}, 1)


def test_a_long_caption_file_is_not_read_to_its_end(tmp_path: Path) -> None:
    captioned(tmp_path, "a", 0, "words")
    with (tmp_path / "a.txt").open("r+b") as file:
        file.truncate(1 << 36)  # sparse: 64 GiB that nobody has the memory for
    assert captions(tmp_path)["a.jpg"].startswith("words")


def test_metadata_without_names_is_refused(tmp_path: Path) -> None:
    photo_folder(tmp_path, 1)
    (tmp_path / "metadata.jsonl").write_text('{"text": "x"}\n')
    with pytest.raises(ConfigError, match="file_name"):
        list(open_source(tmp_path).items())


def test_the_fingerprint_follows_the_files(tmp_path: Path) -> None:
    photo_folder(tmp_path, 2)

    def now() -> str:
        return open_source(tmp_path).survey().fingerprint

    first = now()
    assert now() == first
    (tmp_path / "0000.txt").write_text("a caption")
    second = now()
    os.utime(tmp_path / "0001.jpg", (1, 1))
    third = now()
    (tmp_path / "0001.jpg").rename(tmp_path / "0002.jpg")
    assert len({first, second, third, now()}) == 4


def test_one_picture(tmp_path: Path) -> None:
    photo_folder(tmp_path, 2)
    assert listed(tmp_path / "0001.jpg") == ["0001.jpg"]


def test_names_that_are_no_text(tmp_path: Path) -> None:
    from guard.indexes import build_index, open_index
    from tests.support.toys import ToyEmbedder

    folder = tmp_path / "photos"
    folder.mkdir()
    name = os.fsencode(folder) + b"/caf\xe9.jpg"
    try:
        with open(name, "wb") as file:  # noqa: PTH123 - a Path cannot hold these bytes
            file.write(jpeg(0))
    except OSError:
        pytest.skip("this file system refuses names that are not UTF-8")
    build_index(folder, tmp_path / "x.index", ToyEmbedder())
    with open_index(tmp_path / "x.index") as index:
        assert index.records([0])[0].uri == "caf\\xe9.jpg"


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none does not exist"):
        open_source(tmp_path / "none")
