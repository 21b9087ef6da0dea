"""The contact sheet shows every entry, and text in it stays text."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from guard import Decision, Match, Record, Status, Verdict
from guard.contact_sheet import Entry, write_html, write_png
from guard.types import Evidence, EvidenceKind, Mask
from tests.support.toys import picture

EVIL = '<script>alert("x")</script>'


def entries() -> list[Entry]:
    match = Match(Record(0, f"{EVIL}.png", ""), 0.91, bits=6)
    blocked = Verdict(Status.SUCCESS, Decision.BLOCK, (match,), (f"close to {EVIL}",))
    return [
        Entry(EVIL, picture(0, 80, 40), picture(1), blocked, EVIL),
        Entry("a prompt", picture(2), None, Verdict(Status.SUCCESS, Decision.ALLOW)),
        Entry("broken", picture(3), None, Verdict(Status.ERROR, reason="runtime", stage="embed")),
    ]


def test_html_is_self_contained_and_escaped(tmp_path: Path) -> None:
    page = write_html(entries(), tmp_path / "sheet.html", title=EVIL).read_text(encoding="utf-8")
    assert "<script" not in page
    assert page.count("&lt;script&gt;") >= 4
    assert "BLOCK   similarity 0.910, PDQ 6 bits" in page
    assert "http://" not in page
    assert "https://" not in page
    assert page.count("data:image/png;base64,") == 4


def test_png_has_a_cell_for_each(tmp_path: Path) -> None:
    path = write_png(entries(), tmp_path / "sheet.png", columns=2)
    with Image.open(path) as sheet:
        assert sheet.width > 2 * 2 * 192
        assert sheet.height > 2 * 192


def test_an_empty_sheet_is_still_a_page(tmp_path: Path) -> None:
    assert "<main>" in write_html([], tmp_path / "sheet.html", title="t").read_text(encoding="utf-8")
    write_png([], tmp_path / "sheet.png")


def test_evidence_is_drawn_beside_the_pair(tmp_path: Path) -> None:
    """Half of the generated picture is copied; the same entry without evidence shows two pictures only."""
    cells = np.zeros((4, 8), bool)
    cells[:, :4] = True
    evidence = Evidence(EvidenceKind.PARTIAL, (1.0, 0.0, 0.0, 0.0, 1.0, 0.0), 9, 0.5, 0.5, Mask.pack(cells), 0.1, 0.9)
    pages, sheets = [], []
    for found in (evidence, None):
        verdict = Verdict(Status.SUCCESS, Decision.FLAG, (Match(Record(0, "a.png", ""), 0.6, evidence=found),))
        entry = Entry("a prompt", picture(0, 160, 80), picture(1, 160, 80), verdict)
        pages.append(write_html([entry], tmp_path / "sheet.html", title="t").read_text(encoding="utf-8"))
        with Image.open(write_png([entry], tmp_path / "sheet.png")) as sheet:
            sheets.append(np.asarray(sheet.convert("RGB"), np.int16))
    assert [page.count("data:image/png;base64,") for page in pages] == [4, 2]
    assert "partial: agreement 0.90, 9 inliers" in pages[0]
    assert "copied area" in pages[0]
    changed = np.abs(sheets[0] - sheets[1]).max(axis=2) > 40
    assert changed[:, 26 + 96 + 4 : 26 + 192].mean() > 3 * changed[:, 26 : 26 + 92].mean()  # the other half is paler
