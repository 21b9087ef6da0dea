"""The recall of every edit as a picture: one panel a group, one row an edit, one mark an entrant. Knows a document.

Drawn with Pillow, so that no plotting package is needed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from PIL import Image, ImageDraw, ImageFont

__all__ = ["draw"]

Document = Mapping[str, Any]
FPR = "0.001"
COLOURS = ("#b07d2b", "#5b7fa6", "#b3261e", "#3d7a3a")  # PDQ, descriptor, verifier, all three
ROW, HEAD, LABEL, PANEL, GAP, LEAST = 15, 64, 170, 230, 28, 720  # px
GROUPS = 5  # panels at most


def draw(document: Document) -> Image.Image:
    """Recall at FPR 0.1 % with the thresholds of all groups together; intervals as lines."""
    groups = list(document["protocol"]["groups"])[:GROUPS]
    shown = _marks(document)
    rows = list(_rows(document))
    width, height = max(LEAST, LABEL + len(groups) * (PANEL + GAP)), HEAD + len(rows) * ROW + 30
    picture = Image.new("RGB", (width, height), "white")
    pen, small, font = ImageDraw.Draw(picture), ImageFont.load_default(11), ImageFont.load_default(14)
    pen.text((8, 6), "Recall at FPR 0.1 %, by edit", font=font, fill="#222222")
    x = 240
    for name, colour in shown:
        _mark(pen, x, 15, colour, name)
        pen.text((x + 9, 9), name, font=small, fill="#222222")
        x += 24 + int(pen.textlength(name, font=small))
    panels = [_Panel(LABEL + i * (PANEL + GAP), HEAD, HEAD + len(rows) * ROW) for i in range(len(groups))]
    for panel, group in zip(panels, groups, strict=True):
        pen.text((panel.left, HEAD - 34), group, font=font, fill="#222222")
        for percent in range(0, 101, 25):
            at = panel.at(percent / 100)
            pen.line((at, panel.top, at, panel.bottom), fill="#e4e4e4")
            pen.text((at - 6, HEAD - 15), str(percent), font=small, fill="#777777")
    for row, (key, head) in enumerate(rows):
        y = HEAD + row * ROW + ROW // 2
        pen.text((8, y - 7), key.removeprefix("family:"), font=font if head else small, fill="#222222")
        if head:
            pen.line((8, y - 8, width - 8, y - 8), fill="#cccccc")
        for panel, group in zip(panels, groups, strict=True):
            for i, (name, colour) in enumerate(shown):
                rate = document["results"][name][group][key]["recall_at_fpr"][FPR]
                _interval(pen, panel, y + 3 * i - 4, rate, colour, name)  # so that marks do not hide one another
    return picture


def _marks(document: Document) -> list[tuple[str, str]]:
    """(entrant, colour) of those that take part."""
    base = document["protocol"]["bases"][0]
    names = ("pdq+views", base, f"{base}+verifier", f"{base}+pdq+verifier")
    return [(name, colour) for name, colour in zip(names, COLOURS, strict=True) if name in document["results"]]


@dataclass(frozen=True, slots=True)
class _Panel:
    left: int
    top: int
    bottom: int

    def at(self, share: float) -> int:
        return self.left + round(share * PANEL)


def _rows(document: Document) -> Iterator[tuple[str, bool]]:
    """(key, is a mean): each family before its edits, the mean over all last."""
    edits = document["protocol"]["edits"]
    for family in dict.fromkeys(one["family"] for one in edits.values()):
        yield f"family:{family}", True
        yield from ((name, False) for name, one in edits.items() if one["family"] == family)
    yield "all_edits", True


def _interval(
    pen: ImageDraw.ImageDraw, panel: _Panel, y: int, rate: Mapping[str, float | None], colour: str, name: str
) -> None:
    value, low, high = (rate[key] for key in ("value", "low", "high"))
    if value is None or low is None or high is None:
        return
    pen.line((panel.at(low), y, panel.at(high), y), fill=colour)
    _mark(pen, panel.at(value), y, colour, name)


def _mark(pen: ImageDraw.ImageDraw, x: int, y: int, colour: str, name: str) -> None:
    if "verifier" in name:
        pen.ellipse((x - 3, y - 3, x + 3, y + 3), fill=colour)
    else:
        pen.ellipse((x - 3, y - 3, x + 3, y + 3), outline=colour, fill="white")
