"""A sidecar for tests: in process over ASGI, or as a process of its own that a real socket reaches."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvicorn
from starlette.testclient import TestClient

from guard import Guard
from guard.config import load_config
from guard.pixels import ImageBatch
from guard.types import Descriptors
from guard_server.app import create_app
from guard_server.config import ServerConfig
from guard_server.process import uvicorn_config
from guard_server.run import bind
from tests.support.toys import MemoryIndex, ToyEmbedder, picture
from tests.support.waiting import WAIT_S, until

__all__ = ["WAIT_S", "HeldEmbedder", "client_of", "form", "listening", "serving", "toy_guard", "until"]

BASE = "http://127.0.0.1:8750"
PATIENT = dict.fromkeys(("head_s", "body_s", "send_s", "decode_s"), WAIT_S)
"""Settings of servers whose clients, and decoders, get no time on a busy machine; tests of bounds set their own."""


@dataclass
class HeldEmbedder(ToyEmbedder):
    """Waits at a gate before it embeds, and remembers how many pictures came together."""

    gate: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(1000))
    entered: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    sizes: list[int] = field(default_factory=list)

    def embed(self, batch: ImageBatch) -> Descriptors:
        self.sizes.append(len(batch))
        self.entered.release()
        assert self.gate.acquire(timeout=WAIT_S)
        return super().embed(batch)


def toy_guard(embedder: ToyEmbedder | None = None, **settings: Any) -> Guard:
    """A guard whose references are the pictures of seeds 0 to 19, and which has time."""
    settings.setdefault("deadline_s", WAIT_S)
    pictures = {f"train/{i}.png": picture(i) for i in range(20)}
    return Guard(MemoryIndex(ToyEmbedder(), pictures), embedder or ToyEmbedder(), config=load_config(None, **settings))


@contextmanager
def client_of(guard: Guard | None = None, **settings: Any) -> Iterator[TestClient]:
    """A client of an application with these settings of the server."""
    app = create_app(guard or toy_guard(), _config(settings))
    with TestClient(app, base_url=BASE) as client:
        yield client
    _written(app)


def form(*images: bytes, name: str = "images") -> list[tuple[str, tuple[str, bytes]]]:
    """Files of a multipart form."""
    return [(name, (f"{i}.bin", data)) for i, data in enumerate(images)]


@dataclass
class Listening:
    """A server on a thread of this process."""

    url: str
    server: uvicorn.Server
    thread: threading.Thread
    app: Any

    @property
    def address(self) -> tuple[str, int]:
        host, _, port = self.url.removeprefix("http://").rpartition(":")
        return host, int(port)

    def stop(self) -> None:
        """What SIGTERM does."""
        self.server.should_exit = True


@contextmanager
def listening(guard: Guard | None = None, **settings: Any) -> Iterator[Listening]:
    """A server in this process, which real sockets reach."""
    config = _config(settings)
    app = create_app(guard or toy_guard(), config)
    del guard  # a swap must be able to let go of it
    server = uvicorn.Server(uvicorn_config(app, config))
    with bind("127.0.0.1", 0) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        try:
            until(lambda: server.started or not thread.is_alive())
            assert server.started
            yield Listening(url, server, thread, app)
        finally:
            server.should_exit = True
            thread.join(WAIT_S)
            assert not thread.is_alive()
            _written(app)


def _config(settings: Mapping[str, Any]) -> ServerConfig:
    return ServerConfig.model_validate({**PATIENT, **settings})


def _written(app: Any) -> None:
    """Wait for the decision log: a server that stops gives its writer seconds, which a busy machine may take longer."""
    events = app.state.service.guard.events
    assert events is None or events.close(WAIT_S)


@dataclass
class Serving:
    """A running `memguard serve`."""

    process: subprocess.Popen[str]
    url: str
    log: list[str]
    """Its lines on standard error, as they come."""


@contextmanager
def serving(*arguments: str | Path, workers: int = 1) -> Iterator[Serving]:
    """`memguard serve` on a free port, once all its workers serve; stopped by SIGTERM at the end if it still runs."""
    options = ["serve", "--port", "0", "--workers", str(workers), *map(str, arguments)]
    command = [sys.executable, "-W", "error", "-m", "guard", *options]
    patient = {f"MEMGUARD_SERVER__{name.upper()}": str(value) for name, value in PATIENT.items()}
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ | patient)
    log: list[str] = []
    assert process.stderr is not None
    reader = threading.Thread(target=log.extend, args=(process.stderr,))
    reader.start()
    try:
        until(lambda: "".join(log).count(" serves ") >= workers or process.poll() is not None)
        found = re.search(r"on (http://[\w.:\[\]]+)", "".join(log))
        assert process.poll() is None, "".join(log)
        assert found
        yield Serving(process, found[1], log)
    finally:
        process.terminate()
        try:
            process.wait(WAIT_S)
        finally:
            process.kill()
            reader.join()
            process.stderr.close()
