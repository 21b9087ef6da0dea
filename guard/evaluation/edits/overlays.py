"""Edits that lay something over a picture, or the picture into something larger. Knows places; no tone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from guard.evaluation.edits.base import Edit, Rng, cover, scaled, to_bytes
from guard.pixels import RGBArray

__all__ = ["OVERLAYS", "blend", "caption", "frame", "inset"]

Others = Sequence[RGBArray]
WORDS = (
    "when",
    "the",
    "cat",
    "said",
    "no",
    "and",
    "we",
    "went",
    "home",
    "this",
    "is",
    "how",
    "it",
    "ends",
    "at",
    "work",
)
STICKER_COLOURS = ((255, 204, 77), (221, 46, 68), (85, 172, 238), (120, 177, 89))


def inset(picture: RGBArray, rng: Rng, others: Others, *, scale: float) -> RGBArray:
    """The picture, at this scale, somewhere in a page of its own size that another picture fills."""
    h, w = picture.shape[:2]
    page = cover(others[0], w, h).copy()
    small = scaled(picture, round(w * scale), round(h * scale))
    height, width = small.shape[:2]
    top, left = int(rng.integers(0, h - height + 1)), int(rng.integers(0, w - width + 1))
    page[top : top + height, left : left + width] = small
    return page


def _collage(picture: RGBArray, rng: Rng, others: Others, *, columns: int) -> RGBArray:
    """columns x columns tiles with white gaps; one of them is the picture."""
    h, w = picture.shape[:2]
    gap = max(1, max(h, w) // 100)
    page = np.full((h, w, 3), 255, np.uint8)
    height, width = (h - gap * (columns - 1)) // columns, (w - gap * (columns - 1)) // columns
    own = int(rng.integers(0, columns * columns))
    for cell in range(columns * columns):
        row, column = divmod(cell, columns)
        tile = scaled(picture, width, height) if cell == own else cover(others[cell % len(others)], width, height)
        top, left = row * (height + gap), column * (width + gap)
        page[top : top + height, left : left + width] = tile
    return page


def caption(picture: RGBArray, rng: Rng, *, lines: int, size: float) -> RGBArray:
    """White capitals with a black outline, centred, from the top or the bottom. size: of the height."""
    image = Image.fromarray(picture)
    w, h = image.size
    pixels = max(6.0, size * h)
    font = ImageFont.load_default(pixels)
    draw = ImageDraw.Draw(image)
    at_top = rng.random() < 0.5
    for line in range(lines):
        words = " ".join(str(word) for word in rng.choice(WORDS, 5)).upper()
        y = pixels * (0.3 + 1.1 * line) if at_top else h - pixels * (1.5 + 1.1 * line)
        draw.text((w / 2, y), words, "white", font, anchor="ma", stroke_width=max(1, round(pixels / 14)),
                  stroke_fill="black")  # fmt: skip
    return np.array(image)


def _small_print(picture: RGBArray, rng: Rng, *, opacity: float) -> RGBArray:
    """One word repeated over the whole picture, half transparent, as stock agencies do."""
    image = Image.fromarray(picture)
    w, h = image.size
    layer = Image.new("L", image.size)
    pixels = max(8.0, h / 14)
    font, word = ImageFont.load_default(pixels), str(rng.choice(WORDS)).capitalize() + " Images"
    draw = ImageDraw.Draw(layer)
    for row, y in enumerate(np.arange(0, h, 2.2 * pixels).tolist()):
        for x in np.arange(-(row % 2) * 4 * pixels, w, 8 * pixels).tolist():
            draw.text((x, y), word, round(255 * opacity), font)
    return np.array(Image.composite(Image.new("RGB", image.size, "white"), image, layer))


def _stickers(picture: RGBArray, rng: Rng, *, count: int, size: float) -> RGBArray:
    """Round faces with eyes and a mouth. size: diameter as a share of the shorter side."""
    image = Image.fromarray(picture)
    w, h = image.size
    d = max(8.0, size * min(w, h))
    draw = ImageDraw.Draw(image)
    for _ in range(count):
        x, y = float(rng.uniform(0, w - d)), float(rng.uniform(0, h - d))
        colour = STICKER_COLOURS[int(rng.integers(0, len(STICKER_COLOURS)))]
        draw.ellipse((x, y, x + d, y + d), colour)
        for eye in (0.3, 0.62):
            draw.ellipse((x + eye * d, y + 0.3 * d, x + (eye + 0.1) * d, y + 0.46 * d), (60, 40, 20))
        draw.arc((x + 0.25 * d, y + 0.35 * d, x + 0.75 * d, y + 0.8 * d), 15, 165, (60, 40, 20), max(1, round(d / 16)))
    return np.array(image)


def frame(picture: RGBArray, rng: Rng, *, width: float) -> RGBArray:
    """A border of one colour around the whole picture. width: of the longer side, on each side."""
    border = max(1, round(width * max(picture.shape)))
    h, w = picture.shape[:2]
    page = np.empty((h + 2 * border, w + 2 * border, 3), np.uint8)
    page[:] = rng.integers(0, 256, 3)
    page[border:-border, border:-border] = picture
    return page


def blend(picture: RGBArray, others: Others, *, other: float) -> RGBArray:
    """other: the opacity of another picture that lies on it."""
    h, w = picture.shape[:2]
    return to_bytes((1 - other) * picture + other * cover(others[0], w, h))


def _phone(picture: RGBArray, rng: Rng, *, bars: float) -> RGBArray:
    """A screenshot of an app that shows the picture between two bars with lines of text. bars: of the height each."""
    h, w = picture.shape[:2]
    bar = max(8, round(bars * h))
    dark = rng.random() < 0.5
    image = Image.new("RGB", (w, h + 2 * bar), (24, 24, 28) if dark else (246, 246, 248))
    image.paste(Image.fromarray(picture), (0, bar))
    draw, ink = ImageDraw.Draw(image), (225, 225, 225) if dark else (40, 40, 40)
    font = ImageFont.load_default(max(6.0, 0.32 * bar))
    for y in (0.1, 0.52):
        for top in (0, h + bar):
            draw.text((0.04 * w, top + y * bar), " ".join(str(word) for word in rng.choice(WORDS, 6)), ink, font)
    r = 0.3 * bar
    draw.ellipse((w - 3 * r, bar / 2 - r, w - r, bar / 2 + r), (29, 155, 240))
    return np.array(image)


OVERLAYS = (
    Edit("inset_0.6", "overlay", inset, {"scale": 0.6}),
    Edit("inset_0.4", "overlay", inset, {"scale": 0.4}),
    Edit("collage", "overlay", _collage, {"columns": 2}),
    Edit("caption", "overlay", caption, {"lines": 2, "size": 0.11}),
    Edit("watermark", "overlay", _small_print, {"opacity": 0.45}),
    Edit("stickers", "overlay", _stickers, {"count": 4, "size": 0.28}),
    Edit("frame", "overlay", frame, {"width": 0.08}),
    Edit("blend", "overlay", blend, {"other": 0.35}),
    Edit("phone_screenshot", "overlay", _phone, {"bars": 0.15}),
)
