"""A guard with an index on disk, captions and a decision log, and what tests do with its pages."""

from __future__ import annotations

import atexit
import re
import shutil
import tempfile
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from starlette.testclient import TestClient

from guard import Guard
from guard.config import load_config
from guard.indexes.builder import build_index
from tests.support.references import jpeg, photo_folder
from tests.support.served import WAIT_S, form
from tests.support.toys import ToyEmbedder

__all__ = ["HOSTILE", "checked", "csrf_of", "filed", "paged_guard", "reopened", "tags"]

HOSTILE = '<img src=x onerror="document.title=1"><script>document.title=2</script> a caption & more'
"""A caption that must stay text."""


def paged_guard(folder: Path, n: int = 12, **settings: Any) -> Guard:
    """References are the pictures of seeds 0 to n - 1, the first in a file whose name is HTML as far as one can be."""
    shutil.copytree(_built(n), folder / "an.index")
    return reopened(folder, **settings)


def reopened(folder: Path, **settings: Any) -> Guard:
    """A guard of the index and the log that `paged_guard` has left in a folder."""
    events = {"path": folder / "events.sqlite", "thumbnails": 64, "allow_sample": 0.0}
    config = load_config(None, **{"events": events, "deadline_s": WAIT_S, **settings})
    return Guard.open(folder / "an.index", config=config, embedder=ToyEmbedder())


@cache
def _built(n: int) -> Path:
    folder = Path(tempfile.mkdtemp(prefix="memguard-test-"))
    atexit.register(shutil.rmtree, folder)
    photos = photo_folder(folder / "photos", n)
    (photos / "0000.jpg").rename(photos / "<b onclick=alert(1)>&amp;.jpg")
    (photos / "<b onclick=alert(1)>&amp;.txt").write_text(HOSTILE, encoding="utf-8")
    for i in range(1, n):
        (photos / f"{i:04d}.txt").write_text(f"colour study number {i}", encoding="utf-8")
    build_index(photos, folder / "an.index", ToyEmbedder(), thumbnails=64)
    return folder / "an.index"


def checked(client: TestClient, guard: Guard, *seeds: int) -> list[str]:
    """Have pictures checked; returns the ids of their events, in the same order."""
    from guard.events import EventLog

    for seed in seeds:
        assert client.post("/v1/check", files=form(jpeg(seed)), data={"pipeline": "web"}).status_code == 200
    assert guard.events is not None
    assert guard.events.flush()
    return [event.id for event in EventLog(guard.events.path).read(limit=len(seeds))][::-1]


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, {name: value or "" for name, value in attrs}))


def tags(page: str) -> list[tuple[str, dict[str, str]]]:
    """Every element of a page with its attributes, as a parser sees it."""
    parser = _Tags()
    parser.feed(page)
    return parser.found


def csrf_of(html: str) -> str:
    found = re.search(r'name="csrf" value="([^"]+)"', html)
    assert found, "the page has no form"
    return found[1]


def filed(client: TestClient, path: str, page: str | None = None, **fields: str) -> Any:
    """Send a form of a page (that of the path itself, unless another is named), and do not follow where it leads."""
    csrf = csrf_of(client.get(page or path).text)
    return client.post(path, data={"csrf": csrf, **fields}, follow_redirects=False)
