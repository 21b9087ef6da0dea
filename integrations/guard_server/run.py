"""From settings to processes that serve. Knows sockets, and where workers' metrics meet; no route.

Nothing heavy is imported here: workers are forked from this process.
"""

from __future__ import annotations

import logging
import os
import shutil
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from guard.cli.console import Exit
from guard.config import GuardConfig, load_config
from guard.errors import ConfigError, GuardError, IndexLoadError, MissingExtraError
from guard.indexes.layout import IndexFolder, hold, release
from guard.indexes.manifest import MANIFEST, Manifest
from guard.indexes.verify import changed_files
from guard.logs import log_json
from guard_server.book import token_book
from guard_server.config import ServerConfig, load_server_config
from guard_server.supervisor import Supervisor

__all__ = ["bind", "run"]

NEEDED = ("fastapi", "httptools", "python_multipart", "uvicorn")
MULTIPROC = "PROMETHEUS_MULTIPROC_DIR"


def run(
    index: Path | None, config_file: Path | None, *, embedder: str | None = None, as_json: bool = False, **flags: Any
) -> Exit:
    """Serve until told to stop. Raises GuardError for what keeps it from starting.

    as_json: log JSON, and decisions too, with one in a hundred of those that `log_decisions` leaves to chance.
    """
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise MissingExtraError(f"memguard serve ({missing[0]})", extra="server")
    called = {name: f"--{name}" for name in ("index", *flags)}
    server = load_server_config(config_file, environ=os.environ, called=called, index=index, **flags)
    if server.index is None:
        raise ConfigError("no index: give --index, or the setting server.index")
    own = {"embedder": embedder} if embedder else {}
    guard = load_config(config_file, environ=os.environ, called={"embedder": "--embedder"}, **own)
    if server.workers > 1 and _can_share(guard):
        guard = guard.model_copy(update={"index_memory": "map"})
    if as_json and "log_decisions" not in guard.model_fields_set:
        guard = guard.model_copy(update={"log_decisions": 0.01})
    token_book(server)  # before anything large is opened
    if server.checksums:
        _compare(server.index)
    with bind(server.host, server.port) as listener:
        configure_logging(as_json=as_json)
        if server.workers == 1:
            from guard_server.process import serve

            return serve(server, guard, listener)
        with _shared_metrics() as forget:
            supervisor = Supervisor(
                lambda ready: _work(server, guard, listener, ready),
                server.workers,
                shutdown_s=server.shutdown_s,
                on_death=forget,
            )
            return Exit.FINE if supervisor.run() == 0 else Exit.FAILED


def _compare(path: Path) -> None:
    """Read the version in use once. Raises IndexLoadError, naming the file, if it is not what was published."""
    folder = IndexFolder(path)
    at = folder.version(folder.current())
    held = hold(at)
    try:
        problems = list(changed_files(at, Manifest.read(at / MANIFEST)))
    finally:
        release(held)
    if problems:
        raise IndexLoadError(f"{problems[0]}; build it again, or put back a copy of it")


def _can_share(guard: GuardConfig) -> bool:
    chosen = "index_memory" in guard.model_fields_set
    return not chosen and guard.index_backend == "faiss" and guard.index_device in (None, "cpu")


def _work(server: ServerConfig, guard: GuardConfig, listener: socket.socket, ready: Callable[[], None]) -> int:
    """What a worker does, in the child."""
    from guard_server.process import serve

    try:
        return serve(server, guard, listener, ready)
    except GuardError as exc:
        print(f"error: {exc}", file=sys.stderr)
        return Exit.FAILED


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


@contextmanager
def _shared_metrics() -> Iterator[Callable[[int], None]]:
    """A folder in which the workers' metrics add up, unless there is one already; yields what forgets a dead worker's.

    It must be named before prometheus_client is imported, which nothing up to here has done.
    """
    made = None
    if MULTIPROC not in os.environ:
        made = os.environ[MULTIPROC] = tempfile.mkdtemp(prefix="memguard-metrics-")

    def forget(pid: int) -> None:
        for file in Path(os.environ[MULTIPROC]).glob(f"gauge_live*_{pid}.db"):  # as mark_process_dead does
            file.unlink(missing_ok=True)

    try:
        yield forget
    finally:
        if made is not None:
            del os.environ[MULTIPROC]
            shutil.rmtree(made, ignore_errors=True)


def configure_logging(*, as_json: bool = False) -> None:
    """One line an entry on standard error, unless the application that started us has arranged something else."""
    if as_json:
        log_json()
    else:
        logging.basicConfig(stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    for ours in ("guard", "guard_server"):
        logging.getLogger(ours).setLevel(logging.INFO)
    logging.getLogger("python_multipart").setLevel(logging.ERROR)  # it tells every malformed form; so does the answer
