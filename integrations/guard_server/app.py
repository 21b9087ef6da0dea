"""The application: parts put together, and every answer shaped. Serves nothing by itself; see `guard_server.run`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute

from guard._version import __version__
from guard.errors import ConfigError
from guard_server import problems
from guard_server.config import ServerConfig, is_loopback
from guard_server.engine import Engine
from guard_server.metrics import GONE, ServerMetrics
from guard_server.problems import ProblemDetails
from guard_server.routes import check, health
from guard_server.service import Service
from guard_server.shield import Shield, loopback_names
from guard_server.tokens import TokenBook, read_tokens
from guard_server.uploads import UploadBudget

if TYPE_CHECKING:
    from guard.guard import Guard

__all__ = ["create_app", "token_book"]

ROUTERS = (health.router, check.router)


def create_app(guard: Guard, config: ServerConfig | None = None) -> FastAPI:
    """An ASGI application that checks with this guard, and counts on its registry.

    Raises ConfigError where the address of the settings is no loopback and there are no tokens.
    """
    config = config or ServerConfig()
    tokens = token_book(config)
    app = FastAPI(
        title="memorization-guard",
        version=__version__,
        summary="Near-copies of training images in what an image-generation pipeline makes.",
        openapi_url=None,  # a route of our own; the pages that FastAPI has for it load scripts from another host
        lifespan=_lifespan,
    )
    for router in ROUTERS:
        app.include_router(router)
    problems.install(app)
    metrics = ServerMetrics(guard.metrics.registry, _answers())
    app.state.service = Service(
        config=config,
        tokens=tokens,
        engine=Engine(guard, config),
        metrics=metrics,
        uploads=UploadBudget(int(config.max_upload_mb * 1_000_000)),
    )
    hosts = config.hosts or (None if tokens else loopback_names(config.host))
    app.add_middleware(Shield, hosts=hosts, metrics=metrics)
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]
    return app


def token_book(config: ServerConfig) -> TokenBook:
    """All tokens of the settings. Raises ConfigError if there are none, and others than this machine could call."""
    tokens = [*config.tokens, *(read_tokens(config.tokens_file) if config.tokens_file else ())]
    names = [token.name for token in tokens]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ConfigError(f"tokens: two are called {repeated[0]!r}")
    if not tokens and not is_loopback(config.host):
        raise ConfigError(
            f"server.host = {config.host!r} can be reached from other machines, and there are no tokens: make one with "
            "`memguard token NAME --scope check --file tokens.toml` and name that file in server.tokens_file"
        )
    return TokenBook(tokens)


def _answers() -> dict[str, set[int]]:
    """What each route may answer, as its documentation says."""
    answers: dict[str, set[int]] = {}
    for router in ROUTERS:
        for route in router.routes:
            if isinstance(route, APIRoute):
                answers.setdefault(route.path, set()).update({200, GONE}, map(int, route.responses))
    return answers


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    service: Service = app.state.service
    try:
        yield
    finally:
        service.engine.close()
        guard = service.guard
        if guard.events is not None:
            guard.events.close()


def _openapi(app: FastAPI) -> dict[str, Any]:
    """FastAPI's own, with problem details in place of its validation errors, and the tokens."""
    if app.openapi_schema:
        return app.openapi_schema
    schema = get_openapi(title=app.title, version=app.version, summary=app.summary, routes=app.routes)
    parts = schema.setdefault("components", {})
    parts.setdefault("schemas", {})["ProblemDetails"] = ProblemDetails.model_json_schema()
    parts["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    schema["security"] = [{"token": []}, {}]
    app.openapi_schema = schema
    return schema
