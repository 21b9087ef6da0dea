"""`memguard events` on a real log, in process."""

from __future__ import annotations

import io
import json
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from PIL import Image
from typer.testing import CliRunner

from guard import Decision, Match, Record
from guard.cli.main import app
from guard.events import EventFilter, EventLog, Outcome
from tests.support.events import logging_guard, recorder, used
from tests.support.toys import picture

runner = CliRunner()


def run(*arguments: object) -> tuple[int, str, str]:
    result = runner.invoke(app, ["events", *map(str, arguments)])
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """A block of "sd" with a thumbnail, an allow of "sd", and an error of "xl" a long time ago."""
    guard = logging_guard(tmp_path / "e.sqlite", allow_sample=1, thumbnails=32, max_age_days=None)
    guard.fail(1, MemoryError(), pipeline="xl")
    guard.check([picture(3), picture(99)], pipeline="sd", prompts=["a wharf", "a quay"])
    assert guard.events is not None
    assert guard.events.close(30)
    with closing(sqlite3.connect(guard.events.path)) as connection, connection:
        connection.execute("UPDATE events SET time = 1000000000 WHERE seq = 1")
    return guard.events.path


def listed(log: Path, *options: object) -> list[int]:
    code, out, _ = run("list", log, "--json", *options)
    assert code == 0
    document = json.loads(out)
    return [event["seq"] for event in document["events"]]


def test_the_newest_are_printed_first(log: Path) -> None:
    code, out, err = run("list", log)
    assert code == 0
    lines = out.splitlines()
    assert [line.split()[0] for line in lines] == ["seq", "3", "2", "1"]
    assert {"sd", "block", "1.000", "train/3.png"} <= set(lines[2].split())
    assert "2001-09-09 01:46:40" in lines[3]
    assert "error" in lines[3]
    assert "3 of 3 events" in err


def test_filters(log: Path) -> None:
    EventLog(log).review(EventLog(log).read()[1].id, Outcome.CONFIRM, who="kim")
    assert listed(log) == [3, 2, 1]
    assert listed(log, "--decision", "block") == [2]
    assert listed(log, "--decision", "block", "--decision", "allow") == [3, 2]
    assert listed(log, "--status", "error") == [1]
    assert listed(log, "--pipeline", "xl") == [1]
    assert listed(log, "--since", "7d") == [3, 2]
    assert listed(log, "--until", "2001-09-10") == [1]
    assert listed(log, "--since", "2001-09-09T01:46:41+00:00", "--until", "2002-01-01") == []
    assert listed(log, "--reviewed") == [2]
    assert listed(log, "--unreviewed") == [3, 1]
    assert listed(log, "--limit", 1) == [3]
    assert listed(log, "--limit", 1, "--before", 3) == [2]
    assert listed(log, "--prompt", "a quay") == [3]


def test_the_key_of_prompts_may_come_from_the_environment(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = log.with_name("e.sqlite.key")
    monkeypatch.setenv("MEMGUARD_EVENTS__PROMPT_KEY", key.read_text().strip())
    key.unlink()
    assert listed(log, "--prompt", "a wharf") == [2]
    monkeypatch.delenv("MEMGUARD_EVENTS__PROMPT_KEY")
    code, _, err = run("list", log, "--prompt", "a wharf")
    assert code == 3
    assert "key of its prompts" in err.replace("\n", " ")


def test_one_event_is_shown_with_its_reviews(log: Path, tmp_path: Path) -> None:
    opened = EventLog(log)
    (event,) = opened.read(EventFilter(decisions=[Decision.BLOCK]))
    opened.review(event.id, Outcome.NOT_A_COPY, who="kim", note="stock [bold] background")
    code, out, _ = run("show", log, event.id[:8], "--thumbnail", tmp_path / "image.jpg")
    assert code == 0
    assert "uri: train/3.png" in out
    assert "not_a_copy by kim" in out
    assert "stock [bold] background" in out
    assert "flag 0.8, block 0.95" in out
    with Image.open(io.BytesIO((tmp_path / "image.jpg").read_bytes())) as shown:
        assert shown.size == (32, 32)
    code, out, _ = run("show", log, event.id, "--json")
    document = json.loads(out)
    assert document.pop("reviews")[0]["outcome"] == "not_a_copy"
    assert document == opened.get(event.id).to_dict()  # type: ignore[union-attr]


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_export(log: Path, tmp_path: Path, form: str) -> None:
    target = tmp_path / f"events.{form}"
    code, out, _ = run("export", log, "--format", form, "--out", target, "--status", "success")
    assert code == 0
    assert "2 events" in out
    if form == "jsonl":
        rows = [json.loads(line) for line in target.read_text().splitlines()]
    else:
        rows = pq.read_table(target).to_pylist()
    assert [(r["seq"], r["decision"]) for r in rows] == [(3, "allow"), (2, "block")]
    assert "thumbnail" not in rows[0]
    code, out, _ = run("export", log, "--format", form, "--out", target, "--blobs", "--json")
    assert json.loads(out)["events"] == 3


def test_prune(log: Path) -> None:
    code, out, _ = run("prune", log, "--max-age-days", "30")
    assert code == 0
    assert out.startswith("1 event deleted; 2 left")
    code, out, _ = run("prune", log, "--max-mb", "0", "--json")
    assert json.loads(out)["removed"] == 2
    assert listed(log) == []


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["list", "absent.sqlite"], 2, "no such log: absent.sqlite"),
        (["list", "."], 2, ". is a folder"),
        (["list", "LOG", "--since", "yesterday"], 2, "--since yesterday: give a time"),
        (["list", "LOG", "--until", "2026-13-01"], 2, "--until 2026-13-01"),
        (["list", "LOG", "--decision", "maybe"], 2, "maybe"),
        (["show", "LOG", "00000000"], 2, "holds no event '00000000'"),
        (["prune", "LOG"], 2, "nothing to prune by"),
        (["export", "LOG", "--out", "absent/events.jsonl"], 2, "cannot be written"),
        (["list", "NOLOG"], 3, "cannot be read"),
    ],
)
def test_what_cannot_be_done_is_said(log: Path, tmp_path: Path, arguments: list[str], code: int, said: str) -> None:
    (tmp_path / "notes.txt").write_text("no log " * 1000)
    names = {"LOG": str(log), "NOLOG": str(tmp_path / "notes.txt")}
    found, _, err = run(*(names.get(a, a) for a in arguments))
    assert found == code
    assert said in err.replace("\n", " ")


def test_an_event_without_a_thumbnail_says_so(tmp_path: Path) -> None:
    events = recorder(tmp_path / "e.sqlite")
    odd = Match(Record(1, "[red]bad\udcff :smile:", ""), 0.9)
    report = logging_guard(tmp_path / "other.sqlite").check([picture(3)])
    events.record(replace(report, verdicts=(replace(report[0], matches=(odd,)),)), used)
    assert events.close(30)
    code, _, err = run("show", events.path, EventLog(events.path).read()[0].id, "--thumbnail", tmp_path / "x.jpg")
    assert code == 2
    assert "has no thumbnail" in err
    for verb in (["list"], ["list", "--json"], ["show", "ID"], ["show", "ID", "--json"]):
        name = EventLog(events.path).read()[0].id
        code, out, _ = run(verb[0], events.path, *(name if v == "ID" else v for v in verb[1:]))
        assert code == 0
        assert "[red]bad" in out
