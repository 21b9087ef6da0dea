"""What a server says of itself when its canaries miss, and when they pass again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

from guard import Guard
from guard.indexes.builder import build_index
from guard.pixels import ImageBatch
from guard.sources import open_source
from guard.types import Descriptors
from tests.support.references import jpeg, photo_folder
from tests.support.served import WAIT_S, Listening, form, listening, until
from tests.support.toys import ToyEmbedder


@dataclass
class Drifting(ToyEmbedder):
    """An embedder that begins to see something else, as a runtime with another build of its kernels might."""

    drifted: bool = False

    def embed(self, batch: ImageBatch) -> Descriptors:
        vectors = super().embed(batch)
        return vectors[:, ::-1].copy() if self.drifted else vectors


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("watched")
    build_index(open_source(photo_folder(folder / "photos", 12)), folder / "an.index", ToyEmbedder())
    return folder / "an.index"


def opened(index: Path, embedder: ToyEmbedder | None = None, **settings: Any) -> Guard:
    return Guard.open(index, embedder=embedder or ToyEmbedder(), deadline_s=WAIT_S, **settings)


def readiness(server: Listening) -> tuple[int, str]:
    answer = httpx2.get(server.url + "/readyz", timeout=WAIT_S)
    return answer.status_code, answer.json()["checks"].get("canary", "")


def count(server: Listening, result: str) -> float:
    registry = server.app.state.service.guard.metrics.registry
    value = registry.get_sample_value("memguard_canary_checks_total", {"result": result})
    assert value is not None
    return float(value)


def test_a_miss_makes_the_server_unready_until_they_pass_again(index: Path) -> None:
    embedder = Drifting()
    with listening(opened(index, embedder), canary_s=0.05) as server:
        assert readiness(server) == (200, "ok")
        assert count(server, "pass") >= 4
        assert count(server, "miss") == 0
        embedder.drifted = True
        until(lambda: readiness(server)[0] == 503)
        assert "reference" in readiness(server)[1]
        until(lambda: count(server, "miss") >= 3)
        assert httpx2.get(server.url + "/healthz", timeout=WAIT_S).status_code == 200
        embedder.drifted = False
        until(lambda: readiness(server) == (200, "ok"))
        answer = httpx2.post(server.url + "/v1/check", files=form(jpeg(3)), timeout=WAIT_S).json()
        assert answer["verdicts"][0]["decision"] == "block"
        text = httpx2.get(server.url + "/metrics", timeout=WAIT_S).text
    assert 'memguard_images_total{decision="block",mode="enforce",pipeline="default"} 1.0' in text
    assert 'pipeline="canary"' not in text


def test_a_server_that_starts_wrong_is_never_ready(index: Path) -> None:
    with listening(opened(index, policy={"flag": 1.0, "block": 1.0})) as server:
        status, why = readiness(server)
    assert status == 503
    assert "below flag 1.000" in why


def test_canaries_that_are_not_checked_any_more_are_no_good_sign(index: Path) -> None:
    with listening(opened(index), canary_s=100, decode_s=1) as server:
        watch = server.app.state.service.watch
        assert readiness(server) == (200, "ok")
        watch._checked -= 302
        status, why = readiness(server)
    assert (status, "no canary was checked for" in why) == (503, True)


def test_an_index_without_thumbnails_has_none_unless_pictures_are_named(tmp_path: Path) -> None:
    photos = photo_folder(tmp_path / "photos", 8)
    build_index(open_source(photos), tmp_path / "an.index", ToyEmbedder(), thumbnails=0)
    with listening(opened(tmp_path / "an.index")) as server:
        assert readiness(server) == (200, "")
        assert count(server, "pass") == 0
    named = tmp_path / "named"
    named.mkdir()
    (named / "3.jpg").write_bytes(jpeg(3))
    with listening(opened(tmp_path / "an.index"), canary_pictures=named) as server:
        assert readiness(server) == (200, "ok")
        assert count(server, "pass") == 2
    with listening(opened(tmp_path / "an.index"), canary_s=0) as server:
        assert readiness(server) == (200, "")
