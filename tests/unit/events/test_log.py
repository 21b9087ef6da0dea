"""Reading, paging, reviewing and bounding a log."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from guard import ConfigError, Decision, EventLogError, GuardMetrics, Report, Status, Verdict
from guard.events import EventFilter, EventLog, Outcome
from tests.support.events import blocked, recorder, used


@pytest.fixture
def log(tmp_path: Path) -> EventLog:
    """seq 1 to 6: block, flag, error and allow of "a", then block and flag of "b"; the time is 1000 x seq."""
    events = recorder(tmp_path / "e.sqlite", allow_sample=1, prompts="plain")
    block = blocked()[0]
    flag, allow = (replace(block, decision=decision) for decision in (Decision.FLAG, Decision.ALLOW))
    error = Verdict(Status.ERROR, stage="embed", reason="memory", reasons=("out of memory",))
    events.record(Report((block, flag, error, allow), "a"), used, prompts=["x", "y", "z", None])
    events.record(Report((block, flag), "b"), used, prompts="x")
    assert events.close(30)
    with closing(sqlite3.connect(events.path)) as connection, connection:
        connection.execute("UPDATE events SET time = 1000 * seq")
    return EventLog(events.path)


def seqs(log: EventLog, **where: Any) -> list[int]:
    found = [event.seq for event in log.read(EventFilter(**where))]
    assert log.count(EventFilter(**where)) == len(found)
    return found


def test_newest_first(log: EventLog) -> None:
    assert seqs(log) == [6, 5, 4, 3, 2, 1]
    assert [e.seq for e in log.all()] == [6, 5, 4, 3, 2, 1]


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ({"decisions": [Decision.BLOCK]}, [5, 1]),
        ({"decisions": ["flag", "block"]}, [6, 5, 2, 1]),
        ({"statuses": [Status.ERROR]}, [3]),
        ({"pipelines": ["b"]}, [6, 5]),
        ({"pipelines": ["b", "c"], "decisions": ["flag"]}, [6]),
        ({"since": 2000, "until": 5000}, [4, 3, 2]),
        ({"reviewed": False}, [6, 5, 4, 3, 2, 1]),
        ({"reviewed": True}, []),
        ({"pipelines": ["'; DROP TABLE events; --"]}, []),
    ],
)
def test_filters(log: EventLog, where: dict[str, Any], expected: list[int]) -> None:
    assert seqs(log, **where) == expected


def test_events_of_a_prompt(log: EventLog) -> None:
    assert seqs(log, prompt_hash=log.hash_prompt("x")) == [6, 5, 1]
    assert seqs(log, prompt_hash=log.hash_prompt("nobody asked")) == []
    log.path.with_name("e.sqlite.key").unlink()
    with pytest.raises(EventLogError, match="key"):
        log.hash_prompt("x")


def test_pages_do_not_move_when_events_come(log: EventLog) -> None:
    first = log.read(limit=2)
    events = recorder(log.path, max_age_days=None)
    events.record(blocked(3), used)
    assert events.close(30)
    second = log.read(limit=2, before=first[-1].seq)
    assert [e.seq for e in first + second] == [6, 5, 4, 3]
    assert log.read(limit=2, before=1) == []


def test_an_event_by_its_id_or_the_beginning_of_it(log: EventLog) -> None:
    event = log.read()[2]
    assert log.get(event.id) == event
    assert log.get(event.id[:8]) == event
    assert log.get(event.id[:7]) is None
    assert log.get("no such id") is None


def test_reviews_stand_until_another_comes_or_they_are_undone(log: EventLog) -> None:
    counted: list[str] = []
    log = EventLog(log.path, on_review=counted.append)
    event = log.read()[0].id
    log.review(event, Outcome.UNSURE, who="kim")
    log.review(event, Outcome.CONFIRM, who="jo", note="same lighthouse")
    assert log.get(event).outcome is Outcome.CONFIRM
    assert log.undo(event, who="jo") is Outcome.UNSURE
    assert seqs(log, outcomes=[Outcome.UNSURE]) == [6]
    assert log.undo(event, who="jo") is None
    assert seqs(log, reviewed=True) == []
    with pytest.raises(EventLogError, match="taken back"):
        log.undo(event, who="jo")
    log.review(event, Outcome.NOT_A_COPY, who="kim")
    assert seqs(log, reviewed=True) == [6]
    assert [(r.outcome, r.who, r.note) for r in log.reviews(event)] == [
        (Outcome.UNSURE, "kim", ""),
        (Outcome.CONFIRM, "jo", "same lighthouse"),
        (None, "jo", ""),
        (None, "jo", ""),
        (Outcome.NOT_A_COPY, "kim", ""),
    ]
    assert counted == ["unsure", "confirm", "undo", "undo", "not_a_copy"]
    assert abs(log.reviews(event)[0].time - time.time()) < 60


def test_reviews_are_counted_by_the_guards_metrics(log: EventLog) -> None:
    metrics = GuardMetrics()
    EventLog(log.path, on_review=metrics.count_review).review(log.read()[0].id, Outcome.CONFIRM, who="kim")
    assert metrics.registry.get_sample_value("memguard_reviews_total", {"outcome": "confirm"}) == 1
    assert metrics.registry.get_sample_value("memguard_reviews_total", {"outcome": "undo"}) == 0


@pytest.mark.parametrize(
    ("event", "who", "said"), [("0" * 32, "kim", "holds no event"), (None, "  ", "name of who reviews")]
)
def test_a_review_that_cannot_be_is_refused_and_leaves_nothing(
    log: EventLog, event: str | None, who: str, said: str
) -> None:
    counted: list[str] = []
    log = EventLog(log.path, on_review=counted.append)
    with pytest.raises(EventLogError, match=said):
        log.review(event or log.read()[0].id, Outcome.CONFIRM, who=who)
    with pytest.raises(ValueError, match="perhaps"):
        log.review(log.read()[0].id, "perhaps", who="kim")  # type: ignore[arg-type]
    assert not counted
    assert seqs(log, reviewed=True) == []


def test_pruning_takes_the_oldest_and_their_reviews(log: EventLog) -> None:
    with closing(sqlite3.connect(log.path)) as connection, connection:
        connection.execute("UPDATE events SET time = ? WHERE seq > 2", (time.time(),))
    oldest = log.read()[-1].id
    log.review(oldest, Outcome.CONFIRM, who="kim")
    assert log.prune() == 0
    assert log.prune(max_age_days=1) == 2
    assert seqs(log) == [6, 5, 4, 3]
    assert log.reviews(oldest) == []
    assert log.prune(max_mb=1000) == 0
    assert log.prune(max_mb=0.000001) == 4
    assert log.read() == []


def test_a_number_is_never_given_twice(log: EventLog) -> None:
    """A page token must not come to mean another event after pruning."""
    log.prune(max_age_days=1)
    events = recorder(log.path)
    events.record(blocked(), used)
    assert events.close(30)
    assert seqs(log) == [7]


def test_a_missing_log_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no such log: .*absent\.sqlite"):
        EventLog(tmp_path / "absent.sqlite")


@pytest.mark.parametrize("content", [b"", b"no database at all, but long enough to be looked at" * 20])
def test_a_file_that_is_no_log_is_named_and_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "e.sqlite"
    path.write_bytes(content)
    log = EventLog(path)
    for call in (log.read, log.count, lambda: log.review("0" * 32, Outcome.CONFIRM, who="kim")):
        with pytest.raises(EventLogError, match=r"e\.sqlite"):
            call()
    assert content == b"" or path.read_bytes() == content


def test_a_database_of_other_software_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "e.sqlite"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE events (seq)")
    before = path.read_bytes()
    with pytest.raises(EventLogError, match="no decision log"):
        EventLog(path).read()
    with pytest.raises(EventLogError, match="other software"):
        EventLog(path).prune(max_mb=1)
    with pytest.raises(ConfigError, match="other software"):
        recorder(path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["e.sqlite"]


def test_a_log_of_a_later_format_is_left_alone(log: EventLog) -> None:
    with closing(sqlite3.connect(log.path)) as connection, connection:
        connection.execute("PRAGMA user_version = 2")
    with pytest.raises(ConfigError, match="format 2"):
        recorder(log.path)
