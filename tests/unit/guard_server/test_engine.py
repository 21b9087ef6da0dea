"""The engine between requests and the guard: what is checked together, in what order, and what is turned away."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from guard import ConfigError, Decision, Guard, Status
from guard.config import load_config
from guard_server.admission import FullError, Queue
from guard_server.config import ServerConfig
from guard_server.current import Current
from guard_server.engine import Engine, Job
from guard_server.metrics import ServerMetrics
from tests.support.references import jpeg
from tests.support.served import WAIT_S, HeldEmbedder
from tests.support.toys import MemoryIndex, ToyEmbedder, picture

COPY, STRANGER = jpeg(3), jpeg(99)


def story(
    tell: Callable[[Engine], Coroutine[Any, Any, None]],
    embedder: ToyEmbedder | None = None,
    settings: dict[str, Any] | None = None,
    **of_the_guard: Any,
) -> Guard:
    embedder = embedder or ToyEmbedder()
    of_the_guard.setdefault("deadline_s", WAIT_S)
    pictures = {f"train/{i}.png": picture(i) for i in range(20)}
    guard = Guard(MemoryIndex(ToyEmbedder(), pictures), embedder, config=load_config(None, **of_the_guard))

    async def run() -> None:
        current = Current(guard, lambda _: None)
        engine = Engine(current, ServerConfig.model_validate(settings or {}), ServerMetrics(CollectorRegistry(), {}))
        await tell(engine)
        await engine.close()

    asyncio.run(run())
    return guard


async def entered(embedder: HeldEmbedder) -> None:
    assert await asyncio.to_thread(embedder.entered.acquire, timeout=WAIT_S)


async def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < end, "it never came to that"
        await asyncio.sleep(0.001)


def test_several_requests_are_one_batch_and_each_gets_its_own_report() -> None:
    embedder = HeldEmbedder(gate=threading.Semaphore(0))

    async def tell(engine: Engine) -> None:
        first = asyncio.create_task(engine.check(Job([STRANGER])))
        await entered(embedder)
        jobs = [Job([COPY, STRANGER], pipeline="a"), Job([b"broken"], pipeline="b"), Job([COPY], pipeline="c")]
        rest = [asyncio.create_task(engine.check(job)) for job in jobs]
        await until(lambda: engine._batcher.inside == 4)
        embedder.gate.release(10)
        reports = [checked.report for checked in await asyncio.gather(first, *rest)]
        assert [[v.decision for v in report] for report in reports] == [
            [Decision.ALLOW],
            [Decision.BLOCK, Decision.ALLOW],
            [None],
            [Decision.BLOCK],
        ]
        assert [report.pipeline for report in reports] == ["default", "a", "b", "c"]

    story(tell, embedder)
    assert embedder.sizes == [1, 3]


def test_requests_with_other_options_inputs_or_clips_do_not_mix() -> None:
    embedder = HeldEmbedder(gate=threading.Semaphore(0))

    async def tell(engine: Engine) -> None:
        first = asyncio.create_task(engine.check(Job([STRANGER])))
        await entered(embedder)
        jobs = [
            Job([COPY]),
            Job([COPY], options={"mode": "shadow"}),
            Job([COPY], inputs=[COPY]),
            Job([STRANGER, COPY], clips=[2]),
            Job([COPY], options={"mode": "shadow"}),
        ]
        rest = [asyncio.create_task(engine.check(job)) for job in jobs]
        await until(lambda: engine._batcher.inside == 6)
        embedder.gate.release(100)
        plain, shadow, echo, clip, again = [checked.report for checked in await asyncio.gather(*rest)]
        await first
        assert plain[0].withheld
        assert not shadow[0].withheld
        assert (shadow.mode, again.mode) == ("shadow", "shadow")
        assert echo[0].decision is Decision.ALLOW
        assert (clip[0].decision, clip[0].frame) == (Decision.BLOCK, 1)

    story(tell, embedder)


def test_beyond_the_queue_requests_are_turned_away_at_once() -> None:
    embedder = HeldEmbedder(gate=threading.Semaphore(0))

    async def tell(engine: Engine) -> None:
        first = asyncio.create_task(engine.check(Job([STRANGER])))
        await entered(embedder)
        waiting = [asyncio.create_task(engine.check(Job([STRANGER]))) for _ in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(FullError, match="4 images wait"):
            await engine.check(Job([STRANGER]))
        embedder.gate.release(10)
        for checked in await asyncio.gather(first, *waiting):
            assert checked.report[0].decision is Decision.ALLOW
        assert engine._queue.images == engine._queue.requests == engine._room.taken == 0

    story(tell, embedder, {"queue_images": 4})


def test_overload_is_turned_away_before_it_fails_for_want_of_time() -> None:
    embedder = HeldEmbedder()

    async def tell(engine: Engine) -> None:
        now = [0.0]
        engine._queue = Queue(1000, lambda _: None, lambda: now[0])
        for _ in range(8):  # a minute each
            work = asyncio.create_task(engine.check(Job([STRANGER])))
            await asyncio.sleep(0)
            now[0] += 60.0
            await work
        embedder.gate = threading.Semaphore(0)
        accepted = [asyncio.create_task(engine.check(Job([STRANGER]))) for _ in range(5)]
        await until(lambda: engine._queue.images == 5)
        with pytest.raises(FullError, match="more than a check may take") as full:
            await engine.check(Job([STRANGER]))
        assert full.value.retry_after_s == 30
        longer = asyncio.create_task(engine.check(Job([STRANGER], options={"deadline_s": 3600})))
        await until(lambda: engine._queue.images == 6)
        embedder.gate.release(10)
        for checked in await asyncio.gather(*accepted, longer):
            assert checked.report[0].status is Status.SUCCESS

    story(tell, embedder, deadline_s=330)


def test_what_waited_longer_than_a_check_may_take_fails_closed() -> None:
    embedder = HeldEmbedder(gate=threading.Semaphore(0))

    async def tell(engine: Engine) -> None:
        first = asyncio.create_task(engine.check(Job([STRANGER])))
        await entered(embedder)
        late = asyncio.create_task(engine.check(Job([COPY], pipeline="late")))
        await until(lambda: engine._batcher.inside == 2)
        engine._batcher._waiting[0].arrived -= WAIT_S
        in_time = asyncio.create_task(engine.check(Job([COPY])))
        await until(lambda: engine._batcher.inside == 3)
        embedder.gate.release(10)
        reports = [checked.report for checked in await asyncio.gather(first, late, in_time)]
        assert [report[0].status for report in reports] == [Status.SUCCESS, Status.ERROR, Status.SUCCESS]
        assert (reports[1][0].reason, reports[1][0].withheld) == ("deadline", True)

    guard = story(tell, embedder)
    labels = {"pipeline": "late", "stage": "host", "reason": "deadline", "outcome": "closed"}
    assert guard.metrics.registry.get_sample_value("memguard_failures_total", labels) == 1


def test_a_check_whose_client_left_is_not_made() -> None:
    embedder = HeldEmbedder(gate=threading.Semaphore(0))

    async def tell(engine: Engine) -> None:
        first = asyncio.create_task(engine.check(Job([STRANGER])))
        await entered(embedder)
        leaving = asyncio.create_task(engine.check(Job([COPY, COPY])))
        await until(lambda: engine._batcher.inside == 2)
        leaving.cancel()
        embedder.gate.release(10)
        await first
        assert (await engine.check(Job([STRANGER]))).report[0].decision is Decision.ALLOW
        assert engine._queue.images == engine._room.taken == 0

    story(tell, embedder)
    assert embedder.sizes == [1, 1]


def test_options_that_do_not_fit_are_told_before_anything_is_decoded() -> None:
    async def tell(engine: Engine) -> None:
        with pytest.raises(ConfigError, match="mode"):
            await engine.check(Job([COPY], options={"mode": "loud"}))

    story(tell)


def test_many_pictures_at_once_are_decoded_within_the_room_for_pixels() -> None:
    async def tell(engine: Engine) -> None:
        jobs = [engine.check(Job([COPY, STRANGER])) for _ in range(8)]
        reports = [checked.report for checked in await asyncio.gather(*jobs)]
        assert all([v.decision for v in report] == [Decision.BLOCK, Decision.ALLOW] for report in reports)
        assert engine._room.taken == 0

    story(tell, settings={"max_decoded_megapixels": 0.01})
