"""A sidecar for tests: in process over ASGI, or as a process of its own that a real socket reaches."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from starlette.testclient import TestClient

from guard import Guard
from guard.config import load_config
from guard_server.app import create_app
from guard_server.config import ServerConfig
from tests.support.toys import MemoryIndex, ToyEmbedder, picture

__all__ = ["client_of", "form", "serving", "toy_guard"]

BASE = "http://127.0.0.1:8750"


def toy_guard(**settings: Any) -> Guard:
    """A guard whose references are the pictures of seeds 0 to 19."""
    pictures = {f"train/{i}.png": picture(i) for i in range(20)}
    return Guard(MemoryIndex(ToyEmbedder(), pictures), ToyEmbedder(), config=load_config(None, **settings))


@contextmanager
def client_of(guard: Guard | None = None, **settings: Any) -> Iterator[TestClient]:
    """A client of an application with these settings of the server."""
    app = create_app(guard or toy_guard(), ServerConfig.model_validate(settings))
    with TestClient(app, base_url=BASE) as client:
        yield client


def form(*images: bytes, name: str = "images") -> list[tuple[str, tuple[str, bytes]]]:
    """Files of a multipart form."""
    return [(name, (f"{i}.bin", data)) for i, data in enumerate(images)]


class Serving:
    """A running `memguard serve`."""

    def __init__(self, process: subprocess.Popen[str], url: str) -> None:
        self.process = process
        self.url = url
        self.log: list[str] = []


@contextmanager
def serving(*arguments: str | Path, environ: Mapping[str, str] | None = None) -> Iterator[Serving]:
    """`memguard serve` on a free port, stopped by SIGTERM at the end if it still runs."""
    command = [sys.executable, "-W", "error", "-m", "guard", "serve", "--port", "0", *map(str, arguments)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environ)
    assert process.stderr is not None
    seen: list[str] = []
    try:
        for line in process.stderr:
            seen.append(line)
            found = re.search(r"on (http://\S+)", line)
            if found:
                yield Serving(process, found[1])
                return
        raise AssertionError(f"memguard serve ended with {process.wait()}: {''.join(seen)}")
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
        process.stderr.close()
