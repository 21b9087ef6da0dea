"""Events as JSON lines and as Parquet."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from guard import ConfigError, Match, Record, Report, Status, Verdict
from guard.events import EventLog, Outcome
from guard.events.export import write_jsonl, write_parquet
from tests.support.events import blocked, recorder, used


@pytest.fixture
def log(tmp_path: Path) -> EventLog:
    events = recorder(tmp_path / "e.sqlite", prompts="plain")
    odd = Match(Record(1, "bad\udcffname \u2028.png", ""), 0.9)
    block = replace(blocked()[0], descriptor=b"\x00\x3c" * 4)
    error = Verdict(Status.ERROR, stage="pixels", reason="input", reasons=("image 0 is a \udcff",))
    events.record(Report((block, replace(block, matches=(odd,)), error), "sd"), used, prompts="a\nb")
    assert events.close(30)
    log = EventLog(events.path)
    log.review(log.read()[0].id, Outcome.UNSURE, who="kim")
    return log


def test_json_lines_hold_what_the_events_hold(log: EventLog, tmp_path: Path) -> None:
    out = tmp_path / "events.jsonl"
    assert write_jsonl(log.all(), out) == 3
    lines = out.read_text(encoding="ascii").splitlines()
    assert [json.loads(line) for line in lines] == [event.to_dict() for event in log.all()]
    assert "descriptor" not in json.loads(lines[0])
    write_jsonl(log.all(), out, blobs=True)
    last = json.loads(out.read_text().splitlines()[-1])
    assert base64.b64decode(last["descriptor"]) == b"\x00\x3c" * 4
    assert last["thumbnail"] is None


@pytest.mark.parametrize("blobs", [False, True])
def test_parquet_has_a_row_an_event(log: EventLog, tmp_path: Path, blobs: bool) -> None:
    out = tmp_path / "events.parquet"
    assert write_parquet(log.all(), out, blobs=blobs) == 3
    rows = pq.read_table(out).to_pylist()
    events = list(log.all())
    assert [r["id"] for r in rows] == [e.id for e in events]
    assert [r["time"].timestamp() for r in rows] == pytest.approx([e.time for e in events], abs=1e-6)
    assert [json.loads(r["detail"]) for r in rows] == [e.detail for e in events]
    assert [r["outcome"] for r in rows] == ["unsure", None, None]
    assert rows[2]["nearest_uri"] == "train/7.png"
    assert (rows[2]["nearest_similarity"], rows[2]["nearest_pdq_bits"], rows[2]["matches"]) == (0.97, 4, 1)
    assert (rows[0]["nearest_uri"], rows[0]["decision"], rows[0]["matches"]) == (None, None, 0)
    assert rows[1]["nearest_uri"] == "bad\\udcffname \u2028.png"
    assert (rows[0]["flag"], rows[0]["block"], rows[0]["embedder"]) == (0.8, 0.95, "toy")
    assert ("descriptor" in rows[0]) == blobs
    if blobs:
        assert [r["descriptor"] for r in rows] == [e.descriptor for e in events]


@pytest.mark.parametrize("write", [write_jsonl, write_parquet])
def test_no_events_make_an_empty_file(log: EventLog, tmp_path: Path, write: object) -> None:
    assert write([], tmp_path / "out") == 0  # type: ignore[operator]
    assert (tmp_path / "out").is_file()


@pytest.mark.parametrize("write", [write_jsonl, write_parquet])
def test_a_file_is_written_whole_or_not_at_all(log: EventLog, tmp_path: Path, write: object) -> None:
    def breaks_off() -> object:
        yield from log.read(limit=2)
        raise RuntimeError

    (tmp_path / "out").write_text("the export of yesterday")
    with pytest.raises(RuntimeError):
        write(breaks_off(), tmp_path / "out")  # type: ignore[operator]
    assert (tmp_path / "out").read_text() == "the export of yesterday"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["e.sqlite", "e.sqlite.key", "out"]
    with pytest.raises(ConfigError, match="cannot be written"):
        write([], tmp_path / "absent" / "out")  # type: ignore[operator]
