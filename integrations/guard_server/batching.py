"""Requests of several clients -> batches on a thread, in the order of their arrival. Knows sizes and time; no pixels.

A batch takes what is there when a thread is free. It waits for more only while more is on its way, and then no longer
than `wait_s`: a client that is alone never waits.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

__all__ = ["Batcher", "Entry"]

T = TypeVar("T")
R = TypeVar("R")


class Entry(Generic[T, R]):
    """One request: its work, how many images that is, and where its result goes."""

    __slots__ = ("arrived", "images", "result", "work")

    def __init__(self, work: T, images: int, result: asyncio.Future[R]) -> None:
        self.work = work
        self.images = images
        self.result = result
        self.arrived = time.monotonic()


class Batcher(Generic[T, R]):
    """Runs on the event loop that `submit` is called on.

    run: entries -> a result or an exception for each, in order; on a thread of its own. most_images: a batch is
    complete with so many; a request is never split. wait_s: see above. coming: how many requests are on their way.
    """

    def __init__(
        self,
        run: Callable[[Sequence[Entry[T, R]]], Sequence[R | BaseException]],
        *,
        most_images: int,
        wait_s: float,
        threads: int = 1,
        coming: Callable[[], int] = lambda: 0,
    ) -> None:
        self._run, self._most, self._wait_s, self._coming = run, most_images, wait_s, coming
        self._threads = ThreadPoolExecutor(threads, "memguard-batch")
        self._free = threads
        self._waiting: deque[Entry[T, R]] = deque()
        self.inside = 0
        """Requests that were submitted and have no result yet."""
        self._running: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None

    async def submit(self, work: T, images: int) -> R:
        """The result of this work. Cancelled before its batch began, it is never run."""
        loop = asyncio.get_running_loop()
        entry: Entry[T, R] = Entry(work, images, loop.create_future())
        self._waiting.append(entry)
        self.inside += 1
        self.nudge()
        try:
            return await entry.result
        finally:
            self.inside -= 1

    def nudge(self) -> None:
        """Look again: something arrived, or will not come after all."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._free and self._waiting:
            left = self._waiting[0].arrived + self._wait_s - time.monotonic()
            images = sum(entry.images for entry in self._waiting)
            if images < self._most and left > 0 and self._coming():
                self._timer = asyncio.get_running_loop().call_later(left, self.nudge)
                return
            self._start(self._cut())

    def _cut(self) -> list[Entry[T, R]]:
        batch: list[Entry[T, R]] = []
        images = 0
        while self._waiting and (not batch or images + self._waiting[0].images <= self._most):
            entry = self._waiting.popleft()
            if not entry.result.done():  # else its client has gone
                batch.append(entry)
                images += entry.images
        return batch

    def _start(self, batch: list[Entry[T, R]]) -> None:
        if not batch:
            return
        self._free -= 1
        task = asyncio.get_running_loop().create_task(self._finish(batch))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _finish(self, batch: list[Entry[T, R]]) -> None:
        results: Sequence[R | BaseException]
        try:
            results = await asyncio.get_running_loop().run_in_executor(self._threads, self._run, batch)
        except Exception as exc:  # each of them is told
            results = [exc] * len(batch)
        finally:
            self._free += 1
        for entry, result in zip(batch, results, strict=True):
            if entry.result.done():
                continue
            if isinstance(result, BaseException):
                entry.result.set_exception(result)
            else:
                entry.result.set_result(result)
        self.nudge()

    async def close(self) -> None:
        """Finish what was submitted, then end the threads."""
        while self._waiting or self._running:
            await asyncio.sleep(0.01)
        self._threads.shutdown()
