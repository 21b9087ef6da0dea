"""The clients beyond the contract: what they send, when they try again, and what they make of strange answers."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from PIL import Image

from guard import Action, ConfigError, Decision, Guard, RemoteError, Status
from guard.indexes.builder import build_index
from guard.sources import open_source
from guard_server import AsyncClient, Client
from guard_server.tokens import Scope, new_token
from tests.support.references import photo_folder
from tests.support.served import WAIT_S, HeldEmbedder, listening, toy_guard, until
from tests.support.toys import ToyEmbedder, picture


@contextmanager
def answering(*answers: tuple[int, bytes, dict[str, str]]) -> Iterator[tuple[str, list[str]]]:
    """Some other server that gives these answers in turn, the last one for ever; yields its URL and the paths asked."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.do_GET()

        def do_GET(self) -> None:
            status, body, headers = answers[min(len(asked), len(answers) - 1)]
            asked.append(self.path)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_the_client_that_awaits_says_the_same() -> None:
    images = [picture(3), Image.new("RGB", (4, 4)), picture(99)]
    clips = [[picture(99), picture(3)], []]

    async def ask(url: str) -> Any:
        async with AsyncClient(url, frame_stride=1, deadline_s=WAIT_S) as client:
            assert await client.ready()
            with client.disable():
                skipped = await client.check(images)
            info = await client.info()
            return await client.check(images), await client.check_videos(clips), skipped, info

    with listening() as server:
        images_report, clips_report, skipped, info = asyncio.run(ask(server.url))
        with Client(server.url, frame_stride=1, deadline_s=WAIT_S) as client:
            assert client.info() == info
            assert client.ready()
            for here, there in ((client.check(images), images_report), (client.check_videos(clips), clips_report)):
                assert [v.to_dict() for v in here] == [v.to_dict() for v in there]
    assert [v.decision for v in images_report] == [Decision.BLOCK, None, Decision.ALLOW]
    assert [v.reason for v in skipped] == ["disabled"] * 3
    assert (info.references, info.embedder) == (20, "toy")


def test_the_client_that_awaits_fails_as_its_settings_say() -> None:
    async def ask(url: str) -> Any:
        async with AsyncClient(url, on_error="open", deadline_s=WAIT_S) as client:
            assert not await client.ready()
            return await client.check([picture(3)]), await client.check_videos([[picture(3)]])

    with listening() as server:
        url = server.url
    for report in asyncio.run(ask(url)):
        assert (report[0].status, report[0].action) == (Status.ERROR, Action.RELEASED)
        assert "cannot be reached" in report[0].reasons[0]
    embedder = HeldEmbedder(gate=threading.Semaphore(0))
    with listening(toy_guard(embedder)) as server:

        async def late() -> Any:
            async with AsyncClient(server.url, deadline_s=0.3) as client:
                return await client.check([picture(3)])

        assert asyncio.run(late())[0].reason == "deadline"
        embedder.gate.release(10)


@pytest.mark.parametrize("encoding", ["ppm", "png"])
def test_pictures_arrive_bit_for_bit(encoding: Any) -> None:
    guard = toy_guard()
    with listening(guard) as server, Client(server.url, encoding=encoding, deadline_s=WAIT_S) as client:
        remote, local = client.check([picture(3, 61, 47)]), guard.check([picture(3, 61, 47)])
    assert [v.to_dict() for v in remote] == [v.to_dict() for v in local]


def test_a_busy_server_is_asked_again_where_there_is_time() -> None:
    embedder = HeldEmbedder(gate=threading.Semaphore(0))
    reports: list[Any] = []
    with listening(toy_guard(embedder, deadline_s=None), queue_images=1) as server:

        def ask(deadline_s: float) -> None:
            with Client(server.url, deadline_s=deadline_s) as client:
                reports.append(client.check([picture(3)]))

        first = threading.Thread(target=ask, args=(WAIT_S,))
        first.start()
        assert embedder.entered.acquire(timeout=WAIT_S)
        pace = server.app.state.service.engine._queue._pace
        pace.seconds = lambda _: 10 * WAIT_S
        ask(WAIT_S)
        del pace.seconds
        assert (reports[0][0].status, "answered 429" in reports[0][0].reasons[0]) == (Status.ERROR, True)
        patient = threading.Thread(target=ask, args=(WAIT_S,))
        patient.start()
        rejected = server.app.state.service.metrics.rejected.labels("queue_full")
        until(lambda: rejected._value.get() >= 2)
        embedder.gate.release(10)
        first.join(WAIT_S)
        patient.join(WAIT_S)
    assert [r[0].decision for r in reports[1:]] == [Decision.BLOCK] * 2


def test_a_wrong_token_is_a_failed_check_and_says_so() -> None:
    _, token = new_token("a", [Scope.CHECK])
    with listening(tokens=[token.model_dump(mode="json")]) as server:
        with Client(server.url, token="mg_wrong") as client:
            report = client.check([picture(3)])
            assert (report[0].status, report[0].withheld) == (Status.ERROR, True)
            assert "401" in report[0].reasons[0]
            with pytest.raises(RemoteError) as refused:
                client.info()
        assert (refused.value.status, refused.value.code) == (401, "token-needed")


@pytest.mark.parametrize(
    "answer",
    [
        (200, b"<html>welcome</html>", {}),
        (200, b"{}", {}),
        (200, b'{"verdicts": [], "pipeline": "p", "mode": "enforce", "index_version": "1", "seconds": {}}', {}),
        (404, b"not found", {}),
        (500, b'{"type": "urn:memguard:problem:internal", "detail": "OSError"}', {}),
        (302, b"", {"Location": "http://127.0.0.1:1/"}),
        (204, b"", {}),
    ],
)
def test_any_other_answer_is_a_failed_check(answer: Any) -> None:
    with answering(answer) as (url, _), Client(url) as client:
        report = client.check([picture(3), picture(99)])
        assert [(v.status, v.withheld) for v in report] == [(Status.ERROR, True)] * 2
        with pytest.raises(RemoteError):
            client.info()


def test_a_connection_that_was_dropped_is_tried_once_more() -> None:
    with listening() as server, Client(server.url, deadline_s=WAIT_S) as client:
        assert client.check([picture(3)])[0].decision is Decision.BLOCK
        for connection in list(server.server.server_state.connections):
            server.server.servers[0].get_loop().call_soon_threadsafe(connection.transport.close)
        until(lambda: not server.server.server_state.connections)
        assert client.check([picture(3)])[0].decision is Decision.BLOCK


def test_settings_of_the_server_are_refused_here() -> None:
    for setting in ({"policy": {"block": 0.5}}, {"verify": True}, {"events": {"path": "x"}}):
        with pytest.raises(ConfigError, match="a setting of the server"):
            Client("http://127.0.0.1:1", **setting)
        with Client("http://127.0.0.1:1") as client, pytest.raises(ConfigError, match="a setting of the server"):
            client.check([picture(3)], options=setting)


def test_what_was_not_chosen_here_the_server_says() -> None:
    with listening(toy_guard(mode="shadow"), call_options=()) as server:
        with Client(server.url, deadline_s=WAIT_S) as client:
            assert client.check([picture(3)]).mode == "shadow"
        with Client(server.url, mode="enforce", deadline_s=WAIT_S) as client:
            report = client.check([picture(3)])
            assert (report[0].status, report[0].withheld) == (Status.ERROR, True)
            assert "may not choose 'mode'" in report[0].reasons[0]


def test_prompts_and_names_reach_the_servers_log(tmp_path: Any) -> None:
    guard = toy_guard(events={"path": tmp_path / "events.sqlite", "prompts": "plain"})
    with listening(guard) as server, Client(server.url, deadline_s=WAIT_S) as client:
        client.check([picture(3)] * 40, pipeline="web", prompts=[f"prompt {i}" for i in range(40)])
        client.check_videos([[picture(3)], [picture(5)]], pipeline="video", prompts=["one", "two"])
        client.check([picture(3)], prompts="for all of them")
    from guard.events import EventLog

    events = list(reversed(list(EventLog(tmp_path / "events.sqlite").all())))
    assert [e.prompt for e in events] == [*(f"prompt {i}" for i in range(40)), "one", "two", "for all of them"]
    assert {e.pipeline for e in events} == {"web", "video", "default"}


def test_it_searches_reads_the_log_reviews_and_reloads(tmp_path: Any) -> None:
    photos = photo_folder(tmp_path / "photos", 6)
    build_index(open_source(photos), tmp_path / "an.index", ToyEmbedder())
    guard = Guard.open(
        tmp_path / "an.index", embedder=ToyEmbedder(), events=tmp_path / "events.sqlite", deadline_s=WAIT_S
    )
    events = guard.events
    assert events is not None

    async def ask(url: str) -> Any:
        async with AsyncClient(url, deadline_s=WAIT_S) as client:
            (event,) = await client.events(decision=["block"])
            return (
                await client.search(picture(3)),
                event,
                await client.review(event["id"], "undo"),
                await client.reload(),
            )

    with listening(guard, canary_s=0) as server, Client(server.url, deadline_s=WAIT_S) as client:
        page = client.search(picture(3), limit=2)
        assert page.hits[0].record.uri == "0003.jpg"
        assert (page.more, page.index_version) == (True, "0001")
        assert client.check([picture(3)])[0].decision is Decision.BLOCK
        events.flush()
        (event,) = client.events(decision=["block"], limit=5)
        assert client.review(event["id"], "not_a_copy", note="ours") == "not_a_copy"
        assert client.check([picture(3)])[0].decision is Decision.ALLOW
        found, same, outcome, version = asyncio.run(ask(server.url))
        assert found.hits[0] == client.search(picture(3)).hits[0]
        assert (same["id"], outcome, version) == (event["id"], None, "0001")
        assert client.check([picture(3)])[0].decision is Decision.BLOCK
        with pytest.raises(RemoteError) as refused:
            client.search()
        assert refused.value.code == "invalid"
        with pytest.raises(ValueError, match="identifies no event"):
            client.review("../admin", "confirm")
