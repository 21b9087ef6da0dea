"""Is my picture in there: by a picture, by words; and what is protected from the next check on."""

from __future__ import annotations

import html
import re
from pathlib import Path
from typing import Any

import pytest

from guard.guard import Guard
from guard.indexes.overlay import Overlay
from guard_server.pages.search import PAGE
from guard_server.tokens import Scope, new_token
from tests.support.pages import HOSTILE, checked, csrf_of, filed, paged_guard
from tests.support.references import jpeg
from tests.support.served import client_of, form, toy_guard


def looked_for(client: Any, image: bytes | None = None, **fields: str) -> Any:
    csrf = csrf_of(client.get("/search").text)
    files = {"picture": ("../../<b>name</b>.jpg", image or b"")}
    return client.post("/search", data={"csrf": csrf, **fields}, files=files, follow_redirects=False)


def uris(page: str) -> list[str]:
    return [html.unescape(uri) for uri in re.findall(r'class="mono small muted">([^<]*)<', page)]


def keys(page: str) -> list[str]:
    return [html.unescape(key) for key in re.findall(r'name="key" value="([^"]*)"', page)]


def held(page: str) -> dict[str, str]:
    return {name: re.search(rf'name="{name}" value="([^"]+)"', page)[1] for name in ("held", "seal")}  # type: ignore[index]


def decision(client: Any, image: bytes) -> str:
    return str(client.post("/v1/check", files=form(image)).json()["verdicts"][0]["decision"])


def test_a_picture_finds_itself_first_and_the_answer_says_so(tmp_path: Path) -> None:
    with client_of(paged_guard(tmp_path)) as client:
        page = looked_for(client, jpeg(5)).text
        stranger = looked_for(client, jpeg(99)).text
    assert uris(page)[0] == "0005.jpg"
    assert "It is in there" in page
    assert "PDQ hash counts as identical" in page
    assert "Nothing is near enough to be flagged" in stranger
    assert "name</b>" not in page, "the name of a file is not read"


def test_words_are_looked_up_in_captions(tmp_path: Path) -> None:
    with client_of(paged_guard(tmp_path)) as client:
        page = client.get("/search?words=study+7").text
        none = client.get("/search?words=lighthouse").text
        typed = looked_for(client, words='"colour study"')
        both = looked_for(client, jpeg(5), words="number 3").text
        filtered = client.get("/search?words=colour&source=0004").text
        syntax = client.get("/search", params={"words": '" OR NEAR( * -'})
    assert uris(page) == ["0007.jpg"]
    assert "1 caption holds these words" in page
    assert "Nothing was found" in none
    assert typed.headers["location"] == "/search?words=%22colour+study%22"
    assert uris(both) == ["0003.jpg"]
    assert "is in there" not in both, "it was not the whole index that was asked"
    assert uris(filtered) == ["0004.jpg"]
    assert syntax.status_code == 200


def test_captions_and_words_stay_text(tmp_path: Path) -> None:
    with client_of(paged_guard(tmp_path)) as client:
        pages = [client.get("/search?words=caption").text, looked_for(client, jpeg(0)).text]
        echoed = client.get("/search", params={"words": HOSTILE, "source": HOSTILE}).text
    for page in (*pages, echoed):
        assert "<script>document" not in page
        assert "<b onclick" not in page
    assert all("<b onclick=alert(1)>&amp;.jpg" in uris(page) for page in pages)


def test_pages_of_results(tmp_path: Path) -> None:
    with client_of(paged_guard(tmp_path, PAGE + 5)) as client:
        first = client.get("/search?words=colour").text
        further = re.search(r'rel="next" href="([^"]+)"', first)
        assert further is not None
        second = client.get(html.unescape(further[1])).text
        near = looked_for(client, jpeg(3)).text
        rest = looked_for(client, offset=str(PAGE), **held(near)).text
        back = looked_for(client, offset="0", **held(rest)).text
    assert len(set(uris(first) + uris(second))) == PAGE + 4
    assert 'rel="next"' not in second
    assert len(uris(near)) == PAGE
    assert len(set(uris(near) + uris(rest))) == PAGE + 5
    assert "It is in there" not in rest
    assert uris(back)[0] == "0003.jpg"


def test_what_cannot_be_looked_for_is_said(tmp_path: Path) -> None:
    with client_of(paged_guard(tmp_path), max_image_mb=0.01, max_body_mb=0.1) as client:
        for image, says in (
            (b"<svg/>", "This picture cannot be read"),
            (b"\xff\xd8\xff" + b"0" * 20_000, "20003 bytes"),
            (None, "Choose a picture, or type words"),
        ):
            answer = looked_for(client, image)
            assert (answer.status_code, says in answer.text) == (422, True)
        assert looked_for(client, b"0" * 200_000).status_code == 413
        assert looked_for(client, jpeg(3), views="all").status_code == 422
        assert looked_for(client, jpeg(3), offset="-1").status_code == 422
        assert looked_for(client, jpeg(3), other="1").status_code == 422
        two = client.post("/search", files=[("picture", ("a", jpeg(1))), ("picture", ("b", jpeg(2)))])
        assert two.status_code == 413
        assert client.post("/search", data={"csrf": "x"}).status_code == 400
        assert client.get("/search?offset=-1").status_code == 422
    with client_of(toy_guard()) as client:
        assert client.get("/search").status_code == 200
        assert client.get("/search?words=a").status_code == 503


def test_a_held_picture_is_of_its_own_visit_and_unchanged(tmp_path: Path) -> None:
    with client_of(paged_guard(tmp_path)) as client:
        mine = held(looked_for(client, jpeg(5)).text)
        assert looked_for(client, **mine).status_code == 200
        assert looked_for(client, **{**mine, "held": mine["held"][:-8] + "AAAAAAAA"}).status_code == 403
        assert looked_for(client, **{**mine, "seal": ""}).status_code == 403
        client.cookies.clear()
        assert looked_for(client, **mine).status_code == 403


def test_what_is_protected_counts_from_the_next_check_on(tmp_path: Path) -> None:
    guard = paged_guard(tmp_path)
    overlay = Overlay(tmp_path / "an.index")
    with client_of(guard) as client:
        assert decision(client, jpeg(99)) == "allow"
        page = looked_for(client, jpeg(99)).text
        chosen = keys(page)[:2]
        fields: dict[str, Any] = {
            "csrf": csrf_of(page),
            "key": chosen,
            "own": "on",
            "why": "letter of 3 March",
            **held(page),
        }
        answer = client.post("/search/protect", data=fields, follow_redirects=False)
        assert answer.headers["location"] == "/search/protected?new=3"
        assert decision(client, jpeg(99)) == "block", "at once, in the running server"
        listed = client.get(answer.headers["location"]).text
        assert "3 pictures are protected" in listed
        assert {one.key for one in overlay.memberships()} >= set(chosen)
        assert {(one.collection, one.who, one.why) for one in overlay.memberships()} == {
            ("opt-out", "local", "letter of 3 March")
        }
        assert 'class="chip opt-out"' in looked_for(client, jpeg(99)).text
        own = next(one.key for one in overlay.memberships() if one.added)
        picture = client.get("/search/protected/picture", params={"key": own})
        assert picture.headers["content-type"] == "image/jpeg"
        filed(client, "/search/protected", key=own)
        assert decision(client, jpeg(99)) == "allow", "taken back"
        for key in chosen:
            filed(client, "/search/protected", key=key)
        assert overlay.memberships() == []
        assert "Nothing is protected here yet" in client.get("/search/protected").text
        missing = client.get("/search/protected/picture", params={"key": "0" * 64})
        assert missing.headers["content-type"] == "image/svg+xml"


def test_nothing_but_what_the_index_holds_is_protected(tmp_path: Path) -> None:
    guard = paged_guard(tmp_path)
    with client_of(guard) as client:
        for fields, status in (
            ({"key": "0" * 64}, 422),
            ({"key": "uri:nothing.jpg"}, 422),
            ({"why": "all of it"}, 422),
            ({"own": "on", "held": "AAAA", "seal": "0" * 64}, 403),
        ):
            assert filed(client, "/search/protect", "/search", **fields).status_code == status
    assert Overlay(tmp_path / "an.index").memberships() == []


def with_token(guard: Guard, *scopes: Scope) -> Any:
    secret, token = new_token("holder", scopes)
    return client_of(guard, tokens=[token.model_dump(mode="json")]), secret


@pytest.mark.parametrize("scopes", [(Scope.SEARCH,), (Scope.SEARCH, Scope.PROTECT)])
def test_only_a_token_with_the_scope_may_protect(tmp_path: Path, scopes: tuple[Scope, ...]) -> None:
    guard = paged_guard(tmp_path)
    may = Scope.PROTECT in scopes
    serving, secret = with_token(guard, *scopes)
    with serving as client:
        filed(client, "/sign-in", token=secret)
        page = looked_for(client, jpeg(5)).text
        assert bool(keys(page)) is may
        assert ("Protect these" in page) is may
        key = guard.index.records([3])[0].sha256
        answer = filed(client, "/search/protect", "/search", key=key)
        assert answer.status_code == (303 if may else 403)
        assert client.get("/search/reference/3").headers["content-type"] == "image/jpeg"
        assert client.get("/search/reference/99").headers["content-type"] == "image/svg+xml"
        assert client.get("/search/protected").status_code == (200 if may else 403)
    memberships = Overlay(tmp_path / "an.index").memberships()
    assert [(one.key, one.who) for one in memberships] == ([(key, "holder")] if may else [])


def test_an_exempt_pair_passes_the_next_check_in_the_same_server(tmp_path: Path) -> None:
    guard = paged_guard(tmp_path)
    with client_of(guard) as client:
        (event,) = checked(client, guard, 3)
        assert decision(client, jpeg(3)) == "block"
        filed(client, f"/review/{event}", outcome="not_a_copy")
        assert decision(client, jpeg(3)) == "allow"
        assert decision(client, jpeg(4)) == "block"
        filed(client, f"/review/{event}", outcome="undo")
        assert decision(client, jpeg(3)) == "block"
