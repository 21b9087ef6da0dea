"""/status: how the guard is doing, from its own metrics. Knows which numbers people look at; counts nothing itself."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from guard_server.pages.access import PageRoute, visitor
from guard_server.pages.rendering import render
from guard_server.pages.sessions import Visit
from guard_server.pages.sparkline import Sparkline, sparkline
from guard_server.pages.trends import EVERY_S, Counts, Interval, Trends, counts_of
from guard_server.readiness import readiness
from guard_server.service import Service, service_of
from guard_server.tokens import Scope

if TYPE_CHECKING:
    from prometheus_client import Metric

__all__ = ["router"]


@asynccontextmanager
async def sampling(app: FastAPI) -> AsyncIterator[None]:
    """Take a sample now and then for as long as the application lives."""
    service: Service = app.state.service
    trends: Trends = app.state.trends

    async def sample() -> None:
        while True:
            now, _ = await run_in_threadpool(moment, service)
            trends.add(now)
            await asyncio.sleep(EVERY_S)

    task = asyncio.create_task(sample())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


router = APIRouter(route_class=PageRoute, include_in_schema=False, lifespan=sampling)


@dataclass(frozen=True, slots=True)
class Tile:
    """One number of now with its last hour."""

    title: str
    value: float | None
    kind: str
    """Which words it is told in: a name of a filter of the templates."""
    says: str
    line: Sparkline | None
    alarm: bool = False


@router.get("/status")
async def status(
    request: Request,
    service: Annotated[Service, Depends(service_of)],
    visit: Annotated[Visit, Depends(visitor(Scope.METRICS))],
) -> Response:
    trends: Trends = request.app.state.trends
    now, families = await run_in_threadpool(moment, service)
    guard = service.guard
    checks = await run_in_threadpool(readiness, service)
    return render(
        request,
        "status.html",
        visit=visit,
        active="status",
        tiles=tiles(trends.intervals(now), trends.whole(now)),
        checks=checks,
        ready=all(state == "ok" for state in checks.values()),
        guard=guard,
        mode=guard.config.mode.value,
        manifest=guard.index.manifest,
        provider=getattr(guard.embedder, "provider", "cpu"),
        pipelines=by_pipeline(families),
        thresholds=thresholds(families),
        canaries=by_label(families, "memguard_canary_checks_total", "result"),
        reloads=by_label(families, "memguard_index_reloads_total", "result"),
        stale=any(value for _, value in samples(families, "memguard_calibration_stale")),
        dropped=sum(by_label(families, "memguard_events_dropped_total", "reason").values()),
        rejected=by_label(families, "memguard_rejected_total", "reason"),
        reviews=by_label(families, "memguard_reviews_total", "outcome"),
        logging=guard.events is not None,
        since=now.at if (whole := trends.whole(now)) is None else whole.start,
        now=now.at,
    )


def moment(service: Service) -> tuple[Counts, list[Metric]]:
    families = list(service.guard.metrics.collect())
    return counts_of(families, time.time()), families


def tiles(intervals: list[Interval], whole: Interval | None) -> list[Tile]:
    def line(values: Iterable[float | None], least: float = 0.0) -> Sparkline | None:
        return sparkline(list(values), least=least)

    p50 = None if whole is None else whole.p50_s
    p95 = None if whole is None else whole.p95_s
    failures = None if whole is None else whole.failures
    return [
        Tile("Images a minute", None if whole is None else whole.per_minute, "compact", "checked",
             line((i.per_minute for i in intervals), 1.0)),
        Tile("Flag rate", None if whole is None else whole.marked_share, "percent", "flagged or blocked",
             line((i.marked_share for i in intervals), 0.05)),
        Tile("Check, slowest 5 %", p95, "milliseconds", "p95", line(i.p95_s for i in intervals)),
        Tile("Check, median", p50, "milliseconds", "p50", line(i.p50_s for i in intervals)),
        Tile("Failed checks", failures, "compact", "images", line((i.failures for i in intervals), 1.0),
             bool(failures)),
    ]  # fmt: skip


def samples(families: Iterable[Metric], name: str) -> list[tuple[dict[str, str], float]]:
    return [(s.labels, s.value) for family in families for s in family.samples if s.name == name]


def by_label(families: Iterable[Metric], name: str, label: str) -> dict[str, float]:
    found: dict[str, float] = {}
    for labels, value in samples(families, name):
        found[labels[label]] = found.get(labels[label], 0) + value
    return found


def by_pipeline(families: list[Metric]) -> list[dict[str, Any]]:
    """A row a pipeline since the start, those with the most images first."""
    rows: dict[str, dict[str, Any]] = {}
    for labels, value in samples(families, "memguard_images_total"):
        row = rows.setdefault(labels["pipeline"], {"allow": 0, "flag": 0, "block": 0, "failed": 0, "skipped": 0})
        row[labels["decision"]] += value
    for name, column in (("memguard_failures_total", "failed"), ("memguard_skipped_total", "skipped")):
        for pipeline, value in by_label(families, name, "pipeline").items():
            if pipeline in rows:
                rows[pipeline][column] += value
    order = sorted(rows, key=lambda name: (-sum(rows[name].values()), name))
    return [{"name": name, **rows[name]} for name in order]


def thresholds(families: list[Metric]) -> list[tuple[str, dict[str, float]]]:
    """Similarities by collection, and in it by action."""
    found: dict[str, dict[str, float]] = {}
    for labels, value in samples(families, "memguard_threshold"):
        found.setdefault(labels["collection"], {})[labels["action"]] = value
    return sorted(found.items())
