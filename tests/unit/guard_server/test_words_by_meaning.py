"""Words by what they mean, over HTTP and on the page: a real CLIP, of the served index or of one beside it."""

from __future__ import annotations

import gc
import html
import re
import shutil
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from guard import Guard, Policy
from guard.embedders.base import Embedder
from guard.embedders.torch_loaders import from_transformers
from guard.embedders.words import TransformersWords
from guard.errors import ConfigError
from guard.indexes import build_index, open_index
from guard.indexes.builder import add_to_index
from guard.indexes.edit import remove_from_index
from guard.indexes.layout import IndexFolder
from guard.search import Meaning, Searcher, SearchQuery
from guard_server import Client
from guard_server.app import create_app
from guard_server.config import ServerConfig
from tests.support.pages import csrf_of
from tests.support.references import jpeg, photo_folder
from tests.support.served import WAIT_S, client_of, listening, until
from tests.support.tiny_clip import PREPROCESSING, clip_folder
from tests.support.toys import ToyEmbedder

WORDS = "a red fox"
N = 12


@dataclass
class Made:
    model: Path
    clip: Path
    plain: Path
    expected: list[str]
    """Pictures, the nearest to WORDS first."""

    def guard(self, *, clip: bool = False) -> Guard:
        embedder = clip_of(self) if clip else ToyEmbedder()
        thresholds = Policy(flag=0.9, block=0.95)
        return Guard.open(self.clip if clip else self.plain, embedder=embedder, policy=thresholds, deadline_s=WAIT_S)


def clip_of(made: Made) -> Embedder:
    return from_transformers(made.model, preprocessing=PREPROCESSING, name="clip")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("meaning")
    model = clip_folder(folder / "clip")
    photos = photo_folder(folder / "photos", N)
    build_index(photos, folder / "clip.index", from_transformers(model, preprocessing=PREPROCESSING, name="clip"))
    build_index(photos, folder / "plain.index", ToyEmbedder())
    with open_index(folder / "clip.index") as index:
        searcher = Searcher(index, meaning=Meaning(index, TransformersWords(model)))
        hits = searcher.search(SearchQuery(words=WORDS, by="meaning", limit=N)).hits
    return Made(model, folder / "clip.index", folder / "plain.index", [hit.record.uri for hit in hits])


@pytest.fixture(params=["beside", "itself"])
def served(made: Made, request: pytest.FixtureRequest) -> Iterator[Any]:
    """A client of a server that looks words up in a CLIP index beside its own, or in its own."""
    if request.param == "beside":
        settings = {"meaning": made.clip, "text_model": str(made.model)}
    else:
        settings = {"text_model": str(made.model)}
    with client_of(made.guard(clip=request.param == "itself"), canary_s=0, **settings) as client:
        yield client


def uris(page: str) -> list[str]:
    return [html.unescape(uri) for uri in re.findall(r'class="mono small muted">([^<]*)<', page)]


def test_words_find_what_is_pictured(served: Any, made: Made) -> None:
    answer = served.post("/v1/search", json={"words": WORDS, "by": "meaning", "limit": 5}).json()
    assert [hit["uri"] for hit in answer["hits"]] == made.expected[:5]
    assert all(-1 <= hit["meaning"] <= 1 and hit["similarity"] is None for hit in answer["hits"])
    assert (answer["more"], answer["total"]) == (True, None)
    assert served.post("/v1/search", json={"words": WORDS}).json()["hits"] == [], "no caption holds them"


def test_a_picture_and_words_are_one_order(served: Any, made: Made) -> None:
    sent = {"files": {"picture": ("a.jpg", jpeg(7))}, "data": {"words": WORDS, "by": "meaning", "limit": str(N)}}
    hits = served.post("/v1/search", **sent).json()["hits"]
    assert {hit["uri"] for hit in hits} == set(made.expected)
    assert all(hit["similarity"] is not None and hit["meaning"] is not None for hit in hits)


def test_the_page_offers_it_and_shows_what_was_found(served: Any, made: Made) -> None:
    form = served.get("/search").text
    assert 'value="meaning"' in form
    page = served.get("/search", params={"words": WORDS, "by": "meaning"}).text
    assert uris(page) == made.expected
    assert "nearest to the words" in page
    assert re.search(r'value="meaning" checked', page)
    typed = served.post(
        "/search", data={"csrf": csrf_of(form), "words": WORDS, "by": "meaning"},
        files={"picture": ("", b"")}, follow_redirects=False,
    )  # fmt: skip
    assert typed.headers["location"] == "/search?words=a+red+fox&by=meaning"
    both = served.post(
        "/search", data={"csrf": csrf_of(form), "words": WORDS, "by": "meaning"},
        files={"picture": ("a.jpg", jpeg(7))},
    )  # fmt: skip
    assert set(uris(both.text)) == set(made.expected)
    assert "to the picture and to the words" in both.text
    assert served.get("/search", params={"words": WORDS, "by": "magic"}).status_code == 422


def test_where_there_is_no_clip_it_is_neither_offered_nor_done(made: Made) -> None:
    with client_of(made.guard(), canary_s=0) as client:
        assert 'value="meaning"' not in client.get("/search").text
        page = client.get("/search", params={"words": WORDS, "by": "meaning"})
        assert (page.status_code, "looked up in captions alone" in page.text) == (422, True)
        answer = client.post("/v1/search", json={"words": WORDS, "by": "meaning"})
        assert (answer.status_code, "server.meaning" in answer.json()["detail"]) == (422, True)


def test_a_tower_that_does_not_fit_stops_the_start(made: Made) -> None:
    with pytest.raises(ConfigError, match="16 dimensions and the index 192"):
        create_app(made.guard(), ServerConfig(meaning=made.plain, text_model=str(made.model)))
    with pytest.raises(ConfigError, match="no text tower"):
        create_app(made.guard(), ServerConfig(text_model="magic"))


def test_the_client_asks_for_it(made: Made) -> None:
    settings = {"meaning": made.clip, "text_model": str(made.model), "canary_s": 0}
    with listening(made.guard(), **settings) as server, Client(server.url, deadline_s=WAIT_S) as client:
        page = client.search(words=WORDS, by="meaning", limit=3)
    assert [hit.record.uri for hit in page.hits] == made.expected[:3]
    assert page.hits[0].meaning is not None


def uris_of(client: Any) -> list[str]:
    answer = client.post("/v1/search", json={"words": WORDS, "by": "meaning", "limit": N})
    assert answer.status_code == 200, answer.text
    return [hit["uri"] for hit in answer.json()["hits"]]


def test_a_new_version_of_the_index_beside_takes_over(made: Made, tmp_path: Path) -> None:
    late = made.expected[:2]
    (tmp_path / "late").mkdir()
    for uri in late:
        (tmp_path / "late" / uri).write_bytes(jpeg(int(uri[:4])))
    beside = tmp_path / "beside.index"
    shutil.copytree(made.clip, beside)
    remove_from_index(beside, uris=late)
    settings = {"meaning": beside, "text_model": str(made.model), "canary_s": 0, "watch_s": 0.05}
    guard = made.guard()
    counted = guard.metrics.registry.get_sample_value
    labels = {"index": "beside.index"}
    with client_of(guard, **settings) as client:
        before = weakref.ref(client.app.state.service.meanings.of(guard).index)
        assert counted("memguard_index_reloads_total", labels | {"result": "loaded"}) == 0
        assert (uris_of(client), client.get("/version").json()["meaning_version"]) == (made.expected[2:], "0002")
        add_to_index(tmp_path / "late", beside, clip_of(made))
        until(lambda: client.get("/version").json()["meaning_version"] == "0003")
        assert uris_of(client) == made.expected
        assert counted("memguard_index_reloads_total", labels | {"result": "loaded"}) == 1
        gc.collect()
        assert before() is None, "nothing is kept of the version before"


def test_a_damaged_version_of_the_index_beside_is_refused(made: Made, tmp_path: Path) -> None:
    beside = tmp_path / "beside.index"
    shutil.copytree(made.clip, beside)
    settings = {"meaning": beside, "text_model": str(made.model), "canary_s": 0, "watch_s": 0}
    guard = made.guard()

    def refused() -> float | None:
        labels = {"index": "beside.index", "result": "refused"}
        return guard.metrics.registry.get_sample_value("memguard_index_reloads_total", labels)

    with client_of(guard, **settings) as client:
        folder = IndexFolder(beside)
        shutil.copytree(folder.version("0001"), folder.version("0002"))
        vectors = folder.version("0002") / "vectors.faiss"
        data = bytearray(vectors.read_bytes())
        data[-10] ^= 1
        vectors.write_bytes(data)
        folder.switch("0002")
        for times in (1, 2):  # what is asked for is tried again
            assert client.post("/v1/admin/reload").json()["result"] == "unchanged", "the served index is"
            assert refused() == times
        client.app.state.service.meanings.look()
        assert refused() == 2
        assert (uris_of(client), client.get("/version").json()["meaning_version"]) == (made.expected, "0001")
        build_index(made.clip.parent / "photos", beside, ToyEmbedder(), restart=True)
        client.post("/v1/admin/reload")
        assert refused() == 3, "of another embedder"
        assert uris_of(client) == made.expected
