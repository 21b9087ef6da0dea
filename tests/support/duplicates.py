"""A small training set with duplicates of every kind, and what is true of it."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from tests.support.photographs import photograph

__all__ = ["CLUSTERS", "NAMES", "crossfade", "encoded", "page", "write_set"]

NAMES = ("astronaut", "coffee", "chelsea", "rocket", "camera", "retina", "hubble_deep_field", "immunohistochemistry")
CLUSTERS = (
    {"astronaut.png", "copies/astronaut.png"},  # the same bytes
    {"coffee.png", "copies/coffee.png"},  # the same pixels, packed otherwise
    {"chelsea.png", "copies/chelsea.jpg"},
    {"rocket.png", "copies/rocket.jpg"},  # smaller
    {"camera.png", "copies/camera.jpg"},  # mirrored
    {"retina.png", "copies/retina.jpg", "copies/retina-2.jpg"},
)
"""Of the set of write_set; everything else in it stands alone."""


def encoded(image: Image.Image, form: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def page(seed: int) -> Image.Image:
    """One layout with other content: a bar and a column that all pages share, and coloured words."""
    image = Image.new("RGB", (240, 180), "#f4f4f4")
    pen, rng = ImageDraw.Draw(image), np.random.default_rng(seed)
    pen.rectangle((0, 0, 240, 20), fill="#223344")
    for row in range(5):
        pen.rectangle((6, 30 + 28 * row, 44, 50 + 28 * row), fill="#778899")
    for row in range(10):
        x = 56
        while x < 220:
            width = int(rng.integers(6, 40))
            colour = tuple(int(v) for v in rng.integers(0, 200, 3))
            pen.rectangle((x, 28 + 15 * row, min(x + width, 234), 38 + 15 * row), fill=colour)
            x += width + int(rng.integers(4, 12))
    return image


def crossfade(share: float) -> Image.Image:
    """From one photograph into another."""
    first = Image.fromarray(photograph("astronaut"))
    return Image.blend(first, Image.fromarray(photograph("coffee")).resize(first.size), share)


def write_set(folder: Path) -> Path:
    """Photographs, their copies in a folder below, six pages of one layout, captions, and two files that are broken."""
    (folder / "copies").mkdir(parents=True)
    whole = {name: Image.fromarray(photograph(name, 192)) for name in NAMES}
    for name, image in whole.items():
        (folder / f"{name}.png").write_bytes(encoded(image, "PNG"))
    half = whole["rocket"].resize((whole["rocket"].width // 2, whole["rocket"].height // 2))
    mirrored = whole["camera"].transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    copies = {
        "astronaut.png": (folder / "astronaut.png").read_bytes(),
        "coffee.png": encoded(whole["coffee"], "PNG", compress_level=1),
        "chelsea.jpg": encoded(whole["chelsea"], "JPEG", quality=60),
        "rocket.jpg": encoded(half, "JPEG", quality=85),
        "camera.jpg": encoded(mirrored, "JPEG", quality=85),
        "retina.jpg": encoded(whole["retina"], "JPEG", quality=90),
        "retina-2.jpg": encoded(whole["retina"], "JPEG", quality=40),
    }
    for name, data in copies.items():
        (folder / "copies" / name).write_bytes(data)
    for seed in range(6):
        (folder / f"page-{seed}.png").write_bytes(encoded(page(seed), "PNG"))
    (folder / "broken.png").write_bytes((folder / "coffee.png").read_bytes()[:3000])
    (folder / "empty.jpg").write_bytes(b"")
    rows = [{"file_name": "chelsea.png", "text": "a cat"}, {"file_name": "copies/chelsea.jpg", "text": "a tabby cat"}]
    (folder / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (folder / "copies" / "rocket.txt").write_text("a rocket on its pad at dusk", encoding="utf-8")
    (folder / "LICENSE").write_text("CC0", encoding="utf-8")
    return folder
