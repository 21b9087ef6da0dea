"""POST /v1/search, the decision log and reviews over HTTP."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from guard import Guard
from guard.indexes.builder import build_index
from guard.sources import open_source
from guard_server.tokens import Scope, new_token
from tests.support.references import captioned, jpeg
from tests.support.served import client_of, form
from tests.support.toys import ToyEmbedder


@pytest.fixture
def client(tmp_path: Path) -> Iterator[TestClient]:
    """Signed in as anna, who may check, search and review."""
    photos = tmp_path / "photos"
    photos.mkdir()
    for i in range(6):
        captioned(photos, f"{i:04d}", i, f"a picture of {'cats' if i % 2 else 'dogs'}, number {i}")
    build_index(open_source(photos), tmp_path / "an.index", ToyEmbedder())
    events = {"path": tmp_path / "events.sqlite", "allow_sample": 1.0, "thumbnails": 32}
    guard = Guard.open(tmp_path / "an.index", embedder=ToyEmbedder(), events=events)
    secret, token = new_token("anna", [Scope.CHECK, Scope.SEARCH, Scope.REVIEW])
    with client_of(guard, tokens=[token.model_dump(mode="json")], canary_s=0) as client:
        client.headers["Authorization"] = f"Bearer {secret}"
        yield client


def hits(answer: Any) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [hit["uri"] for hit in answer.json()["hits"]]


def logged(client: TestClient, *images: bytes) -> list[dict[str, Any]]:
    client.post("/v1/check", files=form(*images)).raise_for_status()
    client.app.state.service.guard.events.flush()  # type: ignore[attr-defined]
    found: list[dict[str, Any]] = client.get("/v1/events").json()["events"]
    return found


def test_search_by_picture_by_words_and_by_both(client: TestClient) -> None:
    picture = jpeg(3)
    by_form = client.post("/v1/search", files={"picture": ("x", picture)}, data={"limit": "2"})
    by_json = client.post("/v1/search", json={"picture": base64.b64encode(picture).decode(), "limit": 2})
    assert hits(by_form) == hits(by_json)
    assert hits(by_form)[0] == "0003.jpg"
    assert by_form.json()["hits"][0]["similarity"] > 0.99
    assert by_form.json()["more"] is True
    assert hits(client.post("/v1/search", json={"words": "cats", "limit": 10})) == ["0001.jpg", "0003.jpg", "0005.jpg"]
    both = client.post("/v1/search", files={"picture": ("x", picture)}, data={"words": "dogs number"})
    assert set(hits(both)) == {"0000.jpg", "0002.jpg", "0004.jpg"}
    shown = client.get(f"/v1/references/{by_form.json()['hits'][0]['id']}/thumbnail")
    assert (shown.status_code, shown.headers["content-type"]) == (200, "image/jpeg")
    for missing in ("999", "-1", str(1 << 70)):
        assert client.get(f"/v1/references/{missing}/thumbnail").status_code == 404


def test_clients_of_clip_retrieval_are_answered(client: TestClient) -> None:
    (name,) = client.get("/indices-list").json()
    asked = {"text": None, "image": base64.b64encode(jpeg(3)).decode(), "indice_name": name, "num_images": 2}
    plain = {"Content-Type": "text/plain"}  # they send none that says JSON
    answer = client.post("/knn-service", content=json.dumps(asked), headers=plain)
    assert answer.status_code == 200
    first, _second = answer.json()
    assert (first["image_path"], first["caption"]) == ("0003.jpg", "a picture of cats, number 3")
    assert first["similarity"] > 0.99
    known = client.post("/metadata", content=json.dumps({"ids": [first["id"]], "indice_name": name}), headers=plain)
    assert [row["metadata"]["image_path"] for row in known.json()] == ["0003.jpg"]


@pytest.mark.parametrize(
    ("body", "status"),
    [(b"[]", 400), (b"{", 400), (b"{}", 422), (b'{"text": "cats", "modality": "image"}', 422),
     (b'{"image_url": "http://169.254.169.254/"}', 422), (b'{"indice_name": "other", "text": "x"}', 422)],
)  # fmt: skip
def test_what_clip_retrieval_would_be_asked_in_vain(client: TestClient, body: bytes, status: int) -> None:
    answer = client.post("/knn-service", content=body)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        ({"json": {}}, 422),
        ({"json": {"words": "x", "limit": 5000}}, 422),
        ({"json": {"words": "x", "path": "/etc/passwd"}}, 422),
        ({"json": {"picture": "%"}}, 422),
        ({"files": {"picture": ("x", b"no picture")}}, 422),
        ({"files": [("picture", ("x", jpeg(1))), ("picture", ("y", jpeg(2)))]}, 413),
        ({"content": b"x"}, 415),
    ],
)
def test_a_search_that_cannot_be_made_says_why(client: TestClient, sent: dict[str, Any], status: int) -> None:
    answer = client.post("/v1/search", **sent)
    assert answer.status_code == status
    assert answer.json()["detail"]


def test_events_come_newest_first_in_pages(client: TestClient) -> None:
    found = logged(client, jpeg(3), jpeg(99), b"broken")
    assert [e["decision"] for e in found] == [None, "allow", "block"]
    assert len(client.get("/v1/events", params={"decision": ["block", "flag"]}).json()["events"]) == 1
    page = client.get("/v1/events", params={"limit": 2}).json()
    rest = client.get("/v1/events", params={"limit": 2, "before": page["before"]}).json()
    assert [e["id"] for e in (*page["events"], *rest["events"])] == [e["id"] for e in found]
    assert rest["before"] is None
    one = client.get(f"/v1/events/{found[2]['id']}").json()
    assert base64.b64decode(one["thumbnail"])[:2] == b"\xff\xd8"
    assert one["reviews"] == []
    assert client.get("/v1/events", params={"decision": "maybe"}).status_code == 422
    assert client.get(f"/v1/events/{'0' * 32}").status_code == 404
    assert client.get("/v1/events/..%2f..%2fetc").status_code in (404, 422)


def test_not_a_copy_is_in_force_before_it_is_answered_and_can_be_undone(client: TestClient) -> None:
    def decision() -> str | None:
        return client.post("/v1/check", files=form(jpeg(3))).json()["verdicts"][0]["decision"]  # type: ignore[no-any-return]

    event = logged(client, jpeg(3))[0]
    address = f"/v1/events/{event['id']}/review"
    said = client.post(address, json={"outcome": "not_a_copy", "note": "our own logo"}).json()
    assert said == {"id": event["id"], "outcome": "not_a_copy", "exempted": 1, "not_exempted": None}
    assert decision() == "allow"
    history = client.get(f"/v1/events/{event['id']}").json()["reviews"]
    assert [(r["who"], r["outcome"], r["note"]) for r in history] == [("anna", "not_a_copy", "our own logo")]
    assert client.post(address, json={"outcome": "undo"}).json()["outcome"] is None
    assert decision() == "block"
    assert client.post(address, json={"outcome": "undo"}).status_code == 422
    assert client.post(address, json={"outcome": "confirm"}).json()["exempted"] == 0
    assert decision() == "block"
    assert client.post(address, json={"outcome": "perhaps"}).status_code == 422
    metrics = client.app.state.service.guard.metrics.registry  # type: ignore[attr-defined]
    assert metrics.get_sample_value("memguard_reviews_total", {"outcome": "not_a_copy"}) == 1


def test_without_a_log_there_is_nothing_to_read() -> None:
    with client_of() as client:
        assert client.get("/v1/events").status_code == 503
        assert client.post("/v1/search", json={"words": "x"}).status_code == 503
