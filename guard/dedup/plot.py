"""How large the clusters are, as a picture: one bar a range of sizes. Knows sizes alone; drawn with Pillow."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from guard.indexes.cluster_rows import Ids

__all__ = ["Bar", "bars", "draw"]

WIDTH, HEIGHT = 760, 380
LEFT, TOP, RIGHT, BOTTOM = 66, 62, 24, 64  # px of the frame
INK, FAINT, LINES, FILL = "#222222", "#6b7280", "#e4e4e4", "#2f6f8f"


@dataclass(frozen=True, slots=True)
class Bar:
    """Clusters of `low` to `high` pictures, both included."""

    low: int
    high: int
    clusters: int
    pictures: int

    @property
    def label(self) -> str:
        return str(self.low) if self.low == self.high else f"{self.low} to {self.high}"


def bars(cluster: Ids) -> list[Bar]:
    """By powers of two: 1, 2, 3 to 4, 5 to 8 and so on, up to the largest; cluster as in guard.indexes.cluster_rows."""
    counts = np.bincount(cluster[cluster >= 0])
    counts = counts[counts > 0]
    out, low = [], 1
    while low <= counts.max(initial=0):
        high = 1 if low == 1 else 2 * (low - 1)
        some = counts[(counts >= low) & (counts <= high)]
        out.append(Bar(low, high, len(some), int(some.sum())))
        low = high + 1
    return out


def draw(cluster: Ids, title: str) -> Image.Image:
    """Heights are numbers of clusters on a logarithmic scale; pictures that stand alone are the first bar."""
    shown = bars(cluster)
    picture = Image.new("RGB", (WIDTH, HEIGHT), "white")
    pen, small, font = ImageDraw.Draw(picture), ImageFont.load_default(12), ImageFont.load_default(16)
    pen.text((LEFT, 14), _clip(pen, title, font, WIDTH - LEFT - RIGHT), font=font, fill=INK)
    pen.text((LEFT, 36), "clusters by how many pictures they hold; below each bar the pictures", font=small, fill=FAINT)
    floor, span = HEIGHT - BOTTOM, HEIGHT - BOTTOM - TOP
    decades = max(1, math.ceil(math.log10(max((bar.clusters for bar in shown), default=1) + 1)))
    for power in range(decades + 1):
        y = floor - span * power / decades
        pen.line((LEFT, y, WIDTH - RIGHT, y), fill=LINES)
        pen.text((LEFT - 8, y), f"{10**power:,}" if power else "1", font=small, fill=FAINT, anchor="rm")
    step = (WIDTH - LEFT - RIGHT) / max(len(shown), 1)
    for i, bar in enumerate(shown):
        x = LEFT + step * (i + 0.5)
        if bar.clusters:
            top = floor - max(3.0, span * math.log10(bar.clusters) / decades)
            pen.rectangle((x - 0.36 * step, top, x + 0.36 * step, floor), fill=FILL)
            pen.text((x, top - 3), f"{bar.clusters:,}", font=small, fill=INK, anchor="mb")
        pen.text((x, floor + 6), bar.label, font=small, fill=INK, anchor="ma")
        pen.text((x, floor + 24), f"{bar.pictures:,}", font=small, fill=FAINT, anchor="ma")
    pen.text((LEFT, HEIGHT - 20), "pictures in a cluster", font=small, fill=FAINT)
    return picture


def _clip(pen: ImageDraw.ImageDraw, text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    if pen.textlength(text, font=font) <= width:
        return text
    while text and pen.textlength(f"{text}...", font=font) > width:
        text = text[:-1]
    return f"{text}..."
