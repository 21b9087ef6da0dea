"""Deletion means deletion: no byte of a purged picture is left in any file of an index, its overlay or a log."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from guard import Guard
from guard.cli.main import app
from guard.decode import decode
from guard.embedders.pdq import packed_hash
from guard.errors import ConfigError
from guard.events import EventLog
from guard.events.record import Outcome
from guard.indexes import Overlay, build_index, open_index, transform_index
from guard.indexes.builder import add_to_index
from guard.indexes.overlay import Addition
from guard.indexes.verify import verify_index
from guard.pixels import to_batch
from guard.purge import purge
from tests.support.references import jpeg, photo_folder
from tests.support.toys import ToyEmbedder

CAPTION = "zebra quartz portrait"
NAME = "xylophone-0003.jpg"
SHA256 = hashlib.sha256(jpeg(3)).hexdigest()


def markers(path: Path) -> dict[str, bytes]:
    """What tells that a file holds something of the picture; of a JPEG the end, since tables are the same in all."""
    with open_index(path) as index:
        (i,) = index.reader.ids_where(sha256s=[SHA256])
        thumbnail = index.thumbnail(i)
        stored, keypoints = index.descriptors([i])[0], index.keypoints(i)
    assert thumbnail is not None
    assert keypoints is not None
    rgb = decode(jpeg(3)).rgb
    own = np.asarray(ToyEmbedder().embed(to_batch(rgb)))[0]
    hashed = packed_hash(rgb)
    assert hashed is not None
    (event,) = [event for event in EventLog(path.parent / "events.sqlite").all() if event.prompt == CAPTION]
    assert event.thumbnail is not None
    return {
        "logged picture": event.thumbnail[-26:-2],
        "caption": CAPTION.encode(),
        "uri": NAME.encode(),
        "sha256": SHA256.encode(),
        "thumbnail": thumbnail[-26:-2],
        "keypoints": keypoints[-64:],
        "vector": stored.astype("<f4").tobytes()[:64],
        "original": own.astype("<f4").tobytes()[:64],
        "descriptor": own.astype("<f2").tobytes()[:64],
        "hash": hashed,
    }


def holding(folder: Path, marks: dict[str, bytes]) -> dict[str, list[str]]:
    """Of each mark the files that hold it."""
    files = {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    return {
        name: sorted(file for file, data in files.items() if mark in data or file.endswith(NAME))
        for name, mark in marks.items()
    }


@pytest.fixture(params=["plain", "whitened"])
def place(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A folder with an index of two versions and an unfinished build, an overlay with everything, and a log."""
    photos = photo_folder(tmp_path / "photos", 8)
    (photos / "0003.jpg").rename(photos / NAME)
    (photos / NAME).with_suffix(".txt").write_text(CAPTION, encoding="utf-8")
    place = tmp_path / "place"
    place.mkdir()
    path = place / "x.index"
    build_index(photos, path, ToyEmbedder(), keypoints=True)
    if request.param == "whitened":
        transform_index(path, whiten=True)
    else:
        add_to_index(photo_folder(tmp_path / "more", 1, first=500), path, ToyEmbedder())
    rgb = decode(jpeg(3)).rgb
    vectors = np.asarray(ToyEmbedder().embed(to_batch(rgb)))
    overlay = Overlay(path)
    with open_index(path) as index:
        thumbnail = index.thumbnail(int(index.reader.ids_where(sha256s=[SHA256]).pop()))
    one = Addition(NAME, SHA256, vectors, CAPTION, packed_hash(rgb), thumbnail)
    overlay.add([one], ["opt-out"], who="anna", why=f"of {CAPTION}")
    settings = {"path": place / "events.sqlite", "thumbnails": True, "descriptors": True, "prompts": "plain"}
    guard = Guard.open(path, embedder=ToyEmbedder(), events=settings, policy={"flag": 0.9, "block": 0.95})
    for seed in (3, 5):
        guard.check([decode(jpeg(seed)).rgb], prompts=[CAPTION if seed == 3 else "another"])
    assert guard.events is not None
    assert guard.events.flush(30)
    guard.events.close()
    guard.index.close()  # type: ignore[attr-defined]
    overlay.exempt(SHA256, vectors[0], who="ben")
    log = EventLog(place / "events.sqlite")
    (event,) = [event for event in log.all() if event.prompt == CAPTION]
    log.review(event.id, Outcome.CONFIRM, who="carl", note=f"it is {NAME}")
    half = path / "building"
    half.mkdir()
    (half / "records.sqlite").write_bytes(CAPTION.encode())
    return place


def test_no_byte_is_left(place: Path) -> None:
    path = place / "x.index"
    marks = markers(path)
    before = holding(place, marks)
    assert all(before.values()), before
    everywhere = {"x.index/overlay.sqlite", "x.index/building/records.sqlite", "events.sqlite"}
    everywhere |= {f"x.index/versions/{name}/records.sqlite" for name in ("0001", "0002")}
    assert everywhere <= {name for files in before.values() for name in files}
    with open_index(path) as index:
        count = len(index)
    report = purge(path, [SHA256], who="dora", logs=[place / "events.sqlite"], wait_s=5)
    assert not any(holding(place, marks).values())
    assert (report.removed, report.overlay, report.events, report.left) == (1, 1, 1, ())
    assert "building" in report.deleted
    assert not any(finding.problem for finding in verify_index(path))
    with open_index(path) as index:
        assert len(index) == count - 1
    events = list(EventLog(place / "events.sqlite").all())
    assert len(events) == 2
    gone = next(event for event in events if event.thumbnail is None)
    assert gone.matches[0]["uri"] == "(purged)"
    assert gone.matches[0]["similarity"] > 0.9
    assert gone.outcome is Outcome.CONFIRM
    kept = next(event for event in events if event.thumbnail is not None)
    assert kept.prompt == "another"
    assert [change.who for change in Overlay(path).history()][-1] == "dora"
    assert {change.key for change in Overlay(path).history()} == {""}
    assert "0002" in report.deleted
    again = purge(path, [SHA256], who="dora", logs=[place / "events.sqlite"], wait_s=5)
    assert (again.removed, again.overlay, again.events, again.left) == (0, 0, 0, ())


@pytest.mark.parametrize("place", ["plain"], indirect=True)
def test_what_another_process_keeps_open_is_said_and_finished_later(place: Path) -> None:
    path = place / "x.index"
    marks = markers(path)
    code = "import sys; from guard.indexes import *; i = open_index(sys.argv[1]); print('open', flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as reader:
        assert reader.stdout is not None
        assert reader.stdout.readline() == "open\n"
        report = purge(path, [SHA256], who="dora", wait_s=0.1)
        reader.communicate("\n")
    assert len(report.left) == 1
    assert "versions/0002" in report.left[0]
    assert any("x.index/versions/0002" in name for files in holding(place, marks).values() for name in files)
    report = purge(path, [SHA256], who="dora", logs=[place / "events.sqlite"], wait_s=5)
    assert report.left == ()
    assert not any(holding(place, marks).values())


@pytest.mark.parametrize("place", ["plain"], indirect=True)
def test_by_command(place: Path) -> None:
    runner, path, log = CliRunner(), place / "x.index", place / "events.sqlite"
    marks = markers(path)
    aside = place / "events.sqlite.damaged-20260101T000000Z-00000000"
    aside.write_bytes(b"?")
    words = ["index", "remove", str(path), "--uri", NAME, "--purge", "--log", str(log), "--json"]
    result = runner.invoke(app, words)
    assert result.exit_code == 3  # a log that was set aside may hold it
    report = json.loads(result.stdout)
    assert (report["removed"], report["overlay"], report["events"]) == (1, 1, 1)
    assert aside.name in report["left"][0]
    aside.unlink()
    result = runner.invoke(app, ["optout", "remove", "--sha256", SHA256, "--index", str(path), "--purge", "--who", "e"])
    assert result.exit_code == 0
    assert not any(holding(place, marks).values())
    for wrong in (["--uri", NAME, "--purge"], ["--uri", "0001.jpg", "--log", str(log)]):
        assert runner.invoke(app, ["index", "remove", str(path), *wrong]).exit_code == 2
    with pytest.raises(ConfigError, match="no such log"):
        purge(path, [SHA256], who="dora", logs=[place / "none.sqlite"])
    with pytest.raises(ConfigError, match="say what"):
        purge(path, [], who="dora")


@pytest.mark.parametrize("place", ["plain"], indirect=True)
def test_the_history_says_who_purged_what_the_overlay_never_held(place: Path) -> None:
    path, other = place / "x.index", hashlib.sha256(jpeg(5)).hexdigest()
    before = len(Overlay(path).history())
    words = ["optout", "remove", "--sha256", other, "--index", str(path)]
    words += ["--purge", "--who", "eve", "--why", "a letter"]
    assert CliRunner().invoke(app, words).exit_code == 0
    *_, last = Overlay(path).history()
    assert (last.who, last.action, last.key, last.detail) == ("eve", "purge", "", {"why": "a letter"})
    assert len(Overlay(path).history()) == before + 1
    assert purge(path, [other], who="eve", wait_s=5).removed == 0  # nothing is left to purge, and nothing to say
    assert len(Overlay(path).history()) == before + 1
