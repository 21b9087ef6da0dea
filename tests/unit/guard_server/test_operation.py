"""Health, readiness, version, metrics and the interface's own description."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest
from typer.testing import CliRunner

from guard import Guard
from guard.cli.main import app
from guard.config import load_config
from guard_server.app import create_app
from guard_server.problems import PROBLEMS
from tests.support.references import jpeg, photo_folder
from tests.support.served import WAIT_S, client_of, form, serving, toy_guard
from tests.support.toys import MemoryIndex, ToyEmbedder


def test_health_version_and_metrics() -> None:
    guard = toy_guard()
    with client_of(guard) as client:
        assert client.get("/healthz").json() == {"status": "ok"}
        assert client.get("/readyz").json() == {"ready": True, "checks": {"index": "ok", "provider": "ok"}}
        version = client.get("/version").json()
        client.post("/v1/check", files=form(jpeg(3)))
        client.post("/v1/check", content=b"")
        client.get("/no/such/place/" + "x" * 50)
        text = client.get("/metrics").text
    assert (version["references"], version["embedder"], version["mode"]) == (20, "toy", "enforce")
    assert 'memguard_http_requests_total{code="200",route="/v1/check"} 1.0' in text
    assert 'memguard_http_requests_total{code="415",route="/v1/check"} 1.0' in text
    assert 'memguard_http_requests_total{code="429",route="/v1/check"} 0.0' in text
    assert 'memguard_http_requests_total{code="404",route="unknown"} 1.0' in text
    assert 'memguard_rejected_total{reason="too_large"} 0.0' in text
    assert 'memguard_images_total{decision="block",mode="enforce",pipeline="default"} 1.0' in text
    assert "/no/such/place" not in text


def test_not_ready_without_references_or_on_another_provider() -> None:
    @dataclass
    class OnTheCpu(ToyEmbedder):
        provider = "torch-cpu"

    embedder = OnTheCpu()
    empty = Guard(MemoryIndex(embedder, {}), embedder, config=load_config(None, device="cuda:0"))
    with client_of(empty) as client:
        answer = client.get("/readyz")
        assert client.get("/healthz").status_code == 200
    assert answer.status_code == 503
    checks = answer.json()["checks"]
    assert checks["index"] == "the index is empty"
    assert checks["provider"] == "device cuda is configured, and the embedder runs on torch-cpu"


def test_the_interface_is_described_completely() -> None:
    with client_of() as client:
        schema = client.get("/openapi.json").json()
    assert set(schema["paths"]) >= {"/v1/check", "/healthz", "/readyz", "/version", "/metrics"}
    check = schema["paths"]["/v1/check"]["post"]
    assert set(check["requestBody"]["content"]) == {"multipart/form-data", "application/json"}
    assert {"200", "401", "403", "408", "413", "415", "422", "429"} <= set(check["responses"])
    assert check["responses"]["200"]["content"]["application/json"]["examples"]
    assert "HTTPValidationError" not in json.dumps(schema)
    known = set(schema["components"]["schemas"])
    named = set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(schema)))
    assert named <= known
    for path in schema["paths"].values():
        for operation in path.values():
            assert operation["description"]


def test_every_problem_has_a_status_and_a_title() -> None:
    for code, (status, title) in PROBLEMS.items():
        assert 400 <= status < 600, code
        assert title[0].isupper(), code


def test_two_applications_do_not_share_a_guard_by_accident() -> None:
    from guard import ConfigError

    guard = toy_guard()
    create_app(guard)
    with pytest.raises(ConfigError, match="already"):
        create_app(guard)


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from guard.embedders.registry import load_embedder
    from guard.indexes.builder import build_index
    from guard.sources import open_source

    folder = tmp_path_factory.mktemp("served")
    photos = photo_folder(folder / "photos", 12)
    build_index(open_source(photos), folder / "an.index", load_embedder("pdq"))
    return folder / "an.index"


def test_the_command_serves_until_it_is_told_to_stop(index: Path, tmp_path: Path) -> None:
    config = tmp_path / "guard.toml"
    config.write_text('mode = "flag"\n[server]\npipelines = ["web"]\n')
    with serving("--index", index, "--config", config) as server:
        with httpx2.Client(base_url=server.url, timeout=WAIT_S) as client:
            report = client.post("/v1/check", files=form(jpeg(3), jpeg(99)), data={"pipeline": "web"}).json()
            assert client.get("/readyz").json()["ready"] is True
        server.process.terminate()
        assert server.process.wait(WAIT_S) in (0, -15)
    assert [v["decision"] for v in report["verdicts"]] == ["block", "allow"]
    assert report["mode"] == "flag"


def test_its_log_can_be_json_with_a_line_for_every_copy(index: Path) -> None:
    with serving("--index", index, "--log-json") as server:
        with httpx2.Client(base_url=server.url, timeout=WAIT_S) as client:
            client.post("/v1/check", files=form(jpeg(3), b"no picture"), data={"pipeline": "web"})
        server.process.terminate()
        server.process.wait(WAIT_S)
    lines = [json.loads(line) for line in server.log]
    found = {line["status"]: line for line in lines if line["logger"] == "guard.decisions"}
    assert set(found) == {"success", "error"}
    assert (found["success"]["decision"], found["success"]["pipeline"]) == ("block", "web")
    assert (found["error"]["reason"], found["error"]["level"]) == ("input", "warning")


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        ([], 2, "no index"),
        (["--index", "nowhere"], 3, "nowhere"),
        (["--index", "nowhere", "--host", "0.0.0.0"], 2, "no tokens"),
        (["--index", "nowhere", "--config", "none.toml"], 2, "none.toml"),
        (["--index", "nowhere", "--host", "192.0.2.1"], 2, "no tokens"),
        (["--index", "nowhere", "--port", "99999"], 2, "port"),
    ],
)
def test_what_keeps_it_from_starting_is_one_line(arguments: list[str], code: int, says: str) -> None:
    result = CliRunner().invoke(app, ["serve", *arguments])
    assert result.exit_code == code, result.output
    assert says in result.output
    assert "Traceback" not in result.output


def test_a_port_that_is_taken(index: Path) -> None:
    import socket

    from guard import ConfigError
    from guard_server.run import bind

    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(ConfigError, match="cannot listen on 127"):
        bind("127.0.0.1", taken.getsockname()[1])


def test_the_token_verb_stores_a_hash_and_shows_the_secret_once(tmp_path: Path) -> None:
    file = tmp_path / "tokens.toml"
    asked = ["token", "anna", "--scope", "review", "--file", str(file), "--json"]
    made = json.loads(CliRunner().invoke(app, asked, catch_exceptions=False).stdout)
    assert made["token"] not in file.read_text()
    assert made["sha256"] in file.read_text()
    assert file.stat().st_mode & 0o077 == 0
    twice = CliRunner().invoke(app, asked)
    assert twice.exit_code == 2
    assert "already" in twice.output
    shown = CliRunner().invoke(app, ["token", "bob", "--scope", "check"])
    assert shown.output.startswith("mg_")
    assert "[[tokens]]" in shown.output
    with client_of(tokens_file=file) as client:
        assert client.get("/version", headers={"Authorization": f"bearer {made['token']}"}).status_code == 200


def test_the_runtime_names_no_picture(caplog: pytest.LogCaptureFixture) -> None:
    """What a request holds never reaches the log."""
    with client_of() as client, caplog.at_level("DEBUG", logger="guard_server"):
        client.post("/v1/check", files=[("images", ("secret-name.png", b"junk"))], data={"prompts": "secret prompt"})
    assert "secret" not in caplog.text
