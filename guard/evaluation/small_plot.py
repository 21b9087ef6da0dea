"""Copies that were found and strangers that were flagged, as a picture. Knows what an evaluation of small sets wrote.

Two panels, one row a family of edits, one bar a guard, with its interval as a line. Drawn with Pillow, so that no
plotting package is needed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from PIL import Image, ImageDraw, ImageFont

__all__ = ["draw"]

INK, FAINT, LINES = "#222222", "#6b7280", "#e4e4e4"
COLOURS = ("#2f6f8f", "#5b9a6f", "#7fb3c9", "#c9a25f", "#8a6f9c")  # a guard each, in the order of the document
LABEL, PANEL, GAP, RIGHT = 120, 300, 48, 28  # px across
HEAD, BAR, PAD, FOOT = 92, 8, 8, 40  # px down
KINDS = {"copies": "edited copies that were flagged or blocked", "strangers": "pictures of other sources, likewise"}
ALL = "all"


def draw(document: Mapping[str, Any]) -> Image.Image:
    """document: of evaluate_small."""
    ways: Mapping[str, Mapping[str, Any]] = document["ways"]
    rows = _rows(ways)
    step = len(ways) * BAR + PAD
    height = HEAD + len(rows) * step + FOOT
    picture = Image.new("RGB", (LABEL + len(KINDS) * (PANEL + GAP) - GAP + RIGHT, height), "white")
    pen, small, font = ImageDraw.Draw(picture), ImageFont.load_default(12), ImageFont.load_default(15)
    of = f"{document['size']} pictures a" if document.get("size") else "half of them are the"
    pen.text((12, 10), f"{document['pictures']} pictures that look alike, of {document['sources']} sources; {of} set",
             font=font, fill=INK)  # fmt: skip
    x = 12.0
    for way, colour in zip(ways, COLOURS, strict=False):
        pen.rectangle((x, 40, x + 10, 50), fill=colour)
        pen.text((x + 15, 45), way, font=small, fill=INK, anchor="lm")
        x += 34 + pen.textlength(way, font=small)
    for row, name in enumerate(rows):
        pen.text((12, HEAD + row * step + step / 2), name.replace("_", " "), font=small, fill=INK, anchor="lm")
    for i, (kind, title) in enumerate(KINDS.items()):
        left = LABEL + i * (PANEL + GAP)
        pen.text((left, HEAD - 18), title, font=small, fill=FAINT)
        for percent in range(0, 101, 25):
            at = left + PANEL * percent / 100
            pen.line((at, HEAD, at, height - FOOT), fill=LINES)
            pen.text((at, height - FOOT + 6), f"{percent} %", font=small, fill=FAINT, anchor="ma")
        for row, name in enumerate(rows):
            key = kind if name == ALL else f"{kind}: {name}"
            for place, (groups, colour) in enumerate(zip(ways.values(), COLOURS, strict=False)):
                if key in groups:
                    top = HEAD + row * step + PAD // 2 + place * BAR
                    _bar(pen, left, top, groups[key]["flagged"], colour)
    return picture


def _rows(ways: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """All edits first, then each family."""
    names = {group.partition(": ")[2] or ALL for groups in ways.values() for group in groups}
    return sorted(names, key=lambda name: (name != ALL, name))


def _bar(pen: ImageDraw.ImageDraw, left: int, top: int, rate: Mapping[str, float], colour: str) -> None:
    value, low, high = (left + PANEL * rate[key] for key in ("value", "low", "high"))
    pen.rectangle((left, top, max(value, left + 1), top + BAR - 2), fill=colour)
    middle = top + (BAR - 2) // 2
    pen.line((low, middle, high, middle), fill=INK)
    for end in (low, high):
        pen.line((end, middle - 2, end, middle + 2), fill=INK)
