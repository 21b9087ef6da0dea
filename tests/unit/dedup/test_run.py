"""The whole of it: lists, plot, page, versions of the index, a set without duplicates."""

from __future__ import annotations

import csv
import json
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from guard.dedup import Keep, Options, dedup_index, dedup_source
from guard.dedup.lists import COLUMNS
from guard.embedders.registry import load_embedder
from guard.errors import ConfigError, IndexLockedError
from guard.indexes.builder import add_to_index
from guard.indexes.layout import lock_folder
from guard.indexes.store import open_index
from guard.indexes.verify import verify_index
from guard.sources import open_source
from tests.support.duplicates import CLUSTERS

LARGEST = {"astronaut.png", "copies/coffee.png", "chelsea.png", "rocket.png", "camera.png", "retina.png"}


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def index(indexed: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(indexed, tmp_path / "x.index"))


def test_lists(index: Path, out: Path) -> None:
    report = dedup_index(index, out)
    keep, drop = rows(out / "keep.csv"), rows(out / "drop.csv")
    assert (report.pictures, report.kept, report.dropped) == (21, 14, {"bytes": 1, "near": 5, "pixels": 1})
    assert (len(keep), len(drop)) == (14, 7)
    assert {row["uri"] for row in keep} >= {"page-0.png", "hubble_deep_field.png"}
    for row in drop:
        cluster = next(c for c in CLUSTERS if row["uri"] in c)
        assert row["stays_uri"] in cluster
        assert row["cluster_size"] == str(len(cluster))
    why = {row["uri"]: row["why"] for row in drop}
    assert sorted(why.values()) == ["bytes", *["near"] * 5, "pixels"]
    assert why["copies/retina-2.jpg"] == "near"
    for name in ("keep", "drop"):
        table = pq.read_table(out / f"{name}.parquet")
        assert table.column_names == list(COLUMNS)
        assert table.column("uri").to_pylist() == [r["uri"] for r in (keep if name == "keep" else drop)]
    assert "keep.keys" not in report.files


def test_the_index_knows_its_clusters(index: Path, out: Path) -> None:
    report = dedup_index(index, out)
    with open_index(index) as opened:
        assert opened.version == report.version == "0002"
        sizes = {r.uri: r.cluster_size for r in opened.reader.all()}
    assert sizes["retina.png"] == 3
    assert sizes["page-0.png"] == 1
    assert not any(finding.problem for finding in verify_index(index))
    assert dedup_index(index, out).version == "0002"  # nothing new to say


def test_nothing_is_published_if_nobody_wants_it(index: Path, out: Path) -> None:
    assert dedup_index(index, out, publish=False).version == "0001"


def test_what_stays_is_a_choice(index: Path, out: Path) -> None:
    for keep, uri in ((Keep.LARGEST, "chelsea.png"), (Keep.CAPTION, "copies/chelsea.jpg")):
        dedup_index(index, out, Options(keep=keep))
        kept = {row["uri"] for row in rows(out / "keep.csv")}
        assert kept & {"chelsea.png", "copies/chelsea.jpg"} == {uri}


def test_summary_and_skipped(index: Path, out: Path) -> None:
    report = dedup_index(index, out)
    summary = json.loads((out / "summary.json").read_text())
    assert summary == json.loads(json.dumps(report.to_dict()))
    assert report.skipped == {"damaged": 1, "empty": 1}
    lines = [json.loads(line) for line in (out / "skipped.jsonl").read_text().splitlines()]
    assert {line["uri"] for line in lines} == {"broken.png", "empty.jpg"}
    assert set(report.files) | {"LOCK", "pairs.sqlite"} == {p.name for p in (out).iterdir()}


class Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.images: list[str] = []
        self.tags: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            assert not name.startswith("on"), name
            if name in ("src", "href"):
                self.images.append(value or "")

    def handle_data(self, data: str) -> None:
        self.text += data


def test_page_and_plot(index: Path, photos: Path, tmp_path: Path, out: Path) -> None:
    evil = "<script>alert(1)</script>&\"'"
    folder = tmp_path / "more"
    folder.mkdir()
    for name in ("a.png", f"{evil[:8]}b.png".replace("/", "-")):
        shutil.copy(photos / "astronaut.png", folder / name)
    (folder / "a.txt").write_text(evil)
    add_to_index(folder, index, load_embedder(), duplicates=True)
    dedup_index(index, out, Options(keep=Keep.CAPTION))
    text = (out / "clusters.html").read_text(encoding="utf-8")
    page = Page()
    page.feed(text)
    assert "<script" not in text
    assert evil in page.text
    assert "<script>b.png"[:8] in page.text
    assert len(page.images) == sum(len(c) for c in CLUSTERS) + 2
    assert all(image.startswith("data:image/jpeg;base64,") for image in page.images)
    assert "http" not in text.replace("http-equiv", "")
    assert "prefers-color-scheme: dark" in text
    assert page.tags.count("section") == len(CLUSTERS)
    with Image.open(out / "histogram.png") as plot:
        assert plot.format == "PNG"
        assert len(np.unique(np.asarray(plot.convert("RGB")).reshape(-1, 3), axis=0)) > 10


def test_a_source_from_nothing(photos: Path, tmp_path: Path, out: Path) -> None:
    source = open_source(photos)
    report = dedup_source(source, out, load_embedder(), apply=tmp_path / "once")
    assert (report.kept, report.skipped) == (14, {"damaged": 1, "empty": 1})
    assert report.build is not None
    assert report.build.added == 21
    again = dedup_source(source, out, load_embedder(), apply=tmp_path / "once")
    assert again.build is not None
    assert again.build.unchanged
    assert again.applied == report.applied


def test_a_folder_of_hard_links(index: Path, photos: Path, tmp_path: Path, out: Path) -> None:
    report = dedup_index(index, out, source=open_source(photos), apply=tmp_path / "once")
    applied = report.applied
    assert applied is not None
    assert (applied.kept, applied.dropped, applied.unreadable, applied.copied) == (14, 7, 2, 1)
    once = tmp_path / "once"
    kept = {p.relative_to(once).as_posix() for p in once.rglob("*") if p.is_file()}
    assert kept >= LARGEST
    assert not {"broken.png", "empty.jpg", "copies/rocket.jpg", "copies/rocket.txt"} & kept
    assert {"LICENSE", "metadata.jsonl", "dedup.json"} <= kept
    assert len(kept) == 14 + 3
    for name in LARGEST:
        assert (photos / name).samefile(once / name)
    assert (once / "metadata.jsonl").read_text() == '{"file_name": "chelsea.png", "text": "a cat"}\n'
    again = dedup_index(index, out, source=open_source(photos), apply=once)
    assert again.applied == applied
    assert not (tmp_path / ".once.partial").exists()


def test_captions_go_with_their_picture(index: Path, photos: Path, tmp_path: Path, out: Path) -> None:
    dedup_index(index, out, Options(keep=Keep.CAPTION, copy=True), source=open_source(photos),
                apply=tmp_path / "once")  # fmt: skip
    assert (tmp_path / "once" / "copies" / "rocket.txt").read_text() == "a rocket on its pad at dusk"
    assert not (photos / "page-0.png").samefile(tmp_path / "once" / "page-0.png")
    assert (tmp_path / "once" / "page-0.png").read_bytes() == (photos / "page-0.png").read_bytes()


def test_the_set_that_was_written_has_no_duplicates(index: Path, photos: Path, tmp_path: Path, out: Path) -> None:
    dedup_index(index, out, source=open_source(photos), apply=tmp_path / "once")
    report = dedup_source(open_source(tmp_path / "once"), tmp_path / "again", load_embedder())
    assert (report.clusters, report.kept, report.skipped) == (0, 14, {})


@pytest.mark.parametrize("change", ["bytes", "new"])
def test_a_source_that_changed_is_refused(index: Path, photos: Path, tmp_path: Path, change: str, out: Path) -> None:
    folder = Path(shutil.copytree(photos, tmp_path / "photos"))
    if change == "bytes":
        (folder / "page-1.png").write_bytes((folder / "page-2.png").read_bytes())
    else:
        shutil.copy(folder / "page-1.png", folder / "page-9.png")
    with pytest.raises(ConfigError, match=r"page-\d.png is not what was looked at"):
        dedup_index(index, out, source=open_source(folder), apply=tmp_path / "once")
    assert not (tmp_path / "once").exists()


def test_a_source_that_was_only_touched_is_taken(index: Path, photos: Path, tmp_path: Path, out: Path) -> None:
    folder = Path(shutil.copytree(photos, tmp_path / "photos", copy_function=shutil.copyfile))
    report = dedup_index(index, out, source=open_source(folder), apply=tmp_path / "once")
    assert report.applied is not None
    assert report.applied.kept == 14


def test_what_is_in_the_way_stays(index: Path, photos: Path, tmp_path: Path, out: Path) -> None:
    source = open_source(photos)
    (tmp_path / "once").mkdir()
    (tmp_path / "once" / "mine.txt").write_text("mine")
    with pytest.raises(ConfigError, match="holds something else"):
        dedup_index(index, out, source=source, apply=tmp_path / "once")
    assert [p.name for p in (tmp_path / "once").iterdir()] == ["mine.txt"]
    (tmp_path / ".once.partial").mkdir()
    (tmp_path / ".once.partial" / "mine.txt").write_text("mine")
    with pytest.raises(ConfigError, match="move them away"):
        dedup_index(index, out, source=source, apply=tmp_path / "once")
    (tmp_path / ".new.partial").mkdir()
    (tmp_path / ".new.partial" / "mine.txt").write_text("mine")
    with pytest.raises(ConfigError, match="move them away"):
        dedup_index(index, out, source=source, apply=tmp_path / "new")
    with pytest.raises(ConfigError, match="lies within"):
        dedup_index(index, out, source=source, apply=photos / "once")
    with pytest.raises(ConfigError, match="lies within"):
        dedup_source(source, photos / "out", load_embedder())
    with pytest.raises(ConfigError, match="name the source"):
        dedup_index(index, out, apply=tmp_path / "new2")
    with pytest.raises(ConfigError, match="is an index"):
        dedup_index(index, index)


def test_one_at_a_time(index: Path, out: Path) -> None:
    with lock_folder(out), pytest.raises(IndexLockedError, match="written by process"):
        dedup_index(index, out)
