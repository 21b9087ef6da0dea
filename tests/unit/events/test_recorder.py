"""The queue, its bounds, and the end of a recorder."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from guard.events import EventLog
from guard.events.record import is_sampled
from tests.support.events import USED, blocked, recorder, used
from tests.support.waiting import WAIT_S


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Another writer in the middle of a transaction."""
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


def test_everything_recorded_is_read_back_in_order(tmp_path: Path) -> None:
    events = recorder(tmp_path / "e.sqlite")
    for i in range(300):
        events.record(blocked(2, f"p{i}"), used)
    assert events.flush(60)
    events.close()
    assert [e.pipeline for e in EventLog(events.path).all()] == [f"p{i}" for i in reversed(range(300)) for _ in "ab"]


def test_a_full_queue_drops_at_once_and_counts(tmp_path: Path) -> None:
    dropped: dict[str, int] = {}
    events = recorder(tmp_path / "e.sqlite", dropped, queue=4)
    events.record(blocked(), used)
    assert events.flush(30)
    with held(events.path):
        events.record(blocked(), used)  # this one the writer takes, and waits
        for _ in range(50):
            events.record(blocked(3), used)
        assert not events.flush(0.05)
    assert events.flush(30)
    events.close()
    assert set(dropped) == {"queue_full"}
    kept = EventLog(events.path).count()
    assert kept + dropped["queue_full"] == 152
    assert kept <= 2 + 4 + 4


def test_a_check_waits_for_room_where_it_may(tmp_path: Path) -> None:
    dropped: dict[str, int] = {}
    events = recorder(tmp_path / "e.sqlite", dropped, queue=1, wait_ms=60_000)
    events.record(blocked(), used)
    assert events.flush(30)
    with held(events.path):
        thread = threading.Thread(target=lambda: events.record(blocked(20), used))
        thread.start()
        thread.join(0.3)
        assert thread.is_alive()  # it waits while the file is held
    thread.join(60)
    assert not thread.is_alive()
    events.close()
    assert not dropped
    assert EventLog(events.path).count() == 21


def test_what_comes_after_the_end_is_counted(tmp_path: Path) -> None:
    dropped: dict[str, int] = {}
    events = recorder(tmp_path / "e.sqlite", dropped)
    events.record(blocked(2), used)
    assert events.close()
    assert events.close()
    events.record(blocked(3), used)
    assert events.flush()
    assert dropped == {"closed": 3}
    assert EventLog(events.path).count() == 2


def test_what_breaks_while_recording_never_reaches_the_check(tmp_path: Path) -> None:
    dropped: dict[str, int] = {}
    events = recorder(tmp_path / "e.sqlite", dropped)

    def broken() -> object:
        raise RuntimeError("no thresholds")

    events.record(blocked(2), broken)
    assert dropped == {"error": 1}
    events.record(blocked(2), lambda: object())  # found when it is written
    events.record(blocked(1), used)
    assert events.flush(30)
    events.close()
    assert dropped == {"error": 3}
    assert EventLog(events.path).count() == 1


def test_a_larger_share_takes_the_same_events_and_more() -> None:
    names = [os.urandom(16).hex() for _ in range(4000)]
    tenth, half = ({n for n in names if is_sampled(n, share)} for share in (0.1, 0.5))
    assert tenth < half
    assert 280 < len(tenth) < 520  # 400 expected, six standard deviations of 19
    assert not any(is_sampled(n, 0) for n in names)
    assert all(is_sampled(n, 1) for n in [*names, "f" * 32])


def test_a_log_that_was_moved_away_is_begun_anew(tmp_path: Path) -> None:
    events = recorder(tmp_path / "e.sqlite")
    events.record(blocked(), used)
    assert events.flush(30)
    (tmp_path / "old").mkdir()
    for file in tmp_path.glob("e.sqlite*"):
        file.rename(tmp_path / "old" / file.name)
    events.record(blocked(2), used)
    assert events.flush(30)
    events.close()
    assert EventLog(tmp_path / "e.sqlite").count() == 2
    assert EventLog(tmp_path / "old" / "e.sqlite").count() == 1


def test_the_bounds_hold_while_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "e.sqlite"
    events = recorder(path, max_mb=1, queue=100_000)
    for _ in range(10):
        events.record(blocked(256), used)
        assert events.flush(60)
    events.close()
    assert path.stat().st_size <= 1_000_000 + 300_000  # what one batch adds before the next pruning
    log = EventLog(path)
    newest = log.read(limit=1)[0].seq
    assert newest == 10 * 256
    assert 300 < log.count() < 2000
    assert [e.seq for e in log.all()] == list(range(newest, newest - log.count(), -1))  # the oldest went


def test_old_events_go_when_a_process_begins_to_write(tmp_path: Path) -> None:
    events = recorder(tmp_path / "e.sqlite")
    events.record(blocked(3), used)
    assert events.close(30)
    with closing(sqlite3.connect(events.path)) as connection, connection:
        connection.execute("UPDATE events SET time = ? WHERE seq < 3", (time.time() - 91 * 86_400,))
    later = recorder(tmp_path / "e.sqlite")
    later.record(blocked(), used)
    assert later.close(30)
    assert [e.seq for e in EventLog(events.path).read()] == [4, 3]


FORK = """
import os, sys
from pathlib import Path
from tests.support.events import blocked, recorder, used
events = recorder(Path(sys.argv[1]))
events.record(blocked(1, "parent"), used)
assert events.flush(30)
child = os.fork()
events.record(blocked(2, "child" if child == 0 else "parent"), used)
if child == 0:
    sys.exit(0 if events.flush(30) else 1)  # through atexit, where the parent's queue must be left alone
assert os.waitpid(child, 0)[1] == 0
events.record(blocked(1, "last"), used)
assert events.close(30)
"""


def test_a_forked_child_has_a_thread_of_its_own(tmp_path: Path) -> None:
    """In a process of its own: newer versions of Python warn of a fork beside threads, which is what is tested."""
    command = [sys.executable, "-W", "ignore", "-c", FORK, str(tmp_path / "e.sqlite")]
    done = subprocess.run(command, cwd=Path(__file__).parents[3], capture_output=True, text=True, timeout=WAIT_S)
    assert done.returncode == 0, done.stderr
    pipelines = [e.pipeline for e in EventLog(tmp_path / "e.sqlite").read()]
    assert (pipelines[0], pipelines[-1]) == ("last", "parent")
    assert sorted(pipelines[1:-1]) == ["child", "child", "parent", "parent"]


@pytest.mark.parametrize("prompts", [None, "a", ["a"], ["a", "b"]])
def test_the_circumstances_are_asked_only_if_there_is_something_to_log(tmp_path: Path, prompts: object) -> None:
    events = recorder(tmp_path / "e.sqlite", allow_sample=0)
    asked: list[int] = []

    def circumstances() -> object:
        asked.append(1)
        return USED

    events.record(blocked(0), circumstances, prompts=prompts)
    assert not asked
    events.record(blocked(1), circumstances, prompts=prompts)
    assert len(asked) == 1
    assert events.close(30)
