"""Clients that are slow, leave, flood or send what is no request: over real sockets, against a running server."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.support.references import jpeg, photo_folder
from tests.support.served import WAIT_S, HeldEmbedder, Listening, form, listening, serving, toy_guard, until

COPY, STRANGER = jpeg(3), jpeg(99)
HEAD = b"POST /v1/check HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: multipart/form-data; boundary=b\r\n"


def sample(server: Listening, name: str, **labels: str) -> float | None:
    registry = server.app.state.service.guard.metrics.registry
    return registry.get_sample_value(f"memguard_{name}", labels)


@contextlib.contextmanager
def connection(server: Listening) -> Iterator[socket.socket]:
    with socket.create_connection(server.address, timeout=WAIT_S) as client:
        yield client


def everything(client: socket.socket) -> bytes:
    """All that comes until the other side closes."""
    received = b""
    with contextlib.suppress(ConnectionResetError):
        while data := client.recv(65536):
            received += data
    return received


def works(server: Listening) -> None:
    """Asked until it answers: where little time is given to send in, a busy machine may take more."""

    def decisions() -> list[str] | None:
        with contextlib.suppress(httpx2.TransportError):
            answer = httpx2.post(server.url + "/v1/check", files=form(COPY, STRANGER), timeout=WAIT_S)
            return None if answer.status_code == 408 else [v["decision"] for v in answer.json()["verdicts"]]
        return None

    found: list[list[str] | None] = []
    until(lambda: not found.append(decisions()) and found[-1] is not None)
    assert found[-1] == ["block", "allow"]


def test_a_head_that_does_not_end_is_cut_off() -> None:
    with listening(head_s=0.3) as server:
        with connection(server) as silent, connection(server) as slow:
            with contextlib.suppress(ConnectionError):  # closed before a busy machine came to send
                slow.sendall(HEAD)
            assert everything(slow) == b""
            assert everything(silent) == b""
        works(server)


def test_a_head_without_end_is_refused() -> None:
    with listening() as server:
        with connection(server) as client, contextlib.suppress(ConnectionError):
            client.sendall(HEAD)
            for i in range(10_000):
                client.sendall(b"X-%d: %s\r\n" % (i, b"y" * 100))
            pytest.fail("a megabyte of headers was read")
        works(server)


def test_a_body_that_does_not_end_is_answered_and_cut_off() -> None:
    with listening(body_s=0.3, head_s=1) as server:

        def answered() -> bytes:
            with connection(server) as client, contextlib.suppress(ConnectionError):
                client.sendall(HEAD + b"Content-Length: 1000\r\n\r\n--b\r\n")
                return everything(client)  # also the end of the connection
            return b""

        answer = b""
        while not answer:  # where the head came too late on a busy machine
            answer = answered()
        assert answer.startswith(b"HTTP/1.1 408")
        assert b"urn:memguard:problem:too-slow" in answer
        assert sample(server, "rejected_total", reason="too_slow") == 1
        works(server)


def test_a_client_that_leaves_while_it_sends() -> None:
    with listening() as server:

        def leave() -> None:
            with connection(server) as client:
                client.sendall(HEAD + b"Content-Length: 1000000\r\n\r\n--b\r\n" + b"x" * 5000)

        def counted() -> bool:
            if (sample(server, "rejected_total", reason="disconnected") or 0) >= 20:
                return True
            leave()  # whoever left before a busy machine had read the head made no request
            return False

        for _ in range(20):
            leave()
        until(counted)
        until(lambda: server.app.state.service.uploads.held == 0)  # given back after it is counted
        works(server)


def test_a_client_that_leaves_while_it_waits_is_not_checked() -> None:
    embedder = HeldEmbedder(gate=threading.Semaphore(0))
    with listening(toy_guard(embedder, deadline_s=None)) as server:
        engine = server.app.state.service.engine
        first = threading.Thread(target=works, args=(server,))
        first.start()
        assert embedder.entered.acquire(timeout=WAIT_S)
        with connection(server) as client:
            body = httpx2.Request("POST", server.url, files=form(COPY, COPY, COPY)).read()
            boundary = body.partition(b"\r\n")[0].removeprefix(b"--")
            head = HEAD.replace(b"boundary=b", b"boundary=" + boundary)
            client.sendall(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
            until(lambda: engine._batcher.inside == 2)
        until(lambda: engine._batcher.inside == 1)
        embedder.gate.release(10)
        first.join(WAIT_S)
        works(server)
        assert embedder.sizes == [2, 2]
        assert sample(server, "rejected_total", reason="disconnected") == 1


def test_a_flood_is_answered_429_and_nothing_that_was_accepted_is_lost() -> None:
    embedder = HeldEmbedder(gate=threading.Semaphore(0))
    statuses: list[int] = []
    with listening(toy_guard(embedder, deadline_s=None), queue_images=8) as server:

        def one() -> None:
            answer = httpx2.post(server.url + "/v1/check", files=form(COPY), timeout=WAIT_S)
            statuses.append(answer.status_code)
            if answer.status_code == 429:
                assert int(answer.headers["retry-after"]) >= 1
                assert answer.json()["type"] == "urn:memguard:problem:busy"

        threads = [threading.Thread(target=one) for _ in range(40)]
        for thread in threads:
            thread.start()
        until(lambda: len(statuses) == 32)
        assert sample(server, "queue_images") == 8
        embedder.gate.release(100)
        for thread in threads:
            thread.join(WAIT_S)
        assert sorted(statuses) == [200] * 8 + [429] * 32
        assert sample(server, "rejected_total", reason="queue_full") == 32
        assert sample(server, "queue_images") == 0
        works(server)


def test_stopping_finishes_what_was_accepted() -> None:
    embedder = HeldEmbedder(gate=threading.Semaphore(0))
    answers: list[Any] = []
    with listening(toy_guard(embedder, deadline_s=None)) as server:

        def one() -> None:
            answers.append(httpx2.post(server.url + "/v1/check", files=form(COPY), timeout=WAIT_S).json())

        threads = [threading.Thread(target=one) for _ in range(5)]
        for thread in threads:
            thread.start()
        until(lambda: server.app.state.service.engine._batcher.inside == 5)
        server.stop()
        until(lambda: _refused(server))
        assert not answers
        embedder.gate.release(100)
        for thread in threads:
            thread.join(WAIT_S)
    assert [a["verdicts"][0]["decision"] for a in answers] == ["block"] * 5


def _refused(server: Listening) -> bool:
    try:
        with connection(server):
            return False
    except ConnectionRefusedError:
        return True


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100),
        b"GET * HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET //[ HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        b"GET /\xff\xfe HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        b"POST /v1/check HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: -1\r\n\r\n",
        b"POST /v1/check HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        HEAD + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET /../../etc/passwd HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: [::\r\nConnection: close\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: websocket\r\nHost: 127.0.0.1\r\n\r\n",
    ],
)
def test_what_is_no_request_is_no_5xx_either(sent: bytes) -> None:
    with listening(head_s=0.3, body_s=0.3) as server:
        with connection(server) as client:
            with contextlib.suppress(OSError):  # it may have been closed before a busy machine came to send
                client.sendall(sent)
                client.shutdown(socket.SHUT_WR)
            answer = everything(client)
        assert b"HTTP/1.1 5" not in answer[:12]
        works(server)


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from guard.embedders.registry import load_embedder
    from guard.indexes.builder import build_index
    from guard.sources import open_source

    folder = tmp_path_factory.mktemp("served")
    build_index(open_source(photo_folder(folder / "photos", 12)), folder / "an.index", load_embedder("pdq"))
    return folder / "an.index"


def test_a_worker_that_is_killed_is_replaced_and_counts_go_on(index: Path) -> None:
    with serving("--index", index, workers=2) as server:

        def check() -> str | None:
            with contextlib.suppress(httpx2.TransportError):  # its connection may have been the dead worker's
                answer = httpx2.post(server.url + "/v1/check", files=form(COPY), timeout=WAIT_S)
                return str(answer.json()["verdicts"][0]["decision"])
            return None

        assert [check() for _ in range(6)] == ["block"] * 6
        pids = [int(line.split("process ")[1].split()[0]) for line in server.log if " serves " in line]
        assert len(pids) == 2
        os.kill(pids[0], signal.SIGKILL)
        until(lambda: "".join(server.log).count(" serves ") == 3)
        assert [check() for _ in range(6)] == ["block"] * 6
        text = httpx2.get(server.url + "/metrics", timeout=WAIT_S).text
        assert 'memguard_images_total{decision="block",mode="enforce",pipeline="default"} 12.0' in text
        assert "memguard_queue_images 0.0" in text
        server.process.terminate()
        assert server.process.wait(WAIT_S) == 0
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_workers_that_cannot_start_end_the_server(index: Path, tmp_path: Path) -> None:
    import subprocess
    import sys

    command = [sys.executable, "-m", "guard", "serve", "--index", str(tmp_path / "none"), "--port", "0"]
    run = subprocess.run([*command, "--workers", "2"], capture_output=True, text=True, timeout=WAIT_S)
    assert run.returncode == 3
    assert "holds no index" in run.stderr
    assert "Traceback" not in run.stderr
