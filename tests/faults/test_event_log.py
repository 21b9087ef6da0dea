"""The decision log with processes killed, locks held, disks full, folders closed and files damaged.

Every fault is the real thing. What is promised: the check gets its verdict, what was committed stays, what is lost is
counted, and nothing is deleted.
"""

from __future__ import annotations

import logging
import os
import random
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from guard import Decision
from guard.events import EventLog, Outcome
from guard.events.store import set_aside
from tests.support.events import blocked, logging_guard, recorder, used
from tests.support.killing import killed
from tests.support.toys import picture

ROOT = Path(__file__).parents[2]

WRITE = """
import sys
from pathlib import Path
from tests.support.events import blocked, recorder, used
dropped = {}
events = recorder(Path(sys.argv[1]), dropped, queue=100_000)
for i in range(int(sys.argv[3])):
    events.record(blocked(5, f"{sys.argv[2]}{i}"), used)
    if sys.argv[4] == "acknowledge":
        assert events.flush(60)
        print(i, flush=True)
assert events.close(60)
print("dropped", sum(dropped.values()), flush=True)
"""


def child(code: str, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)


def sound(path: Path) -> bool:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow), pytest.param(2, marks=pytest.mark.slow)])
def test_a_killed_process_loses_nothing_that_was_acknowledged(tmp_path: Path, seed: int) -> None:
    path = tmp_path / "e.sqlite"
    rng = random.Random(seed)
    acknowledged = -1
    for life in range(3):
        process = child(WRITE, path, f"{life}-", 100_000, "acknowledge")
        assert process.stdout is not None
        first = process.stdout.readline()
        time.sleep(rng.uniform(0.0, 0.3))  # the random moment of the kill; nothing is waited for
        rest, errors = killed(process)
        assert "Traceback" not in errors, errors
        acknowledged = int((first + rest).split()[-1])
        found = {event.pipeline for event in EventLog(path).all()}
        assert {f"{life}-{i}" for i in range(acknowledged + 1)} <= found
    assert acknowledged >= 0
    assert sound(path)
    events = recorder(path)
    events.record(blocked(1, "after"), used)
    assert events.close(30)
    counts: dict[str, int] = {}
    for event in EventLog(path).all():
        counts[event.pipeline] = counts.get(event.pipeline, 0) + 1
    assert counts.pop("after") == 1
    assert set(counts.values()) == {5}  # a report is there or not; its events went in together


def test_two_processes_and_a_reviewer_share_one_log(tmp_path: Path) -> None:
    path = tmp_path / "e.sqlite"
    writers = [child(WRITE, path, name, 60, "no") for name in ("a", "b")]
    outputs = [process.communicate(timeout=1200) for process in writers]
    assert [out.split()[-2:] for out, _ in outputs] == [["dropped", "0"]] * 2, outputs
    log = EventLog(path)
    assert log.count() == 600
    last = dict.fromkeys("ab", -1)
    for event in reversed(list(log.all())):  # each in its own order
        name, number = event.pipeline[0], int(event.pipeline[1:])
        assert last[name] <= number
        last[name] = number
    assert sound(path)


def test_a_review_waits_for_a_writer_and_a_reader_does_not(tmp_path: Path) -> None:
    path = tmp_path / "e.sqlite"
    events = recorder(path)
    events.record(blocked(3), used)
    assert events.flush(30)
    writer = child(WRITE, path, "a", 300, "no")
    log = EventLog(path)
    for event in log.read():
        log.review(event.id, Outcome.CONFIRM, who="kim")
    out, errors = writer.communicate(timeout=1200)
    assert out.split() == ["dropped", "0"], errors
    assert events.close(30)
    assert sorted(e.outcome for e in log.all() if e.pipeline == "p") == [Outcome.CONFIRM] * 3
    assert log.count() == 1503


def filled(path: Path, events: int = 200) -> bytes:
    log = recorder(path)
    log.record(blocked(events), used)
    assert log.close(30)
    return path.read_bytes()


@contextmanager
def warnings_of(caplog: pytest.LogCaptureFixture) -> Iterator[list[str]]:
    said: list[str] = []
    with caplog.at_level(logging.WARNING, logger="guard.events"):
        yield said
    said.extend(record.getMessage() for record in caplog.records if record.name == "guard.events")


def drops(guard: object, reason: str) -> float:
    value = guard.metrics.registry.get_sample_value("memguard_events_dropped_total", {"reason": reason})  # type: ignore[attr-defined]
    assert value is not None
    return float(value)


def checked(guard: object, times: int = 3) -> None:
    """Checks go on as if nothing were wrong; one at a time, so that each is a batch of its own."""
    for _ in range(times):
        report = guard.check([picture(3), picture(99)])  # type: ignore[attr-defined]
        assert [v.decision for v in report] == [Decision.BLOCK, Decision.ALLOW]
        assert guard.events.flush(30)  # type: ignore[attr-defined]


ORDINARY = """
import os, sys
from pathlib import Path
from guard.events import EventLog
from tests.support.events import logging_guard
from tests.support.toys import picture
from guard import Decision
if os.geteuid() == 0:
    os.setegid(65534)
    os.seteuid(65534)  # root may write anywhere
"""
CLOSED = """
guard = logging_guard(Path(sys.argv[1]), allow_sample=0)
for _ in range(3):
    assert guard.check([picture(3)])[0].decision is Decision.BLOCK
    assert guard.events.flush(30)
value = guard.metrics.registry.get_sample_value
print(value("memguard_events_dropped_total", {"reason": "unwritable"}))
"""
READ = """
print(len(EventLog(sys.argv[1]).read()))
"""


@contextmanager
def closed_folder() -> Iterator[Path]:
    """Everybody may read in it, and nobody but root write."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "closed"
        folder.mkdir()
        Path(name).chmod(0o755)
        yield folder
        folder.chmod(0o755)


@pytest.mark.parametrize("there", [False, True])
def test_a_folder_that_may_not_be_written(there: bool) -> None:
    with closed_folder() as folder:
        if there:
            filled(folder / "e.sqlite", 5)
            (folder / "e.sqlite").chmod(0o444)
        folder.chmod(0o555)
        out, errors = child(ORDINARY + CLOSED, folder / "e.sqlite").communicate(timeout=1200)
        assert out.strip() == "3.0", errors
        assert errors.count("events are dropped and counted") == 1
        assert [p.name for p in folder.iterdir()] == ["e.sqlite"] * there


def test_a_log_is_read_where_nothing_may_be_written() -> None:
    with closed_folder() as folder:
        filled(folder / "e.sqlite", 5)
        (folder / "e.sqlite").chmod(0o444)
        folder.chmod(0o555)
        out, errors = child(ORDINARY + READ, folder / "e.sqlite").communicate(timeout=1200)
        assert out.strip() == "5", errors


def test_a_folder_that_is_gone_and_comes_back(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    guard = logging_guard(folder / "e.sqlite", allow_sample=0, prompts="none")
    folder.rename(tmp_path / "away")
    with warnings_of(caplog) as said:
        checked(guard)
    folder.mkdir()
    checked(guard, 2)
    assert guard.events.close(30)
    assert drops(guard, "unwritable") == 3
    assert len(said) == 1
    assert EventLog(folder / "e.sqlite").count() == 2


def test_a_log_that_refuses_a_row(tmp_path: Path) -> None:
    guard = logging_guard(tmp_path / "e.sqlite", allow_sample=0)
    checked(guard, 1)
    with closing(sqlite3.connect(tmp_path / "e.sqlite")) as other:
        other.execute("CREATE TRIGGER refuse BEFORE INSERT ON events BEGIN SELECT RAISE(ABORT, 'refused'); END")
    checked(guard, 2)
    assert guard.events.close(30)
    assert drops(guard, "error") == 2
    assert EventLog(tmp_path / "e.sqlite").count() == 1


LIMITED = """
import resource, sys
from pathlib import Path
from tests.support.events import blocked, recorder, used
path, dropped = Path(sys.argv[1]), {}
events = recorder(path, dropped)
events.record(blocked(2), used)
assert events.flush(30)
resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, resource.RLIM_INFINITY))  # no file may grow beyond
for _ in range(20):
    events.record(blocked(50), used)
    assert events.flush(30)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
events.record(blocked(1, "after"), used)
assert events.close(30)
print(sorted(dropped), sum(dropped.values()))
"""


def test_a_disk_that_takes_no_more(tmp_path: Path) -> None:
    process = child(LIMITED, tmp_path / "e.sqlite")
    out, errors = process.communicate(timeout=1200)
    assert process.returncode == 0, errors
    reasons, lost = out.rsplit(maxsplit=1)
    assert reasons == "['disk']"
    assert errors.count("events are dropped and counted") == 1  # logging's last resort prints to stderr
    log = EventLog(tmp_path / "e.sqlite")
    assert log.count() == 2 + 1000 + 1 - int(lost)
    assert int(lost) >= 500
    assert log.read(limit=1)[0].pipeline == "after"
    assert sound(tmp_path / "e.sqlite")


def test_a_log_that_stays_locked(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    from guard.events.writer import LogWriter

    events = recorder(tmp_path / "e.sqlite")
    events.record(blocked(), used)
    assert events.close(30)
    writer = LogWriter(tmp_path / "e.sqlite", max_age_s=None, max_bytes=None, wait_s=0.05)
    row = ("1" * 32, 1.0, "p", "enforce", "success", "block", "replaced", None, None, "{}", None, None)
    with closing(sqlite3.connect(tmp_path / "e.sqlite", isolation_level=None)) as other, warnings_of(caplog) as said:
        other.execute("BEGIN IMMEDIATE")
        assert [writer.write([row]) for _ in range(3)] == ["locked"] * 3
        other.execute("ROLLBACK")
        assert writer.write([row]) is None
        other.execute("BEGIN IMMEDIATE")
        assert writer.write([row]) == "locked"
    writer.close()
    assert len(said) == 2  # once, and once again after it had worked
    assert EventLog(tmp_path / "e.sqlite").count() == 2


@pytest.mark.parametrize("kept", [2, 64, 100, 5000, 0.5, 0.99])
def test_a_truncated_log_is_set_aside(tmp_path: Path, kept: float, caplog: pytest.LogCaptureFixture) -> None:
    whole = filled(tmp_path / "e.sqlite")
    cut = whole[: int(kept if kept >= 1 else kept * len(whole))]
    (tmp_path / "e.sqlite").write_bytes(cut)
    guard = logging_guard(tmp_path / "e.sqlite", allow_sample=0)
    with warnings_of(caplog) as said:
        checked(guard, 2)
    assert guard.events.close(30)
    aside = [p for p in tmp_path.glob("e.sqlite.damaged-*") if not p.name.endswith(("-wal", "-shm"))]
    assert [p.read_bytes()[100 : len(cut)] for p in aside] == [cut[100:]]  # opening it may count in the header
    assert len(said) == 1
    assert aside[0].name in said[0]
    assert EventLog(tmp_path / "e.sqlite").count() == 2
    assert sum(drops(guard, reason) for reason in ("damaged", "error", "disk")) == 0


@pytest.mark.parametrize("content", [b"the notes of somebody else\n" * 400, os.urandom(20_000)])
def test_a_file_that_is_no_database_is_set_aside(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "e.sqlite").write_bytes(content)
    guard = logging_guard(tmp_path / "e.sqlite", allow_sample=0)
    checked(guard, 2)
    assert guard.events.close(30)
    (aside,) = tmp_path.glob("e.sqlite.damaged-*")
    assert aside.read_bytes() == content
    assert EventLog(tmp_path / "e.sqlite").count() == 2


def test_a_log_damaged_while_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "e.sqlite"
    size = len(filled(path, 2000))
    guard = logging_guard(path, allow_sample=0)
    checked(guard, 1)
    with closing(sqlite3.connect(path)) as other:  # else what the write-ahead file holds would heal the pages it covers
        assert other.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0
    with path.open("r+b") as file:  # every page but the first
        file.seek(4096)
        file.write(b"\xa5" * (size - 4096))
    checked(guard, 4)
    assert guard.events.close(30)
    assert len(list(tmp_path.glob("e.sqlite.damaged-*"))) >= 1
    assert EventLog(path).count() >= 3
    assert sound(path)


def test_only_the_file_that_was_found_damaged_is_set_aside(tmp_path: Path) -> None:
    path = tmp_path / "e.sqlite"
    path.write_bytes(b"old")
    found = path.stat()
    (tmp_path / "new").write_bytes(b"another process was first")
    (tmp_path / "new").rename(path)
    assert set_aside(path, (found.st_dev, found.st_ino)) is None
    assert path.read_bytes() == b"another process was first"
    assert set_aside(tmp_path / "absent", None) is None


def test_a_process_that_ends_writes_what_waits(tmp_path: Path) -> None:
    code = """
import sys
from pathlib import Path
from tests.support.events import blocked, recorder, used
events = recorder(Path(sys.argv[1]))
for _ in range(100):
    events.record(blocked(3), used)
"""
    process = child(code, tmp_path / "e.sqlite")
    _, errors = process.communicate(timeout=1200)
    assert (process.returncode, errors) == (0, "")
    assert EventLog(tmp_path / "e.sqlite").count() == 300
