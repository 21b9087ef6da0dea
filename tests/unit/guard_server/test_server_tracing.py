"""Traces through the sidecar: a check runs on another thread than the request that asks for it, and stays its child."""

from __future__ import annotations

import asyncio

import pytest
from opentelemetry import trace as trace_api
from prometheus_client import CollectorRegistry

from guard_server.config import ServerConfig
from guard_server.current import Current
from guard_server.engine import Engine, Job
from guard_server.metrics import ServerMetrics
from tests.support.references import jpeg
from tests.support.served import toy_guard
from tests.support.traces import checks, keep_spans


@pytest.mark.parametrize("alone", [False, True], ids=["in a batch", "alone"])
def test_a_check_is_a_child_of_its_request(monkeypatch: pytest.MonkeyPatch, alone: bool) -> None:
    spans = keep_spans(monkeypatch)
    tracer = trace_api.get_tracer("host")

    async def request(engine: Engine, number: int) -> int:
        with tracer.start_as_current_span("request") as span:
            inputs = [jpeg(99)] if alone else []  # images that come with inputs are checked by themselves
            await engine.check(Job([jpeg(number)], inputs=inputs, pipeline=f"p{number}"))
            return span.get_span_context().span_id

    async def requests() -> list[int]:
        engine = Engine(Current(toy_guard(), lambda _: None), ServerConfig(), ServerMetrics(CollectorRegistry(), {}))
        try:
            return await asyncio.gather(*(request(engine, number) for number in range(3)))
        finally:
            await engine.close()

    parents = asyncio.run(requests())
    found = {check.attributes["memguard.pipeline"]: check.parent.span_id for check in checks(spans)}
    assert found == {f"p{number}": parent for number, parent in enumerate(parents)}
