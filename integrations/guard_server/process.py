"""One process that serves: guard, application and uvicorn on a socket. Knows signals; no worker beside it."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
from collections.abc import Callable

import uvicorn
from fastapi import FastAPI

from guard.cli.console import Exit
from guard.config import GuardConfig
from guard.guard import Guard
from guard_server.app import create_app
from guard_server.config import ServerConfig
from guard_server.protocol import bounded

__all__ = ["serve", "uvicorn_config"]

logger = logging.getLogger("guard_server")

KEEP_ALIVE_S = 30  # longer than clients keep an idle connection, so that they and not we close it
CONNECTIONS = 4096  # beyond, uvicorn answers 503 by itself


def serve(
    config: ServerConfig, guard_config: GuardConfig, listener: socket.socket, ready: Callable[[], None] = lambda: None
) -> Exit:
    """Open the index and serve it on a bound socket until SIGTERM or SIGINT. ready: called once it listens.

    Raises GuardError for what keeps it from starting.
    """
    assert config.index is not None
    guard = Guard.open(config.index, config=guard_config)
    what = f"{config.index}, version {guard.index.version}, {guard.index.manifest.count} references"
    app = create_app(guard, config)
    del guard  # a swap must be able to let go of it

    def announce() -> None:
        host, port = listener.getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        logger.info("process %d serves %s, on http://%s:%d", os.getpid(), what, shown, port)
        ready()

    server = _Announcing(uvicorn_config(app, config), announce)
    with _until_done():
        server.run(sockets=[listener])
    return Exit.FINE if server.started else Exit.FAILED


class _Announcing(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, announce: Callable[[], None]) -> None:
        super().__init__(config)
        self._announce = announce

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._announce()


class _until_done:  # noqa: N801 - reads as a statement
    """uvicorn raises the signal again that ended it; by then all has been done that it asked for."""

    def __enter__(self) -> None:
        self._before = None
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
            signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until there is something to load anew

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: object) -> bool:
        if self._before is not None:
            signal.signal(signal.SIGTERM, self._before)
        return kind is KeyboardInterrupt


def uvicorn_config(app: FastAPI, config: ServerConfig) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=bounded(config.head_s),
        ws="none",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        limit_concurrency=CONNECTIONS,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=config.shutdown_s,
    )
