"""The queue, one pair of it, and what a reviewer's word does."""

from __future__ import annotations

import html
import re
from pathlib import Path

import numpy as np
import pytest

from guard.events import EventFilter, EventLog, Outcome
from guard.indexes.edit import remove_from_index
from guard.indexes.overlay import Overlay
from guard.types import Evidence, EvidenceKind, Mask, Match
from guard_server.pages.pair import evidence_of, outline
from guard_server.pages.review import PAGE
from guard_server.tokens import Scope, new_token
from tests.support.pages import HOSTILE, checked, filed, paged_guard, reopened
from tests.support.served import client_of


def ids_on(page: str) -> list[str]:
    return re.findall(r'class="row card" data-row href="/review/([0-9a-f]{32})', page)


def test_the_queue_is_what_was_flagged_and_blocked_newest_first(tmp_path: Path) -> None:
    guard = paged_guard(tmp_path)
    with client_of(guard) as client:
        assert "Nothing waits" in client.get("/review").text
        events = checked(client, guard, 3, 4, 5)
        assert ids_on(client.get("/review").text) == events[::-1]
        assert ids_on(client.get("/review?decision=flag").text) == []
        assert ids_on(client.get("/review?pipeline=web&show=all").text) == events[::-1]
        assert "Nothing fits" in client.get("/review?pipeline=other").text
        assert filed(client, f"/review/{events[1]}", outcome="confirm").status_code == 303
        assert ids_on(client.get("/review").text) == [events[2], events[0]]
        assert ids_on(client.get("/review?show=confirm").text) == [events[1]]
        assert ids_on(client.get("/review?show=unsure").text) == []
        assert client.get("/review?show=everything").status_code == 422


def test_pages_of_the_queue(tmp_path: Path) -> None:
    guard = paged_guard(tmp_path)
    with client_of(guard) as client:
        events = checked(client, guard, *([3] * (PAGE + 2)))[::-1]
        first = client.get("/review").text
        older = re.search(r'href="(/review\?before=\d+)" rel="next"', first)
        assert older is not None
        second = client.get(older[1]).text
    assert ids_on(first) + ids_on(second) == events
    assert 'rel="next"' not in second


def test_one_image_beside_its_reference(tmp_path: Path) -> None:
    guard = paged_guard(tmp_path, verify=False)
    with client_of(guard) as client:
        (event,) = checked(client, guard, 0)
        page = client.get(f"/review/{event}").text
        image, reference = client.get(f"/review/{event}/image"), client.get(f"/review/{event}/reference/0")
        assert client.get(f"/review/{event}/reference/9").status_code == 404
        assert client.get("/review/" + "0" * 32).status_code == 404
    assert image.headers["content-type"] == reference.headers["content-type"] == "image/jpeg"
    assert image.content == EventLog(tmp_path / "events.sqlite").get(event).thumbnail  # type: ignore[union-attr]
    assert reference.content == guard.index.thumbnail(11)  # type: ignore[attr-defined]
    assert "The same picture: both frames coincide" in page, "compared for the page: the check had not"
    assert "(compared for this page)" in page
    assert 'class="laid" src="data:image/webp;base64,' in page
    assert re.search(r'<svg class="mask"[^>]*><path class="halo" d="M', page)


def test_what_the_check_compared_is_not_compared_again(tmp_path: Path) -> None:
    guard = paged_guard(tmp_path)
    with client_of(guard) as client:
        (event,) = checked(client, guard, 0)
        page = client.get(f"/review/{event}").text
    assert "The same picture: both frames coincide" in page
    assert "(compared for this page)" not in page


def test_captions_and_file_names_stay_text(tmp_path: Path) -> None:
    guard = paged_guard(tmp_path)
    with client_of(guard) as client:
        (event,) = checked(client, guard, 0)
        for path in ("/review", f"/review/{event}"):
            page = client.get(path).text
            assert "<script>document" not in page
            assert "<b onclick" not in page
        assert html.escape(HOSTILE).replace("&#x27;", "&#39;").replace("&quot;", "&#34;") in page
        assert "&lt;b onclick=alert(1)&gt;&amp;amp;.jpg" in page


def test_a_word_is_logged_with_the_name_and_counted(tmp_path: Path) -> None:
    guard = paged_guard(tmp_path)
    secret, token = new_token("anna", [Scope.REVIEW])
    checker, second = new_token("gateway", [Scope.CHECK])
    stored = [token.model_dump(mode="json"), second.model_dump(mode="json")]
    with client_of(guard, tokens=stored) as client:
        client.headers["Authorization"] = f"Bearer {checker}"
        events = checked(client, guard, 3, 4)
        filed(client, "/sign-in", token=secret)
        answer = filed(client, f"/review/{events[1]}", outcome="unsure", note="  a cropped <i>frame</i> ")
        assert answer.headers["location"] == f"/review/{events[0]}?done={events[1]}"
        following = client.get(answer.headers["location"]).text
        assert 'value="undo"' in following
        answer = filed(client, f"/review/{events[0]}", outcome="confirm")
        assert answer.headers["location"] == f"/review?done={events[0]}"
        page = client.get(f"/review/{events[1]}").text
        undone = filed(client, f"/review/{events[0]}", outcome="undo")
        assert undone.headers["location"] == f"/review/{events[0]}"
        assert filed(client, f"/review/{events[0]}", outcome="undo").status_code == 303, "nothing is left to undo"
        assert filed(client, f"/review/{events[0]}", outcome="perhaps").status_code == 422
    assert "by <b>anna</b>" in page
    assert "a cropped &lt;i&gt;frame&lt;/i&gt;" in page
    log = EventLog(tmp_path / "events.sqlite")
    assert [(r.who, r.outcome, r.note) for r in log.reviews(events[1])] == [
        ("anna", Outcome.UNSURE, "a cropped <i>frame</i>")
    ]
    assert [r.outcome for r in log.reviews(events[0])] == [Outcome.CONFIRM, None]
    counted = {o: guard.metrics.registry.get_sample_value("memguard_reviews_total", {"outcome": o}) for o in
               ("confirm", "unsure", "undo", "not_a_copy")}  # fmt: skip
    assert counted == {"confirm": 1, "unsure": 1, "undo": 1, "not_a_copy": 0}


def test_not_a_copy_exempts_the_pair_at_once_and_undo_takes_it_back(tmp_path: Path) -> None:
    guard = paged_guard(tmp_path)
    overlay = Overlay(tmp_path / "an.index")
    with client_of(guard) as client:
        (event,) = checked(client, guard, 3)
        log = EventLog(tmp_path / "events.sqlite")
        logged = log.get(event)
        assert logged is not None
        key = logged.matches[0]["sha256"]
        at = f"/review/{event}"
        filed(client, at, outcome="not_a_copy")
        assert [(pair.key, pair.who) for pair in overlay.pairs()] == [(key, "local")]
        descriptor = np.frombuffer(logged.descriptor or b"", "<f2").astype(np.float32)
        record = guard.index.records([logged.matches[0]["id"]])[0]

        assert guard.index.now().exempt(descriptor, [Match(record, 1.0)]) == {record.id}  # type: ignore[attr-defined]
        assert "1 pair is exempt" in client.get(at).text
        filed(client, at, outcome="confirm")
        assert overlay.pairs() == [], "another word takes the exemption back"
        filed(client, at, outcome="undo")
        assert [pair.key for pair in overlay.pairs()] == [key], "the word before stands again, and what it exempted"
        filed(client, at, outcome="undo")
        assert overlay.pairs() == []
    assert {line.action for line in overlay.history(key)} == {"exempt", "withdraw_pair"}
    assert log.count(EventFilter(reviewed=True)) == 0


def test_not_a_copy_says_why_it_exempts_nothing(tmp_path: Path) -> None:
    events = {"path": tmp_path / "events.sqlite", "descriptors": False}
    guard = paged_guard(tmp_path, events=events)
    with client_of(guard) as client:
        (event,) = checked(client, guard, 3)
        page = client.get(f"/review/{event}").text
        image = client.get(f"/review/{event}/image")
        filed(client, f"/review/{event}", outcome="not_a_copy")
    assert "keeps no descriptor" in page
    assert image.headers["content-type"] == "image/svg+xml", "no thumbnail is kept either"
    assert Overlay(tmp_path / "an.index").pairs() == []
    assert EventLog(tmp_path / "events.sqlite").get(event).outcome is Outcome.NOT_A_COPY  # type: ignore[union-attr]


def test_a_reference_is_found_under_its_new_id_or_said_to_be_gone(tmp_path: Path) -> None:
    guard = paged_guard(tmp_path)
    with client_of(guard) as client:
        moved, gone = checked(client, guard, 7, 3)
    guard.index.close()  # type: ignore[attr-defined]
    remove_from_index(tmp_path / "an.index", uris=["0003.jpg"])
    again = reopened(tmp_path)
    with client_of(again) as client:
        assert "gone from the index" not in client.get(f"/review/{moved}").text
        assert client.get(f"/review/{moved}/reference/0").content == again.index.thumbnail(5)  # type: ignore[attr-defined]
        assert "gone from the index" in client.get(f"/review/{gone}").text
        assert client.get(f"/review/{gone}/reference/0").headers["content-type"] == "image/svg+xml"


def test_a_damaged_log_is_an_error_page_without_its_path(tmp_path: Path) -> None:
    guard = paged_guard(tmp_path)
    with client_of(guard) as client:
        checked(client, guard, 3)
        assert guard.events is not None
        guard.events.close()
        for suffix in ("-wal", "-shm"):
            (tmp_path / f"events.sqlite{suffix}").unlink(missing_ok=True)
        (tmp_path / "events.sqlite").write_bytes(b"x" * 5000)
        answer = client.get("/review")
    assert answer.status_code == 503
    assert "cannot be read now" in answer.text
    assert str(tmp_path) not in answer.text


@pytest.mark.parametrize("seed", range(3))
def test_evidence_comes_back_as_it_was_logged(seed: int) -> None:
    cells = np.random.default_rng(seed).random((5, 7)) > 0.5
    made = Evidence(
        EvidenceKind.PARTIAL, (1.0, 0.0, 0.1, 0.0, -1.0, 0.9), 12, 0.4, 0.5, Mask.pack(cells), 0.2, 0.7, (3, 4)
    )
    assert evidence_of(made.to_dict()) == made
    empty = Evidence(EvidenceKind.NONE)
    assert evidence_of(empty.to_dict()) == empty


def test_an_outline_runs_along_every_edge_once() -> None:
    cells = np.zeros((3, 4), bool)
    cells[1, 1:3] = True
    path, grid = outline(Mask.pack(cells))
    assert grid == (4, 3)
    assert sorted(re.findall(r"M\d+ \d+[vh]\d+", path)) == ["M1 1h2", "M1 1v1", "M1 2h2", "M3 1v1"]
    assert outline(None) == ("", (0, 0))
