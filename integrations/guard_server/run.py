"""From settings to a server that listens: one process. Knows uvicorn and sockets; no route."""

from __future__ import annotations

import logging
import os
import socket
import sys
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI

from guard.errors import ConfigError
from guard.guard import Guard
from guard_server.app import create_app, token_book
from guard_server.config import ServerConfig, load_server_config

__all__ = ["bind", "run"]

logger = logging.getLogger("guard_server")
KEEP_ALIVE_S = 30  # longer than clients keep an idle connection, so that they and not we close it


def run(index: Path | None, config_file: Path | None, *, embedder: str | None = None, **flags: Any) -> bool:
    """Serve until told to stop; False if the server failed. Raises GuardError for what keeps it from starting."""
    config = load_server_config(config_file, environ=os.environ, index=index, **flags)
    if config.index is None:
        raise ConfigError("no index: give --index, or the setting server.index")
    token_book(config)  # before anything large is opened
    with bind(config.host, config.port) as listener:
        configure_logging()
        guard = Guard.open(config.index, config=config_file, embedder=embedder)
        server = uvicorn.Server(uvicorn_config(create_app(guard, config), config))
        address = listener.getsockname()
        shown = f"[{address[0]}]" if ":" in address[0] else address[0]
        logger.info(
            "serving %s, version %s, %d references, on http://%s:%d", config.index, guard.index.version,
            guard.index.manifest.count, shown, address[1],
        )  # fmt: skip
        try:
            server.run(sockets=[listener])
        except KeyboardInterrupt:  # raised again by uvicorn after everything has ended
            return True
        return server.started


def uvicorn_config(app: FastAPI, config: ServerConfig) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        ws="none",
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=config.shutdown_s,
    )


def bind(host: str, port: int) -> socket.socket:
    """A bound socket that does not listen yet: who asks too early is refused and not kept waiting.

    Raises ConfigError where the address is not ours or the port is taken.
    """
    listener = None
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as exc:
        if listener is not None:
            listener.close()
        raise ConfigError(f"cannot listen on {host}:{port}: {exc.strerror}; name another host or port") from exc
    return listener


def configure_logging() -> None:
    """One line an entry on standard error, unless the application that started us has arranged something else."""
    logging.basicConfig(stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    for ours in ("guard", "guard_server"):
        logging.getLogger(ours).setLevel(logging.INFO)
    logging.getLogger("python_multipart").setLevel(logging.ERROR)  # it tells every malformed form; so does the answer
