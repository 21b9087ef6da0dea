"""Who may do what; what a browser of another site may not; what every answer carries."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from guard import ConfigError
from guard_server.app import create_app
from guard_server.config import ServerConfig, load_server_config
from guard_server.shield import HEADERS
from guard_server.tokens import Scope, as_toml, new_token, read_tokens
from tests.support.references import jpeg
from tests.support.served import client_of, form, toy_guard

OPEN = {"/healthz", "/readyz", "/openapi.json"}
NEEDS = {
    ("GET", "/metrics"): {Scope.METRICS},
    ("POST", "/v1/check"): {Scope.CHECK},
    ("POST", "/v1/admin/reload"): {Scope.ADMIN},
    ("POST", "/v1/search"): {Scope.SEARCH},
    ("POST", "/knn-service"): {Scope.SEARCH},
    ("POST", "/metadata"): {Scope.SEARCH},
    ("GET", "/indices-list"): {Scope.SEARCH},
    ("GET", "/v1/references/{identifier}/thumbnail"): {Scope.SEARCH, Scope.REVIEW},
    ("GET", "/v1/events"): {Scope.REVIEW},
    ("GET", "/v1/events/{identifier}"): {Scope.REVIEW},
    ("POST", "/v1/events/{identifier}/review"): {Scope.REVIEW},
}
"""Every other route, and the scopes of which one opens it; /version takes any token."""


def routes() -> list[tuple[str, str]]:
    from fastapi.routing import APIRoute

    from guard_server.app import ROUTERS

    found = [r for router in ROUTERS for r in router.routes if isinstance(r, APIRoute)]
    return sorted((method, route.path) for route in found for method in route.methods)


@pytest.mark.parametrize(("method", "path"), routes())
def test_every_route_needs_its_scope_and_no_other(method: str, path: str) -> None:
    tokens = {scope: new_token(scope.value, [scope]) for scope in Scope}
    stored = [token.model_dump(mode="json") for _, token in tokens.values()]
    with client_of(tokens=stored) as client:
        bare = client.request(method, path).status_code
        wrong = client.request(method, path, headers={"Authorization": "Bearer mg_wrong"}).status_code
        opened = {
            scope
            for scope, (secret, _) in tokens.items()
            if client.request(method, path, headers={"Authorization": f"Bearer {secret}"}).status_code not in (401, 403)
        }
    if path in OPEN:
        assert bare == wrong == 200
        return
    assert bare == wrong == 401
    assert opened == (set(Scope) if path == "/version" else NEEDS[method, path])


def test_without_tokens_only_loopback_and_only_by_its_name() -> None:
    for host in ("0.0.0.0", "::", "192.0.2.1", "example.org"):
        with pytest.raises(ConfigError, match="there are no tokens"):
            create_app(toy_guard(), ServerConfig(host=host))
    with client_of() as client:
        for name, status in (
            ("127.0.0.1", 200),
            ("localhost:8750", 200),
            ("[::1]:8750", 200),
            ("evil.example", 421),
            ("[::", 421),
        ):
            assert client.get("/version", headers={"Host": name}).status_code == status, name
    with client_of(hosts=["guard.internal"]) as client:
        assert client.get("/healthz", headers={"Host": "guard.internal"}).status_code == 200
        assert client.get("/healthz").status_code == 421


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Origin": "http://127.0.0.1:8750"}, 200),
        ({"Origin": "http://127.0.0.1:9999"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": "cross-site", "Origin": "http://127.0.0.1:8750"}, 403),
    ],
)
def test_pages_of_other_sites_change_nothing(headers: dict[str, str], status: int) -> None:
    with client_of() as client:
        assert client.post("/v1/check", files=form(jpeg(3)), headers=headers).status_code == status
        assert client.get("/healthz", headers=headers).status_code == 200


def test_every_answer_carries_the_security_headers() -> None:
    with client_of() as client:
        answers = [client.get(path) for path in ("/healthz", "/nothing", "/metrics")]
        answers += [client.post("/v1/check", content=b""), client.get("/healthz", headers={"Host": "evil.example"})]
    for answer in answers:
        assert {name: answer.headers[name] for name in HEADERS} == HEADERS
        assert answer.headers["cache-control"] == "no-store"
        assert "server" not in answer.headers


def test_what_is_not_there_is_a_problem_too() -> None:
    with client_of() as client:
        for method, path, status in (("GET", "/nothing", 404), ("DELETE", "/v1/check", 405)):
            answer = client.request(method, path)
            assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
        assert answer.headers["allow"] == "POST"


def test_what_breaks_inside_is_a_problem_without_its_text() -> None:
    guard = toy_guard()
    guard.index.manifest = None  # type: ignore[assignment]  # as no guard that was opened is
    with client_of(guard) as client:
        client._transport.raise_server_exceptions = False  # type: ignore[attr-defined]
        answer = client.get("/version")
        assert 'memguard_http_requests_total{code="500",route="/version"} 1.0' in client.get("/metrics").text
    assert answer.status_code == 500
    assert answer.json()["detail"] == "AttributeError; the server's log says more"
    assert answer.headers["x-frame-options"] == "DENY"


def test_a_tokens_file(tmp_path: Path) -> None:
    file = tmp_path / "tokens.toml"
    secrets = {}
    for name, scopes in (("gateway", [Scope.CHECK]), ("anna", [Scope.REVIEW, Scope.SEARCH])):
        secrets[name], token = new_token(name, scopes)
        with file.open("a") as stream:
            stream.write(as_toml(token))
    assert [t.name for t in read_tokens(file)] == ["gateway", "anna"]
    assert not any(secret in file.read_text() for secret in secrets.values())
    with client_of(tokens_file=file, host="0.0.0.0") as client:
        headers = {"Authorization": f"Bearer {secrets['gateway']}", "Host": "anything.example"}
        assert client.get("/version", headers=headers).status_code == 200
    again = [token.model_dump(mode="json") for token in read_tokens(file)]
    with pytest.raises(ConfigError, match="two are called"):
        create_app(toy_guard(), ServerConfig.model_validate({"tokens_file": file, "tokens": again}))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[[tokens]\n", "cannot be read"),
        ("other = 1\n", "other things"),
        ('[[tokens]]\nname = "a"\nscopes = ["fly"]\nsha256 = "' + "0" * 64 + '"\n', "scopes"),
        ('[[tokens]]\nname = "a"\nscopes = []\nsha256 = "' + "0" * 64 + '"\n', "scopes"),
        ('[[tokens]]\nname = "a"\nscopes = ["check"]\nsha256 = "secret"\n', "sha256"),
        (('[[tokens]]\nname = "a"\nscopes = ["check"]\nsha256 = "' + "0" * 64 + '"\n') * 2, "two tokens"),
    ],
)
def test_a_tokens_file_that_does_not_fit_says_where(tmp_path: Path, text: str, says: str) -> None:
    file = tmp_path / "tokens.toml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=says):
        read_tokens(file)


def test_settings_come_from_the_table_of_the_guards_file(tmp_path: Path) -> None:
    from guard.config import load_config

    file = tmp_path / "guard.toml"
    file.write_text('mode = "flag"\n[server]\nport = 9000\npipelines = ["web"]\n')
    environ = {"MEMGUARD_SERVER__MAX_IMAGES": "4", "MEMGUARD_SERVER__HOSTS": "a.example, b.example"}
    assert load_config(file, environ=environ).mode.value == "flag"
    config = load_server_config(file, environ=environ, port=None, host="::1")
    assert (config.port, config.host, config.max_images) == (9000, "::1", 4)
    assert config.hosts == ("a.example", "b.example")


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"port": "many"}, r"server\.port"),
        ({"prot": 1}, r"server\.prot"),
        ({"pipelines": ["a b"]}, "cannot be a label"),
        ({"call_options": ["policy"]}, r"server\.call_options"),
        ({"max_pipelines": 1, "pipelines": ["a", "b"]}, "max_pipelines"),
    ],
)
def test_settings_that_do_not_fit_name_the_field(values: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        load_server_config(None, **values)
    with pytest.raises(ConfigError, match="table"):
        load_server_config(None, environ={"MEMGUARD_SERVER": "yes"})


def test_a_port_that_does_not_fit_is_told_by_its_option(tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from guard.cli.main import app

    result = CliRunner().invoke(app, ["serve", "--index", str(tmp_path), "--port", "99999"])
    assert result.exit_code == 2
    assert "server.port: Input should be less than or equal to 65535 (from --port)" in result.stderr
