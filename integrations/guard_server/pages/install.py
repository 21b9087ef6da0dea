"""The pages into an application. Knows their routers; no template."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, FastAPI

from guard_server.config import ServerConfig
from guard_server.pages import protect, review, search, sign_in, status
from guard_server.pages.sessions import Sessions
from guard_server.pages.trends import Trends
from guard_server.tokens import TokenBook

__all__ = ["CODES", "ROUTERS", "install"]

ROUTERS: tuple[APIRouter, ...] = (sign_in.router, status.router, review.router, search.router, protect.router)
SEARCHES = 2
"""Pictures that are looked for at a time; others wait, so that they cannot take the checks' memory."""
CODES = (200, 303, 400, 401, 403, 404, 408, 413, 415, 422, 429, 503)
"""What a page may answer."""


def install(app: FastAPI, config: ServerConfig, tokens: TokenBook) -> None:
    app.state.sessions = Sessions(tokens, config.session_key.get_secret_value().encode())
    app.state.trends = Trends()
    app.state.searches = asyncio.Semaphore(SEARCHES)
    for router in ROUTERS:
        app.include_router(router)
