"""Threads that are used again, and callers that do not wait for ever."""

from __future__ import annotations

import os
import threading
import weakref

import pytest

from guard.workers import run_within


def test_results_and_errors_come_back() -> None:
    assert run_within(10, lambda: 42) == 42

    def broken() -> None:
        raise KeyError("x")

    with pytest.raises(KeyError, match="x"):
        run_within(10, broken)


def test_a_thread_is_used_again() -> None:
    first = run_within(10, threading.get_ident)
    assert first != threading.get_ident()
    assert {run_within(10, threading.get_ident) for _ in range(20)} == {first}


def test_one_that_hangs_costs_its_time_and_comes_back_later() -> None:
    release, finished = threading.Event(), threading.Event()

    def hang() -> None:
        release.wait(30)
        finished.set()

    with pytest.raises(TimeoutError):
        run_within(0.05, hang)
    assert run_within(10, lambda: "others go on") == "others go on"
    release.set()
    assert finished.wait(10)


def test_many_callers_get_their_own_results() -> None:
    wrong = []

    def call(i: int) -> None:
        wrong.extend((i, j) for j in range(50) if run_within(10, lambda j=j: (i, j)) != (i, j))

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
    run_within(10, lambda held=picture: None)
    del picture
    run_within(10, lambda: None)  # whichever thread it was, it has had time to let go
    assert gone() is None


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_process_starts_its_own() -> None:
    run_within(10, lambda: None)
    child = os.fork()
    if child == 0:
        os._exit(0 if run_within(10, lambda: 7) == 7 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
