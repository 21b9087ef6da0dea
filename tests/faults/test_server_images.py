"""Pictures that are none, lie, or are made to hurt, sent to a running sidecar: a verdict each, and steady memory."""

from __future__ import annotations

import gc
import io
import os
import random
import struct
import zlib
from typing import Any

import httpx2
import numpy as np
import pytest
from PIL import Image

from tests.support.references import jpeg
from tests.support.served import WAIT_S, form, listening
from tests.support.toys import picture

# Pillow warns about some of the damage below, through the process-wide `warnings`; users see it on stderr.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")
COPY = jpeg(3)


def encoded(image: Image.Image, form_name: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form_name, **options)
    return buffer.getvalue()


def png(width: int, height: int, data: bytes = b"") -> bytes:
    """Claims a size, whatever the data is."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")


def rotated() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded(picture(3).rotate(90, expand=True), "JPEG", exif=exif.tobytes(), quality=95)


def animated() -> bytes:
    return encoded(picture(3), "GIF", save_all=True, append_images=[picture(40), picture(41)])


COPIES = {
    "cmyk": encoded(picture(3).convert("CMYK"), "JPEG", quality=95),
    "rgba": encoded(picture(3).convert("RGBA"), "PNG"),
    "rotated by EXIF": rotated(),
    "animated": animated(),
    "webp": encoded(picture(3), "WEBP", quality=90),
    "a zip behind it": COPY + b"PK\x03\x04" + bytes(200),
    "a script within": COPY[:2] + b"\xff\xfe\x00\x22<script>alert(document.domain)</script>"[:36] + COPY[2:],
}
"""Copies in other clothes: each must be found."""
REFUSED = {
    "nothing": b"",
    "1 x 1": encoded(Image.new("RGB", (1, 1)), "PNG"),
    "1 x 60000": encoded(Image.new("L", (1, 60000)), "PNG"),
    "a bomb": png(50_000, 50_000, bytes(1000)),
    "a bomb that is within the sides": png(30_000, 30_000, bytes(1000)),
    "truncated": COPY[: len(COPY) // 2],
    "svg": b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"><image href="http://127.0.0.1/"/></svg>',
    "pdf": b"%PDF-1.7\n1 0 obj\n",
    "eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(/etc/passwd) run\n",
    "html": b"<html><script>fetch('http://127.0.0.1/')</script></html>",
    "random": random.Random(0).randbytes(5000),
    "a path": b"/etc/passwd",
    "a url": b"http://127.0.0.1:1/a.png",
}
"""What must be a failed check, withheld."""


def test_copies_in_other_clothes_are_found_and_the_rest_is_withheld() -> None:
    with listening(max_megapixels=10) as server:
        for chosen, status in ((COPIES, "success"), (REFUSED, "error")):
            answer = httpx2.post(server.url + "/v1/check", files=form(*chosen.values()), timeout=WAIT_S)
            assert answer.status_code == 200
            for name, verdict in zip(chosen, answer.json()["verdicts"], strict=True):
                assert verdict["status"] == status, name
                assert verdict["action"] == "replaced", name


def test_sixteen_bits_are_read() -> None:
    deep = Image.fromarray(np.asarray(picture(3).convert("L")).astype(np.uint16) * 257)
    with listening() as server:
        answer = httpx2.post(server.url + "/v1/check", files=form(encoded(deep, "PNG")), timeout=WAIT_S).json()
    assert answer["verdicts"][0]["status"] == "success"


SEEDS = [
    encoded(picture(3), name, **options)
    for name, options in (
        ("JPEG", {}),
        ("JPEG", {"progressive": True}),
        ("PNG", {}),
        ("WEBP", {}),
        ("GIF", {}),
        ("BMP", {}),
        ("TIFF", {}),
        ("PPM", {}),
        ("ICO", {}),
        ("JPEG2000", {}),
        ("AVIF", {}),
    )
]


def mutated(rng: random.Random) -> bytes:
    data = bytearray(rng.choice(SEEDS))
    kind = rng.randrange(6)
    if kind == 0:
        return bytes(data[: rng.randrange(len(data))])
    if kind == 1:
        return rng.randbytes(rng.randrange(200))
    if kind == 2:
        return bytes(data[:20]) + rng.randbytes(rng.randrange(2000))
    for _ in range(rng.choice((1, 3, 20))):
        data[rng.randrange(min(len(data), rng.choice((40, 400, 10**9))))] = rng.randrange(256)
    return bytes(data)


def resident() -> int:
    with open("/proc/self/statm") as file:  # noqa: PTH123 - no file of ours
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize("inputs", [320, pytest.param(10_240, marks=pytest.mark.slow)])
def test_damaged_pictures_are_answered_and_memory_stays(inputs: int) -> None:
    rng = random.Random(7)
    with (
        listening(max_megapixels=2, canary_s=0) as server,
        httpx2.Client(base_url=server.url, timeout=WAIT_S) as client,
    ):
        before = 0
        for sent in range(0, inputs, 32):
            answer = client.post("/v1/check", files=form(*(mutated(rng) for _ in range(32))))
            assert answer.status_code == 200, answer.text
            for verdict in answer.json()["verdicts"]:
                assert (verdict["decision"] is None) == (verdict["status"] == "error")
                assert verdict["status"] == "success" or verdict["action"] == "replaced"
            if sent == inputs // 4 // 32 * 32:
                gc.collect()
                before = resident()
        gc.collect()
        assert resident() - before < 64 * 2**20
        answer = client.post("/v1/check", files=form(COPY)).json()
    assert answer["verdicts"][0]["decision"] == "block"


def test_random_requests_are_no_5xx() -> None:
    rng = random.Random(11)
    with listening(canary_s=0) as server, httpx2.Client(base_url=server.url, timeout=WAIT_S) as client:
        for _ in range(150):
            boundary = rng.choice(["b", "x" * 70, ""])
            kind = rng.choice([f"multipart/form-data; boundary={boundary}", "application/json", "text/plain"])
            body = rng.choice(
                [
                    rng.randbytes(rng.randrange(300)),
                    b"--b\r\nContent-Disposition: form-data; name=images\r\n\r\n" + rng.randbytes(50) + b"\r\n--b--",
                    b'{"images": ["' + rng.randbytes(5).hex().encode() + b'"]}',
                    b"[" * 5000,
                ]
            )
            path = rng.choice(["/v1/check", "/v1/search"])
            answer = client.post(path, content=body, headers={"Content-Type": kind})
            assert answer.status_code < 500 or (path, answer.status_code) == ("/v1/search", 503), answer.text
