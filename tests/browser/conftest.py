"""A served index of photographs, a browser, and the check that no page did more than it should."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest
from PIL import Image

from guard import Guard
from guard.embedders.registry import load_embedder
from guard.events import EventLog
from guard.indexes.builder import build_index
from guard_server.tokens import Scope, Token, new_token
from tests.support.browser import Browser, chromium
from tests.support.pages import HOSTILE
from tests.support.photographs import photograph
from tests.support.served import WAIT_S, listening

REFERENCES = ("astronaut", "coffee", "rocket", "chelsea", "camera", "coins", "moon", "page", "text", "brick", "grass")
"""Photographs of scikit-image that make the training set."""
HOSTILE_NAME = "<img src=x onerror=alert(1)>.jpg"


@pytest.fixture(scope="session")
def window() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def browser(window: Browser) -> Iterator[Browser]:
    """On a wide and light screen, with nobody signed in; at the end, nothing may have been noticed."""
    window.base = ""
    window.driver.delete_all_cookies()
    window.look()
    window.noticed()
    yield window
    assert window.noticed() == []


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for name in REFERENCES:
        file = HOSTILE_NAME if name == "chelsea" else f"{name}.jpg"
        Image.fromarray(photograph(name)).save(folder / file, quality=92)
        caption = HOSTILE if name == "chelsea" else f"{name}, a photograph"
        (folder / file).with_suffix(".txt").write_text(caption, encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def queries(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Pictures as a pipeline might make them, by name."""
    folder = tmp_path_factory.mktemp("queries")
    made = {
        "copy": Image.fromarray(photograph("chelsea")),
        "turned": Image.fromarray(photograph("rocket")).rotate(4),
        "mirrored": Image.fromarray(photograph("coffee")).transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        "cropped": Image.fromarray(photograph("astronaut", 512)).crop((20, 0, 512, 440)),
        "other": Image.fromarray(photograph("immunohistochemistry")),
    }
    for name, picture in made.items():
        picture.save(folder / f"{name}.jpg", quality=90)
    (folder / "copy.jpg").rename(folder / "<b>copy<script>.jpg")
    return {name: folder / ("<b>copy<script>.jpg" if name == "copy" else f"{name}.jpg") for name in made}


class Site:
    """A running server and what its visitors may use."""

    def __init__(self, url: str, guard: Guard, secrets: dict[str, str]) -> None:
        self.url, self.guard, self.secrets = url, guard, secrets

    @property
    def log(self) -> EventLog:
        assert self.guard.events is not None
        assert self.guard.events.flush()
        return EventLog(self.guard.events.path)

    def check(self, *pictures: Path) -> list[str]:
        """The decisions about pictures, each sent by itself."""
        headers = {"Authorization": f"Bearer {self.secrets['gateway']}"} if self.secrets else {}
        decisions = []
        for picture in pictures:
            files = [("images", ("q.jpg", picture.read_bytes()))]
            answer = httpx2.post(f"{self.url}/v1/check", files=files, headers=headers, timeout=WAIT_S)
            decisions.append(str(answer.json()["verdicts"][0]["decision"]))
        assert self.log
        return decisions


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory, photos: Path) -> Path:
    folder = tmp_path_factory.mktemp("built") / "photos.index"
    build_index(photos, folder, load_embedder())
    return folder


@pytest.fixture
def site(browser: Browser, tmp_path: Path, built: Path) -> Iterator[Site]:
    """Without tokens."""
    with _served(browser, tmp_path, built, {}) as found:
        yield found


@pytest.fixture
def guarded_site(browser: Browser, tmp_path: Path, built: Path) -> Iterator[Site]:
    """With the tokens gateway (check) and anna (review, search, protect)."""
    made = {
        name: new_token(name, scopes)
        for name, scopes in (("gateway", [Scope.CHECK]), ("anna", [Scope.REVIEW, Scope.SEARCH, Scope.PROTECT]))
    }
    with _served(browser, tmp_path, built, made) as found:
        yield found


@contextmanager
def _served(browser: Browser, folder: Path, built: Path, made: dict[str, tuple[str, Token]]) -> Iterator[Site]:
    shutil.copytree(built, folder / "photos.index")
    events = {"path": folder / "events.sqlite", "thumbnails": 256, "allow_sample": 0.0}
    guard = Guard.open(folder / "photos.index", events=events, deadline_s=WAIT_S)
    with listening(guard, tokens=[token.model_dump(mode="json") for _, token in made.values()]) as server:
        browser.base = server.url
        yield Site(server.url, guard, {name: secret for name, (secret, _) in made.items()})
        browser.driver.get("about:blank")  # its connections end before the server does
    guard.index.close()  # type: ignore[attr-defined]
