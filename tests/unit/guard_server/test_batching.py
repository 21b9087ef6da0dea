"""Batches of several requests, and how much is taken on at a time. Threads are held at gates, never by sleeping."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guard_server.admission import FullError, PixelRoom, Queue
from guard_server.batching import Batcher, Entry
from tests.support.served import WAIT_S


class Gate:
    """Runs batches when it is opened, and remembers them."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.entered = threading.Semaphore(0)
        self.opened = threading.Semaphore(0)

    def run(self, entries: Sequence[Entry[int, int]]) -> list[int | BaseException]:
        self.batches.append([entry.work for entry in entries])
        self.entered.release()
        assert self.opened.acquire(timeout=WAIT_S)
        return [ValueError(entry.work) if entry.work < 0 else 10 * entry.work for entry in entries]

    async def wait_until_entered(self) -> None:
        assert await asyncio.to_thread(self.entered.acquire, timeout=WAIT_S)


def running(story: Callable[[Gate, Batcher[int, int]], Coroutine[Any, Any, None]], **settings: Any) -> Gate:
    gate = Gate()

    async def run() -> None:
        batcher: Batcher[int, int] = Batcher(gate.run, **{"most_images": 4, "wait_s": 0.0, **settings})
        await story(gate, batcher)
        await batcher.close()

    asyncio.run(run())
    return gate


def test_what_arrives_while_a_batch_runs_is_the_next_one() -> None:
    async def story(gate: Gate, batcher: Batcher[int, int]) -> None:
        first = asyncio.create_task(batcher.submit(1, 1))
        await gate.wait_until_entered()
        rest = [asyncio.create_task(batcher.submit(i, 1)) for i in (2, 3, 4, 5, 6)]
        await asyncio.sleep(0)
        for _ in range(3):
            gate.opened.release()
        assert await asyncio.gather(first, *rest) == [10, 20, 30, 40, 50, 60]

    assert running(story).batches == [[1], [2, 3, 4, 5], [6]]


def test_a_request_is_never_split_and_a_large_one_goes_alone() -> None:
    async def story(gate: Gate, batcher: Batcher[int, int]) -> None:
        gate.opened.release(10)
        sizes = {1: 3, 2: 2, 3: 9, 4: 1, 5: 0}
        assert await asyncio.gather(*(batcher.submit(i, n) for i, n in sizes.items())) == [10, 20, 30, 40, 50]

    batches = running(story).batches
    assert [work for batch in batches for work in batch] == [1, 2, 3, 4, 5]
    assert [3] in batches or batches[0] == [1]


def test_one_that_fails_or_leaves_costs_no_other_its_result() -> None:
    async def story(gate: Gate, batcher: Batcher[int, int]) -> None:
        first = asyncio.create_task(batcher.submit(1, 1))
        await gate.wait_until_entered()
        failing, leaving, last = (asyncio.create_task(batcher.submit(i, 1)) for i in (-2, 3, 4))
        await asyncio.sleep(0)
        leaving.cancel()
        await asyncio.sleep(0)
        gate.opened.release(2)
        with pytest.raises(ValueError, match="-2"):
            await failing
        assert await asyncio.gather(first, last) == [10, 40]
        assert batcher.inside == 0

    assert running(story).batches == [[1], [-2, 4]]


def test_it_waits_for_what_is_on_its_way_and_for_nothing_else() -> None:
    coming = 1

    async def story(gate: Gate, batcher: Batcher[int, int]) -> None:
        nonlocal coming
        gate.opened.release(10)
        first = asyncio.create_task(batcher.submit(1, 1))
        await asyncio.sleep(0)
        assert gate.batches == []
        second = asyncio.create_task(batcher.submit(2, 1))
        await asyncio.sleep(0)
        assert gate.batches == []
        coming = 0
        batcher.nudge()
        assert await asyncio.gather(first, second) == [10, 20]
        assert await batcher.submit(3, 1) == 30

    assert running(story, wait_s=60.0, coming=lambda: coming).batches == [[1, 2], [3]]


def test_the_wait_is_bounded() -> None:
    async def story(gate: Gate, batcher: Batcher[int, int]) -> None:
        gate.opened.release()
        assert await asyncio.wait_for(batcher.submit(1, 1), WAIT_S) == 10

    running(story, wait_s=0.01, coming=lambda: 1)


def test_a_run_that_breaks_is_told_to_each() -> None:
    async def story() -> None:
        def broken(entries: Sequence[Entry[int, int]]) -> list[int | BaseException]:
            raise RuntimeError("broken")

        batcher: Batcher[int, int] = Batcher(broken, most_images=4, wait_s=0)
        for result in await asyncio.gather(batcher.submit(1, 1), batcher.submit(2, 1), return_exceptions=True):
            assert isinstance(result, RuntimeError)
        await batcher.close()

    asyncio.run(story())


def test_close_finishes_what_was_submitted() -> None:
    async def story(gate: Gate, batcher: Batcher[int, int]) -> None:
        tasks = [asyncio.create_task(batcher.submit(i, 4)) for i in (1, 2, 3)]
        await asyncio.sleep(0)
        closing = asyncio.create_task(batcher.close())
        gate.opened.release(3)
        await closing
        assert all(task.done() for task in tasks) or await asyncio.gather(*tasks) == [10, 20, 30]

    assert len(running(story).batches) == 3


def test_the_queue_turns_away_what_is_too_much() -> None:
    changes: list[int] = []
    queue = Queue(10, changes.append)
    with queue.admit(20):  # alone: a large request is no reason never to be served
        with pytest.raises(FullError, match="20 images wait") as full, queue.admit(1):
            pass
        assert full.value.retry_after_s >= 1
    with queue.admit(6), queue.admit(4):
        assert (queue.images, queue.requests) == (10, 2)
        with pytest.raises(FullError), queue.admit(1):
            pass
    assert (queue.images, queue.requests, sum(changes)) == (0, 0, 0)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def work(queue: Queue, clock: Clock, images: int, seconds: float) -> None:
    """One request that is answered after so long."""
    with queue.admit(images):
        clock.now += seconds


def test_what_would_wait_too_long_is_turned_away_and_told_when_to_come_again() -> None:
    clock = Clock()
    queue = Queue(1000, lambda _: None, clock)
    for _ in range(8):
        work(queue, clock, 1, 0.5)
        clock.now += 3600  # nothing to do is not slow
    with queue.admit(9, 5.0):
        with pytest.raises(FullError, match=r"some 5\.5 s of work") as full, queue.admit(2, 5.0):
            pass
        assert full.value.retry_after_s == 1
        with queue.admit(1, 5.0), queue.admit(500, None):
            assert queue.images == 510
            with pytest.raises(FullError) as full, queue.admit(1, 5.0):
                pass
            assert full.value.retry_after_s == 251
    assert queue.images == queue.requests == 0


def test_nothing_is_foretold_of_what_was_never_measured_or_comes_alone() -> None:
    clock = Clock()
    queue = Queue(1000, lambda _: None, clock)
    with queue.admit(100, 0.001), queue.admit(100, 0.001):  # nothing was ever done
        clock.now += 1
    with queue.admit(1000, 0.001):  # alone: somebody must be served, and tell how long it takes
        pass


def test_a_batch_that_hangs_turns_others_away_and_is_forgotten() -> None:
    clock = Clock()
    queue = Queue(1000, lambda _: None, clock)
    for _ in range(32):
        work(queue, clock, 1, 0.1)
    with queue.admit(1, 5.0):
        with queue.admit(20, 5.0):
            pass
        clock.now += 60
        with pytest.raises(FullError), queue.admit(20, 5.0):
            pass
    for _ in range(100):
        work(queue, clock, 4, 0.4)
    with queue.admit(20, 5.0), queue.admit(20, 5.0):
        assert queue.images == 40


def test_what_failed_or_was_left_is_no_work_done() -> None:
    clock = Clock()
    queue = Queue(1000, lambda _: None, clock)
    for _ in range(8):
        work(queue, clock, 1, 1.0)
    with queue.admit(1):
        for _ in range(50):
            with suppress(RuntimeError), queue.admit(100):
                raise RuntimeError
        with pytest.raises(FullError), queue.admit(8, 5.0):
            pass


@given(st.lists(st.integers(1, 60), max_size=12), st.integers(0, 11), st.integers(0, 3))
def test_pixels_in_memory_are_bounded_and_given_in_order(sizes: list[int], cancelled: int, pause: int) -> None:
    async def story() -> None:
        room = PixelRoom(50)
        order: list[int] = []

        async def one(i: int, size: int) -> None:
            async with room.hold(size):
                order.append(i)
                assert room.taken <= 50 or room.taken == size
                for _ in range(pause):
                    await asyncio.sleep(0)

        tasks = [asyncio.create_task(one(i, size)) for i, size in enumerate(sizes)]
        await asyncio.sleep(0)
        if cancelled < len(tasks):
            tasks[cancelled].cancel()
        await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), WAIT_S)
        assert room.taken == 0
        assert order == sorted(order)
        assert set(range(len(sizes))) - set(order) <= {cancelled}

    asyncio.run(story())
