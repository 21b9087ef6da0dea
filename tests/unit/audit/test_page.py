from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from guard.audit.compare import compare
from guard.audit.page import Pair, pairs_of, write_comparison, write_page, write_sheet
from guard.audit.plan import Plan
from guard.audit.prompts import Prompt
from guard.audit.report import AuditReport
from guard.audit.run import audit
from guard.audit.state import opened
from guard.errors import ConfigError
from guard.indexes.store import open_index
from tests.support.audits import CopyingModel, training_pictures, write_training_index
from tests.support.toys import ToyEmbedder

HOSTILE = '<script>alert("1")</script> & <img src=x onerror=1>'


class Reader(HTMLParser):
    """Elements and what they load; raises on what is not closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.loads: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.loads += [value or "" for name, value in attrs if name in ("src", "href", "data", "action", "xlink:href")]
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def read(page: Path) -> tuple[Reader, str]:
    text, reader = page.read_text(encoding="utf-8"), Reader()
    reader.feed(text)
    reader.close()
    assert reader.open == []
    return reader, text


@pytest.fixture(scope="module")
def audits(tmp_path_factory: pytest.TempPathFactory) -> tuple[AuditReport, list[Pair], AuditReport]:
    """Of a model that memorised two captions, one of them hostile, and of one that memorised nothing."""
    folder = tmp_path_factory.mktemp("page")
    pictures = training_pictures(12)
    pictures = {HOSTILE: pictures.pop("caption 0"), **pictures}
    path = write_training_index(folder, pictures, {HOSTILE: 3})
    prompts = [Prompt(HOSTILE, duplicates=3), Prompt("caption 1", duplicates=1), Prompt("caption 2", duplicates=1)]
    plan = Plan(generations=12)
    with open_index(path) as index:
        with opened(folder / "a", {}) as state:
            model = CopyingModel(pictures, {HOSTILE: 1.0, "caption 1": 1.0})
            first = audit(prompts, [model], state, index, ToyEmbedder(), plan=plan, model="<b>A</b>")
            pairs = pairs_of(first, state, index)
        with opened(folder / "b", {}) as state:
            second = audit(prompts, [CopyingModel(pictures, {})], state, index, ToyEmbedder(), plan=plan, model="B")
    return first, pairs, second


def test_a_page_is_whole_and_escaped(audits: tuple[AuditReport, list[Pair], AuditReport], tmp_path: Path) -> None:
    first, pairs, second = audits
    page = write_page(
        tmp_path / "audit.html", [(first, pairs), (second, [])], title=HOSTILE,
        comparison=compare(first, second), lines=[HOSTILE],
    )  # fmt: skip
    reader, text = read(page)
    assert "script" not in reader.tags
    assert all(load.startswith("data:image/webp;base64,") for load in reader.loads)
    assert len(reader.loads) == 4  # two pairs
    assert "onerror" in text
    assert HOSTILE not in text
    assert "&lt;script&gt;" in text
    assert re.search(r"<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'", text)
    assert "prefers-color-scheme: dark" in text
    assert reader.tags.count("svg") == 3  # two curves and the comparison's
    assert "66.7 [9, 99]" in text  # 2 of 3 prompts, Clopper and Pearson


def test_a_comparison_alone(audits: tuple[AuditReport, list[Pair], AuditReport], tmp_path: Path) -> None:
    first, _, second = audits
    reader, text = read(write_comparison(tmp_path / "both.html", compare(first, second), title="Two audits"))
    assert reader.loads == []
    assert "A alone" in text
    with pytest.raises(ConfigError, match="cannot be written"):
        write_comparison(tmp_path / "absent" / "both.html", compare(first, second), title="")


def test_pictures_that_single_generations_copy_are_shown(tmp_path: Path) -> None:
    """Models without prompts crowd nowhere: what was copied are pictures one by one."""
    pictures = training_pictures(12)
    path = write_training_index(tmp_path, pictures)
    prompts = [Prompt("caption 1", duplicates=1), Prompt("caption 2", duplicates=1)]
    plan = Plan(generations=12, least_clique=11, each=True)
    with open_index(path) as index, opened(tmp_path / "state", {}) as state:
        model = CopyingModel(pictures, {"caption 1": 0.4, "caption 2": 0.4})
        report = audit(prompts, [model], state, index, ToyEmbedder(), plan=plan, model="A")
        pairs = pairs_of(report, state, index)
    assert report.summary.memorised.hits == 0
    assert {pair.finding.uri for pair in pairs} == {"001.000.png", "002.000.png"}
    assert all(pair.memorised and pair.verdict == "copied" for pair in pairs)
    reader, text = read(write_page(tmp_path / "page.html", [(report, pairs)], title="each"))
    assert len(reader.loads) == 4
    assert "Training pictures that single generations are copies of" in text
    with Image.open(write_sheet(tmp_path / "sheet.png", pairs)) as sheet:
        assert np.asarray(sheet).std() > 20


def test_a_contact_sheet(audits: tuple[AuditReport, list[Pair], AuditReport], tmp_path: Path) -> None:
    _, pairs, _ = audits
    assert [(p.memorised, p.verdict) for p in pairs] == [(True, "memorised")] * 2
    assert all(p.reference is not None for p in pairs)
    with Image.open(write_sheet(tmp_path / "sheet.png", pairs)) as sheet:
        assert np.asarray(sheet).std() > 20
    with pytest.raises(ConfigError, match="cannot be written"):
        write_sheet(tmp_path / "absent" / "sheet.png", pairs)
