"""Who gets in, by which cookie, and which forms count."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from fastapi.routing import APIRoute

from guard_server.pages.forms import local_path
from guard_server.pages.install import ROUTERS
from guard_server.pages.sessions import LASTS_S, Sessions
from guard_server.tokens import Scope, TokenBook, new_token
from tests.support.overlays import Clock
from tests.support.pages import checked, csrf_of, filed, paged_guard, tags
from tests.support.served import client_of

KEY = b"k" * 32
PAGES = {
    "/status": {Scope.METRICS},
    "/review": {Scope.REVIEW},
    "/search/protect": {Scope.PROTECT},
    "/search": {Scope.SEARCH},
}
"""What opens each page; a path below one needs the same."""
FREE = {"/sign-in", "/static/{name}"}


def tokens(*scopes: Scope) -> tuple[dict[str, str], list[Any]]:
    """One token for each scope: secrets by name, and what the settings hold."""
    made = {scope.value: new_token(scope.value, [scope]) for scope in scopes or Scope}
    return {name: secret for name, (secret, _) in made.items()}, [t.model_dump(mode="json") for _, t in made.values()]


def signed_in(client: Any, secret: str) -> Any:
    client.cookies.clear()
    return filed(client, "/sign-in", token=secret, next="/status")


def page_routes() -> list[tuple[str, str]]:
    routes = [route for router in ROUTERS for route in router.routes if isinstance(route, APIRoute)]
    return sorted((method, route.path) for route in routes for method in route.methods)


@pytest.mark.parametrize(("method", "path"), page_routes())
def test_every_page_needs_its_scope_and_no_other(method: str, path: str) -> None:
    secrets, stored = tokens()
    with client_of(tokens=stored) as client:
        at = re.sub(r"\{\w+\}", "0", path)
        bare = client.request(method, at, follow_redirects=False)
        if path in FREE:
            assert bare.status_code in (200, 404, 415)
            return
        assert bare.status_code == 303
        assert bare.headers["location"].startswith("/sign-in")
        opened = set()
        for scope in Scope:
            signed_in(client, secrets[scope.value])
            answer = client.request(method, at, follow_redirects=False)
            assert answer.headers.get("content-type", "text/html")[:9] in ("text/html", "image/svg")
            if answer.status_code != 403:
                opened.add(scope)
    wanted = next((scopes for page, scopes in PAGES.items() if path.startswith(page)), set(Scope))
    assert opened == (wanted if path != "/" else {Scope.METRICS, Scope.REVIEW, Scope.SEARCH})


def test_a_bearer_token_opens_no_page_and_a_cookie_no_interface() -> None:
    secrets, stored = tokens(Scope.METRICS)
    with client_of(tokens=stored) as client:
        header = {"Authorization": f"Bearer {secrets['metrics']}"}
        assert client.get("/status", headers=header, follow_redirects=False).status_code == 303
        signed_in(client, secrets["metrics"])
        assert client.get("/status").status_code == 200
        assert client.get("/metrics").status_code == 401


def test_signing_in_leads_back_and_out_again() -> None:
    secrets, stored = tokens(Scope.REVIEW)
    with client_of(tokens=stored) as client:
        asked = client.get("/review?show=all", follow_redirects=False)
        assert asked.headers["location"] == "/sign-in?next=%2Freview%3Fshow%3Dall"
        page = client.get(asked.headers["location"])
        assert 'value="/review?show=all"' in page.text
        wrong = client.post("/sign-in", data={"csrf": csrf_of(page.text), "token": "mg_wrong", "next": "/review"})
        assert (wrong.status_code, "mg_wrong" in wrong.text) == (401, False)
        answer = filed(client, "/sign-in", token=secrets["review"], next="/review?show=all")
        assert (answer.status_code, answer.headers["location"]) == (303, "/review?show=all")
        cookie = answer.headers.get_list("set-cookie")[0]
        assert {"HttpOnly", "SameSite=strict", f"Max-Age={LASTS_S}", "Path=/"} <= set(cookie.split("; "))
        assert "Secure" not in cookie
        assert secrets["review"] not in cookie
        assert "review" in client.get("/review").text
        out = filed(client, "/sign-out", "/review")
        assert out.headers["location"] == "/sign-in"
        assert client.get("/review", follow_redirects=False).status_code == 303


@pytest.mark.parametrize("headers", [{"X-Forwarded-Proto": "https"}, {"Origin": "https://127.0.0.1:8750"}])
def test_the_cookie_is_secure_where_the_browser_speaks_tls(headers: dict[str, str]) -> None:
    secrets, stored = tokens(Scope.REVIEW)
    with client_of(tokens=stored) as client:
        fields = {"csrf": csrf_of(client.get("/sign-in").text), "token": secrets["review"]}
        answer = client.post("/sign-in", data=fields, headers=headers, follow_redirects=False)
        assert "Secure" in answer.headers.get_list("set-cookie")[0].split("; ")


def test_without_tokens_everybody_is_somebody_and_forms_still_carry_their_field(tmp_path: Path) -> None:
    guard = paged_guard(tmp_path)
    with client_of(guard) as client:
        (event,) = checked(client, guard, 3)
        assert client.get("/", follow_redirects=False).headers["location"] == "/status"
        assert client.get("/sign-in", follow_redirects=False).headers["location"] == "/"
        page = client.get(f"/review/{event}").text
        assert "Sign out" not in page
        for csrf in ("", "wrong", "0" * 64):
            answer = client.post(f"/review/{event}", data={"csrf": csrf, "outcome": "confirm"})
            assert answer.status_code == 403
            assert "Load it again" in answer.text
        right = csrf_of(page)
        client.cookies.clear()  # the field of another visit
        assert client.post(f"/review/{event}", data={"csrf": right, "outcome": "confirm"}).status_code == 403
        assert guard.metrics.registry.get_sample_value("memguard_reviews_total", {"outcome": "confirm"}) == 0


def test_a_form_is_small_and_a_form() -> None:
    with client_of() as client:
        assert client.post("/review/0", json={"outcome": "confirm"}).status_code == 415
        assert client.post("/review/0", data={"note": "x" * 300_000}).status_code == 413
        many = {f"f{i}": "1" for i in range(3000)}
        assert client.post("/review/0", data=many).status_code == 400


def test_a_cookie_ends_with_its_time_its_token_and_any_change() -> None:
    clock = Clock()
    secret, token = new_token("anna", [Scope.REVIEW])
    sessions = Sessions(TokenBook([token]), KEY, clock=clock)
    visit = sessions.sign_in(secret)
    assert visit is not None
    read = sessions.read(visit.cookie)
    assert read is not None
    assert (read.session.name, read.csrf, read.fresh) == ("anna", visit.csrf, False)
    assert sessions.is_of(read, visit.csrf)
    assert not sessions.is_of(read, visit.csrf[:-1])
    for changed in ("", ".", "x" + visit.cookie, visit.cookie[:-1], visit.cookie + "0", "é.é", "W1tbW1tb" * 999 + "."):
        assert sessions.read(changed) is None
    _, other = new_token("anna", [Scope.REVIEW])
    _, stranger = new_token("ben", [Scope.REVIEW])
    for book, key in ((TokenBook([other]), KEY), (TokenBook([stranger]), KEY), (TokenBook([]), KEY),
                      (TokenBook([token]), b"j" * 32)):  # fmt: skip
        assert Sessions(book, key, clock=clock).read(visit.cookie) is None
    assert Sessions(TokenBook([token]), KEY, clock=clock).read(visit.cookie) is not None, "another worker, the same key"
    clock.now += LASTS_S
    assert sessions.read(visit.cookie) is None
    with pytest.raises(ValueError, match="tokens"):
        sessions.anyone()


@pytest.mark.parametrize(
    ("asked", "goes"),
    [
        ("/review?show=all", "/review?show=all"),
        ("//evil.example/", "/"),
        ("/\\evil.example", "/"),
        ("https://evil.example", "/"),
        ("/a\r\nX: y", "/"),
        ("", "/"),
    ],
)
def test_nobody_is_sent_to_another_host(asked: str, goes: str) -> None:
    assert local_path(asked) == goes


def test_static_files_are_named_by_their_content() -> None:
    with client_of() as client:
        page = client.get("/status").text
        found = re.findall(r'(?:href|src)="(/static/[^"]+)"', page)
        assert {name.partition("?")[0] for name in found} == {
            "/static/icon.svg",
            "/static/pages.css",
            "/static/pages.js",
        }
        for address in found:
            answer = client.get(address)
            assert answer.status_code == 200
            assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
        for name in ("..%2Finstall.py", "nothing.css", "pages.css.map"):
            assert client.get(f"/static/{name}").status_code == 404


def test_pages_ask_for_nothing_that_the_policy_forbids(tmp_path: Path) -> None:
    guard = paged_guard(tmp_path)
    with client_of(guard) as client:
        (event,) = checked(client, guard, 3)
        for path in (
            "/status",
            "/review",
            f"/review/{event}",
            "/review/none",
            "/search",
            "/search?words=a",
            "/search/protected",
        ):
            answer = client.get(path)
            assert "unsafe" not in answer.headers["content-security-policy"]
            assert answer.headers["referrer-policy"] == "same-origin"
            for tag, attributes in tags(answer.text):
                assert tag != "style", path
                assert tag != "script" or attributes["src"].startswith("/static/"), path
                assert not [name for name in attributes if name == "style" or name.startswith("on")], path
                for name in ("src", "href", "action"):
                    assert attributes.get(name, "/").startswith(("/", "#", "data:image/")), path
