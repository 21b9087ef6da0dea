"""Shards and parquet files without their duplicates."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from guard.dedup import Keep, Options, dedup_source
from guard.embedders.registry import load_embedder
from guard.errors import ConfigError
from guard.sources import open_source
from tests.support.references import jpeg, tar_shard

PDQ = load_embedder("pdq")


def members(path: Path) -> dict[str, bytes]:
    with tarfile.open(path) as archive:
        return {info.name: archive.extractfile(info).read() for info in archive}  # type: ignore[union-attr]


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """Pictures 0 to 6, some with captions; 0 and 6 again; a sample without a picture, and one that is broken."""
    folder = tmp_path / "shards"
    folder.mkdir()
    first = [(f"{i:04d}.{s}", d) for i in range(3) for s, d in (("jpg", jpeg(i)), ("txt", b"word " * i))]
    first += [("0009.jpg", jpeg(0)), ("0009.json", b'{"caption": "a long and good caption"}')]
    second = [("dir/a.jpg", jpeg(0)), ("dir/a.cls", b"7"), ("b.txt", b"alone"), ("c.jpg", b"\xff\xd8\xffbroken")]
    second += [("d.jpg", jpeg(5)), ("d.seg.png", jpeg(6)), ("e.jpg", jpeg(6))]
    tar_shard(folder / "s-0.tar", first)
    tar_shard(folder / "s-1.tar.gz", second, "w:gz")
    return folder


def test_shards(shards: Path, tmp_path: Path) -> None:
    source = open_source(str(shards))
    report = dedup_source(source, tmp_path / "out", PDQ, Options(keep=Keep.CAPTION), apply=tmp_path / "once")
    applied = report.applied
    assert applied is not None
    assert (applied.kept, applied.dropped, applied.unreadable, applied.copied) == (5, 3, 2, 2)
    first, second = members(tmp_path / "once" / "s-0.tar"), members(tmp_path / "once" / "s-1.tar.gz")
    assert sorted(first) == ["0001.jpg", "0001.txt", "0002.jpg", "0002.txt", "0009.jpg", "0009.json"]
    assert sorted(second) == ["d.jpg", "d.seg.png"]  # the picture that e.jpg shows stays in its sample
    assert first["0009.jpg"] == jpeg(0)
    keys = (tmp_path / "out" / "keep.keys").read_text().splitlines()
    assert keys == ["0001", "0002", "0009", "d"]
    assert report.skipped == {"damaged": 1, "no_image": 1}
    again = dedup_source(open_source(str(tmp_path / "once")), tmp_path / "again", PDQ)
    assert again.clusters == 0


def test_keys_that_stand_in_two_shards_are_no_list(shards: Path, tmp_path: Path) -> None:
    tar_shard(shards / "s-2.tar", [("0001.jpg", jpeg(77))])
    report = dedup_source(open_source(str(shards)), tmp_path / "out", PDQ)
    assert "'0001' stands in s-0.tar and in s-2.tar" in report.note
    assert not (tmp_path / "out" / "keep.keys").exists()


def test_a_shard_that_breaks_off(shards: Path, tmp_path: Path) -> None:
    whole = (shards / "s-0.tar").read_bytes()
    (shards / "s-0.tar").write_bytes(whole[: len(whole) // 2])
    report = dedup_source(open_source(str(shards)), tmp_path / "out", PDQ, apply=tmp_path / "once")
    assert report.skipped["damaged_source"] == 1
    assert report.applied is not None
    assert report.applied.kept == report.kept
    assert set(members(tmp_path / "once" / "s-0.tar")) < set(_names(whole))


def _names(data: bytes) -> list[str]:
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return archive.getnames()


def test_a_missing_shard_of_a_pattern(shards: Path, tmp_path: Path) -> None:
    (shards / "s-1.tar.gz").unlink()
    source = open_source(f"{shards}/s-{{0..1}}.tar")
    report = dedup_source(source, tmp_path / "out", PDQ, apply=tmp_path / "once")
    assert report.skipped == {"missing": 1}
    assert report.applied is not None
    assert (report.applied.kept, report.applied.unreadable) == (3, 1)
    assert [p.name for p in sorted((tmp_path / "once").iterdir())] == ["dedup.json", "s-0.tar"]


@pytest.mark.parametrize("form", ["bytes", "struct"])
def test_parquet(tmp_path: Path, form: str) -> None:
    folder = tmp_path / "tables"
    folder.mkdir()
    for number, seeds in enumerate([[0, 1, 0, 2], [2, 3, None]]):
        pictures = [jpeg(s) if s is not None else None for s in seeds]
        column = pictures if form == "bytes" else [{"bytes": p, "path": None} if p else None for p in pictures]
        table = pa.table({"image": column, "text": [f"{s}" for s in seeds], "extra": list(range(len(seeds)))})
        pq.write_table(table.replace_schema_metadata({"huggingface": "{}"}), folder / f"t-{number}.parquet")
    report = dedup_source(open_source(str(folder)), tmp_path / "out", PDQ, apply=tmp_path / "once")
    assert report.applied is not None
    assert (report.applied.kept, report.applied.dropped, report.applied.unreadable) == (4, 2, 1)
    first, second = (pq.read_table(tmp_path / "once" / f"t-{i}.parquet") for i in range(2))
    assert (first.column("extra").to_pylist(), second.column("extra").to_pylist()) == ([0, 1, 3], [1])
    assert first.schema.metadata[b"huggingface"] == b"{}"
    assert dedup_source(open_source(str(tmp_path / "once")), tmp_path / "again", PDQ).clusters == 0


def test_a_parquet_of_paths_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "tables"
    folder.mkdir()
    for seed in range(2):
        (folder / f"{seed}.jpg").write_bytes(jpeg(0))
    pq.write_table(pa.table({"path": [f"tables/{i}.jpg" for i in (0, 1, 1)]}), tmp_path / "tables.parquet")
    source = open_source(str(tmp_path / "tables.parquet"))
    assert dedup_source(source, tmp_path / "out", PDQ).dropped == {"bytes": 2}
    with pytest.raises(ConfigError, match="paths of pictures"):
        dedup_source(source, tmp_path / "out", PDQ, apply=tmp_path / "once")
