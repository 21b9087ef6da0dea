"""Tar shards: keys, captions, patterns, and shards that break off."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import pytest

from guard.errors import ConfigError
from guard.sources import Item, Skip, open_source
from guard.sources.base import count_items
from guard.sources.webdataset import UNPACKED_BYTES, WebDatasetSource, expand_braces
from tests.support.references import jpeg, tar_shard


def members(n: int, prefix: str = "") -> list[tuple[str, bytes]]:
    found: list[tuple[str, bytes]] = []
    for i in range(n):
        found += [(f"{prefix}{i:03d}.jpg", jpeg(i, 32)), (f"{prefix}{i:03d}.txt", f"caption {i}".encode())]
    return found


def test_links_are_listed_and_not_followed(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "s.tar", "w") as archive:
        for name, kind, target in [
            ("a.jpg", tarfile.REGTYPE, ""),
            ("b.jpg", tarfile.LNKTYPE, "a.jpg"),
            ("c.jpg", tarfile.SYMTYPE, "/etc/hostname"),
            ("d.jpg", tarfile.CHRTYPE, ""),
            ("folder.jpg", tarfile.DIRTYPE, ""),
        ]:
            info = tarfile.TarInfo(name)
            info.type, info.linkname, info.size = kind, target, 1 if kind == tarfile.REGTYPE else 0
            archive.addfile(info, io.BytesIO(b"x") if info.size else None)
    items = list(open_source(tmp_path / "s.tar").items())
    assert [type(i).__name__ for i in items] == ["Item", "Skip", "Skip", "Skip"]
    assert [(i.uri, i.reason) for i in items if isinstance(i, Skip)] == [
        (f"s.tar/{name}.jpg", "not_an_image") for name in "bcd"
    ]
    assert [i.uri for i in open_source(tmp_path / "s.tar").items(2)] == ["s.tar/c.jpg", "s.tar/d.jpg"]


def test_one_key_for_everything_is_read_in_parts(tmp_path: Path) -> None:
    """frame.0001.jpg, frame.0002.jpg, ...: neither held in memory as one sample nor lost together."""
    names = [f"frame.{i:04d}.jpg" for i in range(150)]
    path = tar_shard(tmp_path / "s.tar", [(name, b"x") for name in names])
    assert [i.uri for i in open_source(path).items()] == [f"s.tar/{name}" for name in names]
    for start in (1, 63, 64, 65, 149, 150):
        assert [i.uri for i in open_source(path).items(start)] == [f"s.tar/{name}" for name in names[start:]]
    path.write_bytes(path.read_bytes()[: 139 * 1024 + 512])  # in the middle of the 140th member
    items = list(open_source(path).items())
    assert [i.uri for i in items if isinstance(i, Item)] == [f"s.tar/{name}" for name in names[:128]]
    assert [i.reason for i in items if isinstance(i, Skip)] == ["damaged_source"]


def test_keys_and_captions(tmp_path: Path) -> None:
    tar_shard(
        tmp_path / "s.tar",
        [
            ("d.x/a.jpg", b"a"),
            ("d.x/a.json", json.dumps({"caption": "in json"}).encode()),
            ("d.x/b.txt", b"comes first"),
            ("d.x/b.png", b"b"),
            ("c.left.jpg", b"l"),
            ("c.right.webp", b"r"),
            ("c.txt", b"two pictures"),
            ("d.txt", b"no picture"),
        ],
    )
    items = list(open_source(tmp_path / "s.tar").items())
    assert [(i.uri, i.data, i.caption) for i in items if isinstance(i, Item)] == [
        ("s.tar/d.x/a.jpg", b"a", "in json"),
        ("s.tar/d.x/b.png", b"b", "comes first"),
        ("s.tar/c.left.jpg", b"l", "two pictures"),
        ("s.tar/c.right.webp", b"r", "two pictures"),
    ]
    assert [(i.uri, i.reason) for i in items if isinstance(i, Skip)] == [("s.tar/d", "no_image")]


@pytest.mark.parametrize("spec", ["", "shard-{000..001}.tar", "shard-{000,001}.tar"])
def test_folders_and_patterns(tmp_path: Path, spec: str) -> None:
    tar_shard(tmp_path / "shard-000.tar", members(2))
    tar_shard(tmp_path / "shard-001.tar", members(2))
    source = open_source(tmp_path / spec if spec else tmp_path)
    assert isinstance(source, WebDatasetSource)
    assert [i.uri for i in source.items()] == [f"shard-{s:03d}.tar/{i:03d}.jpg" for s in range(2) for i in range(2)]
    assert source.survey().total is None


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_items_are_counted_by_their_headers_and_no_further_than_asked(tmp_path: Path, mode: str) -> None:
    for name in "ab":
        tar_shard(tmp_path / f"{name}.tar", [*members(4), ("note.txt", b"no picture")], mode)
    source = open_source(tmp_path)
    assert source.survey().total is None
    items = len(list(source.items()))
    assert [count_items(source, limit) for limit in (0, 3, items - 1, items, 99)] == [1, 4, items, items, items]
    (tmp_path / "b.tar").write_bytes((tmp_path / "b.tar").read_bytes()[:700])
    assert count_items(source, 99) == len(list(source.items()))  # what breaks off is one skip
    with (tmp_path / "c.tar").open("wb") as file:
        file.write(b"\x1f\x8b")
        file.truncate(UNPACKED_BYTES + 1)
    source = open_source(tmp_path)
    assert count_items(source, 99) is None  # too much to unpack
    assert count_items(source, 3) == 4  # the first shard says enough


def test_a_shard_that_breaks_off_is_reported_and_the_others_are_read(tmp_path: Path) -> None:
    whole = tar_shard(tmp_path / "a.tar", members(6)).read_bytes()
    tar_shard(tmp_path / "b.tar", members(2))
    for kept in (len(whole) // 2, len(whole) - 10_240, 700, 512, 100, 0):
        (tmp_path / "a.tar").write_bytes(whole[:kept])
        items = list(open_source(tmp_path).items())
        skips = [i for i in items if isinstance(i, Skip)]
        assert [(s.uri, s.reason) for s in skips] == [("a.tar", "damaged_source")], kept
        assert [i.uri for i in items[-2:]] == ["b.tar/000.jpg", "b.tar/001.jpg"]
        again = list(open_source(tmp_path).items(1))
        assert [i.uri for i in again] == [i.uri for i in items[1:]]


def test_damaged_headers_and_gzip(tmp_path: Path) -> None:
    whole = tar_shard(tmp_path / "a.tar", members(6)).read_bytes()
    (tmp_path / "a.tar").write_bytes(whole.replace(b"004.jpg", b"!04.jpg"))  # the header's checksum is wrong now
    found = list(open_source(tmp_path / "a.tar").items())
    assert [i.uri for i in found] == [*(f"a.tar/{i:03d}.jpg" for i in range(4)), "a.tar"]
    zipped = tar_shard(tmp_path / "b.tar.gz", members(6), "w:gz").read_bytes()
    (tmp_path / "b.tar.gz").write_bytes(zipped[: len(zipped) // 2])
    skip = list(open_source(tmp_path / "b.tar.gz").items())[-1]
    assert isinstance(skip, Skip)
    assert skip.reason == "damaged_source"


def test_missing_shards_and_large_members_are_listed(tmp_path: Path) -> None:
    tar_shard(tmp_path / "s-0.tar", [("a.jpg", bytes(100)), ("b.jpg", bytes(10))])
    found = list(WebDatasetSource(tmp_path / "s-{0..1}.tar", max_bytes=50).items())
    reasons = [(i.uri, i.reason) for i in found if isinstance(i, Skip)]
    assert reasons == [("s-0.tar/a.jpg", "file_too_large"), ("s-1.tar", "missing")]


def test_patterns() -> None:
    assert expand_braces("a-{08..10}.tar") == ["a-08.tar", "a-09.tar", "a-10.tar"]
    assert expand_braces("{x,y}-{1..2}") == ["x-1", "x-2", "y-1", "y-2"]
    assert expand_braces("plain.tar") == ["plain.tar"]
    assert expand_braces("{odd}.tar") == ["{odd}.tar"]
    with pytest.raises(ConfigError, match="range"):
        expand_braces("{9..1}.tar")


def test_no_shard(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no tar shard"):
        open_source(tmp_path / "none-{0..3}.tar")
