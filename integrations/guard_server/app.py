"""The application: parts put together, and every answer shaped. Serves nothing by itself; see `guard_server.run`."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from starlette.types import ASGIApp

from guard._version import __version__
from guard.indexes.overlaid import OverlaidIndex
from guard_server import problems
from guard_server.book import token_book
from guard_server.config import ServerConfig
from guard_server.current import Current
from guard_server.engine import Engine
from guard_server.meanings import Meanings
from guard_server.metrics import GONE, ServerMetrics
from guard_server.pages import install as pages
from guard_server.problems import ProblemDetails
from guard_server.routes import admin, check, clip_retrieval, events, health, search
from guard_server.service import Service
from guard_server.shield import Shield, loopback_names
from guard_server.swap import Swap, Swapper
from guard_server.uploads import UploadBudget
from guard_server.watch import Watch

if TYPE_CHECKING:
    from guard.guard import Guard

__all__ = ["create_app"]

ROUTERS = (health.router, check.router, search.router, clip_retrieval.router, events.router, admin.router)


def create_app(guard: Guard, config: ServerConfig | None = None) -> FastAPI:
    """An ASGI application that checks with this guard, and counts on its registry.

    Raises ConfigError where the address of the settings is no loopback and there are no tokens, or the text tower that
    they name does not fit; IndexLoadError as opening an index does.
    """
    config = config or ServerConfig()
    tokens = token_book(config)
    app = _Application(
        title="memorization-guard",
        version=__version__,
        summary="Near-copies of training images in what an image-generation pipeline makes.",
        openapi_url=None,  # a route of our own; the pages that FastAPI has for it load scripts from another host
        lifespan=_lifespan,
    )
    for router in ROUTERS:
        app.include_router(router)
    pages.install(app, config, tokens)
    problems.install(app)
    metrics = ServerMetrics(guard.metrics.registry, _answers())
    current = Current(guard, _retire)
    meanings = Meanings(config, guard.metrics)
    app.state.service = Service(
        config=config,
        tokens=tokens,
        current=current,
        watch=Watch(current, _swapper(current, config), meanings, config),
        engine=Engine(current, config, metrics),
        metrics=metrics,
        uploads=UploadBudget(int(config.max_upload_mb * 1_000_000)),
        meanings=meanings,
    )
    app.hosts = config.hosts or (None if tokens else loopback_names(config.host))
    return app


class _Application(FastAPI):
    hosts: Sequence[str] | None = None

    def build_middleware_stack(self) -> ASGIApp:
        """The shield is the outermost: also of what FastAPI answers when something breaks."""
        service: Service = self.state.service
        stack = super().build_middleware_stack()
        return Shield(stack, hosts=self.hosts, metrics=service.metrics, send_s=service.config.send_s)

    def openapi(self) -> dict[str, Any]:
        """FastAPI's own, with problem details in place of its validation errors, and the tokens."""
        if not self.openapi_schema:
            schema = get_openapi(title=self.title, version=self.version, summary=self.summary, routes=self.routes)
            parts = schema.setdefault("components", {})
            parts.setdefault("schemas", {})["ProblemDetails"] = ProblemDetails.model_json_schema()
            parts["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
            schema["security"] = [{"token": []}, {}]
            self.openapi_schema = schema
        return self.openapi_schema


def _answers() -> dict[str, set[int]]:
    """What each route may answer, as its documentation says."""
    answers: dict[str, set[int]] = {}
    for router in ROUTERS:
        for route in router.routes:
            if isinstance(route, APIRoute):
                answers.setdefault(route.path, set()).update({200, GONE}, map(int, route.responses))
    pages_at = {r.path for router in pages.ROUTERS for r in router.routes if isinstance(r, APIRoute)}
    return answers | {path: set(pages.CODES) for path in pages_at}


def _swapper(current: Current, config: ServerConfig) -> Swapper | None:
    index = current.guard.index
    if not isinstance(index, OverlaidIndex):
        return None
    most = config.canaries if config.canary_s else 0
    path = index.overlay.path.parent
    return Swapper(current, path, canaries=most, folder=config.canary_pictures, checksums=config.checksums)


def _retire(guard: Guard) -> None:
    close = getattr(guard.index, "close", None)
    if close is not None:
        close()


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    service: Service = app.state.service
    await service.watch.start()
    with _on_hangup(service):
        yield
    await service.watch.stop()
    await service.engine.close()
    service.meanings.close()
    guard = service.guard
    if guard.events is not None:
        guard.events.close()


@contextmanager
def _on_hangup(service: Service) -> Iterator[None]:
    """SIGHUP loads a new version of the index; one that was refused before is tried again."""
    if threading.current_thread() is not threading.main_thread():  # only there are signals handled
        yield
        return
    loop = asyncio.get_running_loop()
    running: set[asyncio.Task[Swap | None]] = set()

    def swap() -> None:
        task = loop.create_task(service.watch.swap())
        running.add(task)
        task.add_done_callback(running.discard)

    loop.add_signal_handler(signal.SIGHUP, swap)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGHUP)
