"""Threads on which work runs that may take no longer than its caller will wait. Knows no check.

A thread is used again: OpenMP keeps a team of threads for every thread that calls it. With a new thread for
each check the wrapper's own time was 1.0 to 1.2 ms instead of 0.7 to 0.9 (tests/benchmarks/wrapper_overhead.py).
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

__all__ = ["run_within"]

T = TypeVar("T")
_Answer = tuple[Any, BaseException | None]
_idle: dict[int, deque[_Worker]] = {}  # by process: a fork inherits the list and not the threads


def run_within(seconds: float, run: Callable[[], T]) -> T:
    """Run on a daemon thread and return its result, or raise what it raised.

    Raises TimeoutError if that takes longer: the thread goes on, and is used again when it is done.
    """
    idle = _idle.setdefault(os.getpid(), deque())
    try:
        worker = idle.pop()
    except IndexError:
        worker = _Worker(idle)
        worker.start()
    answers: SimpleQueue[_Answer] = SimpleQueue()
    worker.tasks.put((run, answers))
    try:
        result, error = answers.get(timeout=min(seconds, threading.TIMEOUT_MAX))
    except Empty:
        raise TimeoutError from None
    if error is not None:
        raise error
    return result  # type: ignore[no-any-return]


class _Worker(threading.Thread):
    def __init__(self, idle: deque[_Worker]) -> None:
        super().__init__(name="memguard-check", daemon=True)
        self.tasks: SimpleQueue[tuple[Callable[[], Any], SimpleQueue[_Answer]]] = SimpleQueue()
        self._idle = idle

    def run(self) -> None:
        while True:
            task, answers = self.tasks.get()
            try:
                answer: _Answer = (task(), None)
            except BaseException as exc:  # handed to the caller's thread
                answer = (None, exc)
            self._idle.append(self)  # before the answer, so that the caller's next call finds it
            answers.put(answer)
            del task, answers, answer  # a thread that waits must not keep pictures alive
