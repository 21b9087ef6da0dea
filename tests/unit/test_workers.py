"""Threads that are used again, and callers that do not wait for ever."""

from __future__ import annotations

import os
import threading
import weakref

import pytest

from guard.workers import run_within
from tests.support.waiting import WAIT_S


def test_results_and_errors_come_back() -> None:
    assert run_within(WAIT_S, lambda: 42) == 42

    def broken() -> None:
        raise KeyError("x")

    with pytest.raises(KeyError, match="x"):
        run_within(WAIT_S, broken)


def test_a_thread_is_used_again() -> None:
    def threads() -> int:
        return sum(thread.name == "memguard-check" for thread in threading.enumerate())

    assert run_within(WAIT_S, threading.get_ident) != threading.get_ident()
    before = threads()  # others may be among them that hung in an earlier test, and come back whenever they like
    for _ in range(20):
        run_within(WAIT_S, threading.get_ident)
    assert threads() == before


def test_one_that_hangs_costs_its_time_and_comes_back_later() -> None:
    release, finished = threading.Event(), threading.Event()

    def hang() -> None:
        release.wait(WAIT_S)
        finished.set()

    with pytest.raises(TimeoutError):
        run_within(0.05, hang)
    assert run_within(WAIT_S, lambda: "others go on") == "others go on"
    release.set()
    assert finished.wait(WAIT_S)


def test_many_callers_get_their_own_results() -> None:
    wrong = []

    def call(i: int) -> None:
        wrong.extend((i, j) for j in range(50) if run_within(WAIT_S, lambda j=j: (i, j)) != (i, j))

    callers = [threading.Thread(target=call, args=(i,)) for i in range(8)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert not wrong


def test_a_waiting_thread_keeps_nothing_alive() -> None:
    class Picture:
        pass

    picture = Picture()
    gone = weakref.ref(picture)
    run_within(WAIT_S, lambda held=picture: None)
    del picture
    run_within(WAIT_S, lambda: None)  # whichever thread it was, it has had time to let go
    assert gone() is None


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_process_starts_its_own() -> None:
    run_within(WAIT_S, lambda: None)
    child = os.fork()
    if child == 0:
        os._exit(0 if run_within(WAIT_S, lambda: 7) == 7 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
