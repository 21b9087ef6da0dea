"""A new version of the index takes over without a request that fails, or is refused and the old one goes on."""

from __future__ import annotations

import asyncio
import gc
import os
import shutil
import signal
import threading
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from prometheus_client import CollectorRegistry

from guard import Guard
from guard.indexes.builder import add_to_index, build_index
from guard.indexes.layout import IndexFolder
from guard.sources import open_source
from guard_server.config import ServerConfig
from guard_server.current import Current
from guard_server.engine import Engine, Job
from guard_server.metrics import ServerMetrics
from guard_server.tokens import Scope, new_token
from tests.support.pages import csrf_of
from tests.support.references import jpeg, photo_folder
from tests.support.served import WAIT_S, HeldEmbedder, Listening, form, listening, serving, until
from tests.support.toys import ToyEmbedder, picture

TOY = ToyEmbedder()
NEW = jpeg(700)
QUIET = {"watch_s": 0, "canary_s": 1000}


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("swap")
    build_index(open_source(photo_folder(folder / "photos", 12)), folder / "an.index", TOY)
    return folder / "an.index"


@pytest.fixture
def index(template: Path, tmp_path: Path) -> Path:
    shutil.copytree(template, tmp_path / "an.index")
    return tmp_path / "an.index"


def publish(index: Path, seed: int = 700) -> str:
    """A version with one more picture; returns its name."""
    folder = index.parent / f"more{seed}"
    folder.mkdir()
    (folder / f"{seed}.jpg").write_bytes(jpeg(seed))
    add_to_index(open_source(folder), index, TOY)
    return IndexFolder(index).current()


def serve(index: Path, embedder: ToyEmbedder = TOY, **settings: Any) -> Any:
    return listening(Guard.open(index, embedder=embedder, deadline_s=None), **{**QUIET, **settings})


def reload(server: Listening, **parameters: Any) -> Any:
    return httpx2.post(server.url + "/v1/admin/reload", params=parameters, timeout=WAIT_S)


def check(server: Listening, *images: bytes) -> Any:
    answer = httpx2.post(server.url + "/v1/check", files=form(*images), timeout=WAIT_S)
    assert answer.status_code == 200, answer.text
    return answer.json()


def count(server: Listening, name: str, **labels: str) -> float | None:
    registry = server.app.state.service.guard.metrics.registry
    return registry.get_sample_value(f"memguard_{name}", labels)


def test_a_new_version_takes_over(index: Path) -> None:
    with serve(index) as server:
        assert check(server, NEW)["verdicts"][0]["decision"] == "allow"
        assert reload(server).json() == {"result": "unchanged", "index_version": "0001"}
        assert publish(index) == "0002"
        assert check(server, NEW)["index_version"] == "0001"
        assert reload(server).json() == {"result": "loaded", "index_version": "0002"}
        report = check(server, NEW)
        assert (report["index_version"], report["verdicts"][0]["decision"]) == ("0002", "block")
        assert count(server, "index_vectors", index="an.index") == 13
        assert count(server, "index_reloads_total", index="an.index", result="loaded") == 1
        assert count(server, "index_reloads_total", index="an.index", result="refused") == 0
        assert count(server, "images_total", pipeline="default", decision="block", mode="enforce") == 1
        assert httpx2.get(server.url + "/readyz", timeout=WAIT_S).json()["checks"]["canary"] == "ok"


def test_whether_pixels_are_compared_is_asked_of_each_version(index: Path, tmp_path: Path) -> None:
    with serve(index, canary_s=0) as server:
        assert check(server, jpeg(3))["verdicts"][0]["verified"] is True
        build_index(open_source(photo_folder(tmp_path / "same", 12)), index, TOY, thumbnails=0)
        (tmp_path / "same").rename(tmp_path / "moved")  # no originals either
        assert reload(server).json()["result"] == "loaded"
        verdict = check(server, jpeg(3))["verdicts"][0]
        assert (verdict["decision"], verdict["verified"]) == ("block", None)
        build_index(open_source(tmp_path / "moved"), index, TOY, restart=True)
        assert reload(server).json()["result"] == "loaded"
        assert check(server, jpeg(3))["verdicts"][0]["verified"] is True


def test_it_is_noticed_without_being_told(index: Path) -> None:
    with serve(index, watch_s=0.05) as server:
        publish(index)
        until(lambda: check(server, NEW)["index_version"] == "0002")


def truncated(at: Path) -> None:
    with (at / "vectors.faiss").open("r+b") as file:
        file.truncate(100)


def flipped(at: Path) -> None:
    data = bytearray((at / "vectors.faiss").read_bytes())
    data[-10] ^= 1
    (at / "vectors.faiss").write_bytes(data)


def gone(at: Path) -> None:
    (at / "records.sqlite").unlink()


def scrambled(at: Path) -> None:
    (at / "manifest.json").write_text("{")


@pytest.mark.parametrize("damage", [truncated, flipped, gone, scrambled])
def test_a_damaged_version_is_refused_and_the_old_one_goes_on(index: Path, damage: Callable[[Path], None]) -> None:
    with serve(index, watch_s=0.05) as server:
        aside = index.parent / "aside"
        shutil.copytree(index, aside)
        damage_at = publish(aside)
        damage(aside / "versions" / damage_at)
        shutil.copytree(aside / "versions" / damage_at, index / "versions" / damage_at)
        IndexFolder(index).switch(damage_at)
        until(lambda: count(server, "index_reloads_total", index="an.index", result="refused") == 1)
        answer = reload(server)
        assert answer.status_code == 409
        assert answer.json()["type"] == "urn:memguard:problem:refused"
        assert answer.json()["index_version"] == "0001"
        assert check(server, jpeg(3))["verdicts"][0]["decision"] == "block"
        assert httpx2.get(server.url + "/readyz", timeout=WAIT_S).status_code == 200
        assert count(server, "index_reloads_total", index="an.index", result="refused") == 2  # not at every look
        assert count(server, "index_vectors", index="an.index") == 12
        shutil.rmtree(index / "versions" / damage_at)
        IndexFolder(index).switch("0001")
        publish(index, 701)
        until(lambda: check(server, jpeg(701))["index_version"] == "0002")


def test_another_training_set_is_refused_unless_it_is_meant(index: Path, tmp_path: Path) -> None:
    photos = tmp_path / "others"
    photos.mkdir()
    for i in range(12):
        picture(900 + i).save(photos / f"{i}.png")
    with serve(index) as server:
        build_index(open_source(photos), index, TOY, restart=True)
        answer = reload(server)
        assert answer.status_code == 409
        assert "another training set" in answer.json()["detail"]
        assert reload(server, force=True).json()["result"] == "loaded"
        assert check(server, jpeg(3))["verdicts"][0]["decision"] == "allow"


def test_a_version_whose_canaries_miss_is_refused(index: Path) -> None:
    """As it would be where the vectors are of other pictures than the records say."""
    with serve(index, checksums=False) as server:
        version = index / "versions" / publish(index)
        from guard.indexes.faissfile import FlatLayout, map_rows
        from guard.indexes.manifest import MANIFEST, Manifest

        manifest = Manifest.read(version / MANIFEST)
        layout = FlatLayout(manifest.vectors, manifest.dim, manifest.regions)
        rows = map_rows(version / "vectors.faiss", layout, manifest.count)[::-1].copy()
        data = (version / "vectors.faiss").read_bytes()[: layout.header_bytes] + layout.encode(rows)
        (version / "vectors.faiss").unlink()  # the version before shares the file
        (version / "vectors.faiss").write_bytes(data)
        answer = reload(server)
        assert answer.status_code == 409
        assert "canaries miss" in answer.json()["detail"]
        assert check(server, jpeg(3))["index_version"] == "0001"


def test_another_embedder_is_refused_unless_it_can_be_loaded(index: Path, tmp_path: Path) -> None:
    with serve(index) as server:
        build_index(open_source(photo_folder(tmp_path / "same", 12)), index, ToyEmbedder("other"), restart=True)
        answer = reload(server)
        assert answer.status_code == 409
        assert "'other'" in answer.json()["detail"]
        assert check(server, jpeg(3))["verdicts"][0]["decision"] == "block"


def test_a_batch_ends_with_the_version_that_it_began_with(index: Path) -> None:
    embedder = HeldEmbedder()
    answers: list[Any] = []
    with serve(index, embedder) as server:
        embedder.gate = threading.Semaphore(0)
        while embedder.entered.acquire(blocking=False):
            pass
        old = weakref.ref(server.app.state.service.guard.index.base)
        thread = threading.Thread(target=lambda: answers.append(check(server, NEW)))
        thread.start()
        assert embedder.entered.acquire(timeout=WAIT_S)
        version = publish(index)
        swapping = threading.Thread(target=reload, args=(server,))
        swapping.start()
        assert embedder.entered.acquire(timeout=WAIT_S), "its canaries are looked up beside the batch"
        embedder.gate.release(1)  # the batch, which has waited longer
        thread.join(WAIT_S)
        embedder.gate.release(1000)  # the canaries of the new version
        swapping.join(WAIT_S)
        assert answers[0]["index_version"] == "0001"
        assert check(server, NEW)["index_version"] == version
        gc.collect()
        assert old() is None


@pytest.mark.parametrize("page", [False, True])
def test_a_search_ends_with_the_version_that_it_began_with(index: Path, page: bool) -> None:
    embedder = HeldEmbedder()
    answers: list[Any] = []
    with serve(index, embedder, canary_s=0) as server, httpx2.Client(base_url=server.url, timeout=WAIT_S) as client:
        csrf = csrf_of(client.get("/search").text)
        embedder.gate = threading.Semaphore(0)
        while embedder.entered.acquire(blocking=False):
            pass

        def ask() -> None:
            files = {"picture": ("a.jpg", jpeg(3))}
            asked = ("/search", {"csrf": csrf}) if page else ("/v1/search", {})
            answers.append(client.post(asked[0], data=asked[1], files=files))

        thread = threading.Thread(target=ask)
        thread.start()
        assert embedder.entered.acquire(timeout=WAIT_S)
        publish(index)
        assert reload(server).json() == {"result": "loaded", "index_version": "0002"}
        embedder.gate.release(1000)
        thread.join(WAIT_S)
        (answer,) = answers
        assert answer.status_code == 200, answer.text
        assert "0003.jpg" in answer.text
        assert page or answer.json()["index_version"] == "0001"
        assert check(server, NEW)["index_version"] == "0002"


def test_canaries_that_are_being_checked_miss_nothing_by_a_swap(index: Path) -> None:
    embedder = HeldEmbedder()
    with serve(index, embedder, canary_s=1000) as server:
        service = server.app.state.service
        embedder.gate = threading.Semaphore(0)
        while embedder.entered.acquire(blocking=False):
            pass
        thread = threading.Thread(target=service.watch.check_canaries)
        thread.start()
        assert embedder.entered.acquire(timeout=WAIT_S)
        service.current.replace(Guard.open(index, embedder=TOY, metrics=service.guard.metrics))
        embedder.gate.release(1000)
        thread.join(WAIT_S)
        assert service.watch.canary == "ok"


def test_evidence_of_a_version_that_is_gone_is_left_out(index: Path) -> None:
    pytest.importorskip("cv2")
    guard = Guard.open(index, embedder=TOY, deadline_s=None)

    async def story() -> tuple[list[str | None], list[str | None]]:
        current = Current(guard, lambda old: old.index.close())  # type: ignore[attr-defined]
        engine = Engine(current, ServerConfig(), ServerMetrics(CollectorRegistry(), {}))
        checked = await engine.check(Job([jpeg(3)]))
        before = await engine.evidence(checked)
        current.replace(Guard.open(index, embedder=TOY, metrics=guard.metrics))
        after = await engine.evidence(checked)
        await engine.close()
        return before, after

    before, after = asyncio.run(story())
    assert len(before[0] or "") > 1000
    assert after == [None]


@pytest.fixture
def busy() -> Iterator[Callable[[Listening, int], tuple[list[int], Callable[[], None]]]]:
    """Clients that check one copy after the other until they are told to stop; yields what starts them."""
    stops: list[Callable[[], None]] = []

    def start(server: Listening, clients: int) -> tuple[list[int], Callable[[], None]]:
        over = threading.Event()
        statuses: list[int] = []

        def ask() -> None:
            with httpx2.Client(base_url=server.url, timeout=WAIT_S) as client:
                while not over.is_set():
                    answer = client.post("/v1/check", files=form(jpeg(3), jpeg(99)))
                    right = [v["decision"] for v in answer.json().get("verdicts", [])] == ["block", "allow"]
                    statuses.append(answer.status_code if right else 0)

        threads = [threading.Thread(target=ask) for _ in range(clients)]
        for thread in threads:
            thread.start()

        def stop() -> None:
            over.set()
            for thread in threads:
                thread.join(WAIT_S)

        stops.append(stop)
        return statuses, stop

    yield start
    for stop in stops:
        stop()


@pytest.mark.parametrize("swaps", [2, pytest.param(20, marks=pytest.mark.slow)])
def test_swaps_under_load_fail_no_request_and_keep_no_version(index: Path, busy: Any, swaps: int) -> None:
    with serve(index) as server:
        statuses, stop = busy(server, 2)
        seen: list[weakref.ref[Any]] = []
        for i in range(swaps):
            seen.append(weakref.ref(server.app.state.service.guard.index.base))
            publish(index, 700 + i)
            before = len(statuses)
            assert reload(server).json()["result"] == "loaded"
            until(lambda before=before: len(statuses) > before)
        stop()
        assert set(statuses) == {200}
        assert check(server, NEW)["index_version"] == f"{swaps + 1:04d}"
        gc.collect()
        assert [ref() for ref in seen] == [None] * swaps
        assert count(server, "index_reloads_total", index="an.index", result="loaded") == swaps


def test_reloading_needs_the_right_to(index: Path) -> None:
    secret, token = new_token("ops", [Scope.ADMIN])
    with serve(index, tokens=[token.model_dump(mode="json")]) as server:
        assert reload(server).status_code == 401
        headers = {"Authorization": f"Bearer {secret}"}
        answer = httpx2.post(server.url + "/v1/admin/reload", headers=headers, timeout=WAIT_S)
        assert answer.json()["result"] == "unchanged"


def test_an_index_in_memory_has_nothing_to_load() -> None:
    with listening() as server:
        assert reload(server).status_code == 503


def test_a_hangup_loads_in_every_worker(tmp_path: Path) -> None:
    from guard.embedders.registry import load_embedder

    pdq = load_embedder("pdq")
    index = tmp_path / "an.index"
    build_index(open_source(photo_folder(tmp_path / "photos", 12)), index, pdq)
    config = tmp_path / "guard.toml"
    config.write_text("[server]\nwatch_s = 0\n")
    with serving("--index", index, "--config", config, workers=2) as server:
        (tmp_path / "more").mkdir()
        (tmp_path / "more" / "new.jpg").write_bytes(NEW)
        add_to_index(open_source(tmp_path / "more"), index, pdq)
        os.kill(server.process.pid, signal.SIGHUP)
        until(lambda: "".join(server.log).count("version 0002 with 13 references is in use in place of 0001") == 2)
        for _ in range(6):
            answer = httpx2.post(server.url + "/v1/check", files=form(NEW), timeout=WAIT_S).json()
            assert (answer["index_version"], answer["verdicts"][0]["decision"]) == ("0002", "block")


def test_a_damaged_index_is_not_served_at_all(index: Path) -> None:
    from typer.testing import CliRunner

    from guard.cli.main import app

    flipped(index / "versions" / "0001")
    result = CliRunner().invoke(app, ["serve", "--index", str(index), "--port", "0"])
    assert result.exit_code == 3
    assert "vectors.faiss is not the file that was written" in result.output.replace("\n", " ")
