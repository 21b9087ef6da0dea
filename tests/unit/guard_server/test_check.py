"""POST /v1/check: what comes in, what comes out, what is refused."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from guard import Guard
from guard_server.schema import EXAMPLES, CheckReport
from guard_server.tokens import Scope, Token, new_token
from tests.support.references import jpeg
from tests.support.served import client_of, form, toy_guard
from tests.support.toys import picture

COPY, STRANGER = jpeg(3), jpeg(99)


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def decisions(answer: Any) -> list[str | None]:
    assert answer.status_code == 200, answer.text
    return [verdict["decision"] for verdict in answer.json()["verdicts"]]


def problem(answer: Any, status: int, code: str) -> str:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert body["type"] == f"urn:memguard:problem:{code}"
    assert body["status"] == status
    return str(body["detail"])


def sample(guard: Guard, name: str, **labels: str) -> float | None:
    return guard.metrics.registry.get_sample_value(f"memguard_{name}", labels)


def test_a_form_and_json_give_the_report_of_the_library() -> None:
    guard = toy_guard()
    from guard.decode import decode

    expected = guard.check([decode(COPY).rgb, decode(STRANGER).rgb], pipeline="web").to_dict()
    with client_of(guard) as client:
        by_form = client.post("/v1/check", files=form(COPY, STRANGER), data={"pipeline": "web"}).json()
        body = {"images": [encoded(COPY), "data:image/jpeg;base64," + encoded(STRANGER)], "pipeline": "web"}
        by_json = client.post("/v1/check", json=body).json()
    for report in (by_form, by_json):
        assert report.pop("seconds").keys() == expected["seconds"].keys()
        assert report == {key: value for key, value in expected.items() if key != "seconds"}
    assert sample(guard, "images_total", pipeline="web", decision="block", mode="enforce") == 3


def test_one_bad_image_costs_no_other_its_verdict() -> None:
    guard = toy_guard()
    with client_of(guard, max_image_mb=0.01) as client:
        answer = client.post("/v1/check", files=form(b"<svg/>", COPY, b"", STRANGER, b"\xff\xd8\xff" + b"0" * 20_000))
    assert decisions(answer) == [None, "block", None, "allow", None]
    verdicts = answer.json()["verdicts"]
    assert [v["action"] for v in verdicts] == ["replaced", "replaced", "replaced", "released", "replaced"]
    assert [v["reason"] for v in verdicts] == ["input", None, "input", None, "input"]
    assert "image 0" in verdicts[0]["reasons"][0]
    assert "20003 bytes" in verdicts[4]["reasons"][0]
    failed = {"pipeline": "default", "stage": "pixels", "reason": "input", "outcome": "closed"}
    assert sample(guard, "failures_total", **failed) == 3


def test_an_image_of_too_many_pixels_is_not_decoded() -> None:
    with client_of(max_megapixels=0.004) as client:
        answer = client.post("/v1/check", files=form(COPY))
    assert decisions(answer) == [None]
    assert "at most 4000 pixels" in answer.json()["verdicts"][0]["reasons"][0]


def test_options_that_the_server_lets_a_request_choose() -> None:
    guard = toy_guard()
    with client_of(guard) as client:
        shadow = client.post("/v1/check", files=form(COPY), data={"options": '{"mode": "shadow"}'})
        wrong = client.post("/v1/check", files=form(COPY), data={"options": '{"mode": "loud"}'})
        thresholds = client.post("/v1/check", files=form(COPY), data={"options": '{"policy": {"block": 1}}'})
    assert shadow.json()["mode"] == "shadow"
    assert shadow.json()["verdicts"][0]["action"] == "released"
    assert "mode" in problem(wrong, 422, "invalid")
    assert "may not choose 'policy'" in problem(thresholds, 422, "invalid")
    with client_of(call_options=()) as client:
        assert "none" in problem(
            client.post("/v1/check", files=form(COPY), data={"options": '{"mode": "flag"}'}), 422, "invalid"
        )


def test_the_callers_own_input_is_told_apart() -> None:
    with client_of() as client:
        answer = client.post("/v1/check", files=[*form(COPY), *form(COPY, b"no picture", name="inputs")])
        by_json = client.post("/v1/check", json={"images": [encoded(COPY)], "inputs": [encoded(COPY)]})
    assert decisions(answer) == decisions(by_json) == ["allow"]
    assert answer.json()["verdicts"][0]["input_similarity"] > 0.99


def test_frames_of_videos_get_one_verdict_a_video() -> None:
    with client_of() as client:
        frames = form(STRANGER, STRANGER, COPY, STRANGER)
        answer = client.post("/v1/check", files=frames, data={"clips": "[3, 1, 0]"})
        wrong = client.post("/v1/check", files=frames, data={"clips": "[3, 2]"})
    assert decisions(answer) == ["block", "allow", None]
    assert answer.json()["verdicts"][0]["frame"] == 2
    assert answer.json()["verdicts"][2]["status"] == "skipped"
    assert "4 images" in problem(wrong, 422, "invalid")


def test_prompts_reach_the_decision_log_and_nothing_else(tmp_path: Any) -> None:
    guard = toy_guard(events={"path": tmp_path / "events.sqlite", "prompts": "plain", "thumbnails": 32})
    with client_of(guard) as client:
        client.post("/v1/check", files=form(COPY, COPY, b"broken"), data={"prompts": '["one", null, "three"]'})
        client.post("/v1/check", files=form(COPY), data={"prompts": "a plain prompt"})
    from guard.events import EventLog

    events = list(EventLog(tmp_path / "events.sqlite").all())
    assert [e.prompt for e in reversed(events)] == ["one", None, "three", "a plain prompt"]
    assert [e.thumbnail is not None for e in reversed(events)] == [True, True, False, True]
    assert "a plain prompt" not in guard.metrics.text()


@pytest.mark.parametrize(
    ("sent", "status", "code", "says"),
    [
        ({"content": b"x"}, 415, "media-type", "multipart/form-data"),
        ({"content": b"{", "headers": {"content-type": "application/json"}}, 422, "invalid", "JSON"),
        ({"json": {"images": ["%%%"]}}, 422, "invalid", "images.0 is no base64"),
        ({"json": {"images": [], "url": "http://example.org/a.png"}}, 422, "invalid", "url"),
        ({"json": {"images": "x"}}, 422, "invalid", "images"),
        ({"files": [("image", ("a", COPY))]}, 422, "invalid", "field 'image'"),
        ({"files": form(COPY), "data": {"options": "{"}}, 422, "invalid", "options is no JSON"),
        ({"files": form(COPY), "data": {"options": "[" * 50_000}}, 422, "invalid", "options is no JSON"),
        ({"files": form(COPY), "data": {"pipeline": "a" * 65}}, 422, "invalid", "pipeline"),
        ({"data": {"pipeline": "a"}, "files": form(COPY, name="inputs")}, 422, "invalid", "images"),
        ({"files": form(*[b"x"] * 5)}, 413, "too-large", "4 images"),
        ({"json": {"images": ["AA=="] * 5}}, 413, "too-large", "4 images"),
        ({"files": form(b"0" * 200_000)}, 413, "too-large", "100000 bytes"),
        ({"content": b"0", "headers": {"content-type": "multipart/form-data"}}, 400, "malformed", "boundary"),
        (
            {
                "content": b'--b\r\nContent-Disposition: form-data; name="images"\r\n\r\nabc',
                "headers": {"content-type": "multipart/form-data; boundary=b"},
            },
            400,
            "malformed",
            "breaks off",
        ),
    ],
)
def test_what_cannot_be_served_says_why(sent: dict[str, Any], status: int, code: str, says: str) -> None:
    with client_of(max_images=4, max_body_mb=0.1) as client:
        detail = problem(client.post("/v1/check", **sent), status, code)
    assert says in detail
    assert len(detail) < 300  # never the pictures themselves


def test_no_images_give_an_empty_report() -> None:
    with client_of() as client:
        assert decisions(client.post("/v1/check", json={"images": []})) == []


def test_evidence_shows_the_pair_and_needs_the_right_to_see_it(tmp_path: Any) -> None:
    import io

    from PIL import Image

    from guard.embedders.registry import load_embedder
    from guard.indexes.builder import build_index
    from guard.sources import open_source
    from tests.support.references import photo_folder

    photos = photo_folder(tmp_path / "photos", 8, side=128)
    build_index(open_source(photos), tmp_path / "an.index", load_embedder("pdq"))
    guard = Guard.open(tmp_path / "an.index")
    copy = (photos / "0003.jpg").read_bytes()
    asked = {"files": form(copy, jpeg(99, 128), b"broken"), "data": {"evidence": "true"}}
    check_only, reviewer = new_token("gateway", [Scope.CHECK]), new_token("anna", [Scope.CHECK, Scope.REVIEW])
    tokens = [token.model_dump(mode="json") for _, token in (check_only, reviewer)]
    with client_of(guard, tokens=tokens) as client:
        refused = client.post("/v1/check", **asked, headers={"Authorization": f"Bearer {check_only[0]}"})
        answer = client.post("/v1/check", **asked, headers={"Authorization": f"Bearer {reviewer[0]}"})
    assert "review" in problem(refused, 403, "scope-needed")
    assert decisions(answer) == ["block", "allow", None]
    drawn = answer.json()["evidence_pictures"]
    assert drawn[1:] == [None, None]
    with Image.open(io.BytesIO(base64.b64decode(drawn[0]))) as strip:
        assert strip.format == "PNG"
        assert strip.width > 2 * strip.height
    CheckReport.model_validate(answer.json())


def test_the_documented_schema_is_that_of_real_reports() -> None:
    with client_of() as client:
        for sent in (form(COPY, STRANGER), form(b"broken")):
            CheckReport.model_validate(client.post("/v1/check", files=sent).json())
    for example in EXAMPLES.values():
        CheckReport.model_validate(example["value"])


def test_names_of_pipelines_do_not_grow_the_metrics_without_end() -> None:
    guard = toy_guard()
    with client_of(guard, max_pipelines=3) as client:
        got = [
            client.post("/v1/check", files=form(STRANGER), data={"pipeline": f"p{i}"}).json()["pipeline"]
            for i in range(4)
        ]
        again = client.post("/v1/check", files=form(STRANGER), data={"pipeline": "p0"}).json()["pipeline"]
        odd = client.post("/v1/check", files=form(STRANGER), data={"pipeline": "a\nb"})
    assert got == ["p0", "p1", "other", "other"]
    assert again == "p0"
    assert "pipeline" in problem(odd, 422, "invalid")


def test_uploads_share_one_budget() -> None:
    from guard_server.problems import Problem
    from guard_server.uploads import UploadBudget

    budget = UploadBudget(100)
    with budget.hold() as first:
        first(150)  # alone: there is always room for one
        with budget.hold() as second, pytest.raises(Problem, match="fill the memory"):
            second(1)
    assert budget.held == 0


def test_a_picture_is_the_same_by_any_route() -> None:
    """Lossless forms of one picture get one verdict."""
    import io

    bodies = []
    for form_name in ("PNG", "PPM", "BMP", "TIFF"):
        buffer = io.BytesIO()
        picture(3).save(buffer, form_name)
        bodies.append(buffer.getvalue())
    with client_of() as client:
        verdicts = client.post("/v1/check", files=form(*bodies)).json()["verdicts"]
    assert len({json.dumps(v) for v in verdicts}) == 1


def test_tokens_are_compared_whole() -> None:
    secret, token = new_token("a", [Scope.CHECK])
    from guard_server.tokens import TokenBook

    book = TokenBook([token, Token(name="b", scopes=frozenset({Scope.ADMIN}), sha256="0" * 64)])
    assert book.session(secret) is not None
    for wrong in (secret[:-1], secret + "x", "", token.sha256, "\udcff"):
        assert book.session(wrong) is None
