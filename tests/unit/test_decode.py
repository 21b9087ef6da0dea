"""Every kind of encoded picture comes out upright, RGB, 8 bits; or as an error that says what to do."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from guard.decode import Decoded, ImageFileError, decode, measure, sniff
from guard.errors import InputError
from tests.support.toys import picture


def encoded(image: Image.Image, form: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def png_header(width: int, height: int) -> bytes:
    """A valid PNG of so many claimed pixels that holds none."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def difference(found: Decoded, expected: Image.Image) -> float:
    return float(np.abs(found.rgb.astype(int) - np.asarray(expected.convert("RGB")).astype(int)).mean())


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "BMP", "TIFF", "PPM", "GIF", "AVIF", "JPEG2000"])
def test_formats(form: str) -> None:
    image = picture(1)
    found = decode(encoded(image, form))
    assert found.format == form
    assert found.rgb.shape == (64, 64, 3)
    assert found.rgb.dtype == np.uint8
    assert difference(found, image) < 12
    assert found.notes == ()


def test_a_path_and_its_bytes_agree(tmp_path: Path) -> None:
    data = encoded(picture(1), "PNG")
    (tmp_path / "a.png").write_bytes(data)
    by_path, by_text, by_bytes = decode(tmp_path / "a.png"), decode(str(tmp_path / "a.png")), decode(data)
    np.testing.assert_array_equal(by_path.rgb, by_bytes.rgb)
    np.testing.assert_array_equal(by_text.rgb, by_bytes.rgb)


@pytest.mark.parametrize("orientation", range(2, 9))
def test_exif_orientation_is_applied(orientation: int) -> None:
    from PIL import ImageOps

    stored = picture(3, 64, 32)
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(stored, "PNG", exif=exif)
    with Image.open(io.BytesIO(data)) as image:
        upright = ImageOps.exif_transpose(image)
    found = decode(data)
    assert found.notes == ("rotated",)
    np.testing.assert_array_equal(found.rgb, np.asarray(upright))


def test_orientation_values_that_mean_nothing_are_ignored() -> None:
    exif = Image.Exif()
    exif[0x0112] = 77
    assert decode(encoded(picture(3), "PNG", exif=exif)).notes == ()


def test_cmyk() -> None:
    image = picture(2)
    found = decode(encoded(image.convert("CMYK"), "JPEG", quality=95))
    assert found.notes == ("cmyk",)
    assert difference(found, image) < 12


def test_16_bit_grey() -> None:
    ramp = np.linspace(0, 65535, 64 * 64).reshape(64, 64).astype(np.uint16)
    found = decode(encoded(Image.fromarray(ramp), "PNG"))
    assert found.notes == ("16_bit",)
    np.testing.assert_allclose(found.rgb[..., 0], ramp / 257, atol=1)


def test_48_bit_png_is_noted() -> None:
    import cv2

    wide = (np.asarray(picture(4)).astype(np.uint16) * 257)[..., ::-1]
    found = decode(cv2.imencode(".png", wide)[1].tobytes())
    assert found.notes == ("16_bit",)
    assert difference(found, picture(4)) <= 1


def test_transparency_is_laid_on_white() -> None:
    clear = Image.new("RGBA", (32, 32), (0, 0, 0, 0))
    found = decode(encoded(clear, "PNG"))
    assert found.notes == ("alpha",)
    assert (found.rgb == 255).all()


def test_palette() -> None:
    image = picture(5).quantize(32)
    assert difference(decode(encoded(image, "PNG")), image) == 0


@pytest.mark.parametrize("form", ["GIF", "WEBP", "PNG", "TIFF"])
def test_of_an_animation_the_first_frame_counts(form: str) -> None:
    frames = [picture(i) for i in range(3)]
    options = {"lossless": True} if form == "WEBP" else {}
    found = decode(encoded(frames[0], form, save_all=True, append_images=frames[1:], **options))
    assert found.notes == ("first_frame",)
    assert difference(found, frames[0]) < 12


def test_a_draft_is_optional_and_noted() -> None:
    data = encoded(picture(1, 512, 512), "JPEG", quality=95)
    assert decode(data).rgb.shape == (512, 512, 3)
    small = decode(data, enough_px=100)
    assert small.rgb.shape == (128, 128, 3)
    assert small.notes == ("draft",)
    assert decode(data, enough_px=400).rgb.shape == (512, 512, 3)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"hello, I am text", "not_an_image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "not_an_image"),  # Pillow would start a program for it
        (encoded(picture(1), "JPEG")[:300], "damaged"),
        (encoded(picture(1), "PNG")[:300], "damaged"),
        (encoded(picture(1), "WEBP")[:100], "damaged"),
        (encoded(picture(1, 8, 8), "PNG"), "too_small"),
        (png_header(40_000, 20), "too_large"),
        (png_header(30_000, 30_000), "too_large"),
        (png_header(2**31 - 1, 2**31 - 1), "too_large"),
        (png_header(64, 64), "damaged"),
    ],
)
def test_what_cannot_be_read_says_why(data: bytes, reason: str) -> None:
    with pytest.raises(ImageFileError, match=r"photos/x\.jpg") as caught:
        decode(data, where="photos/x.jpg")
    assert caught.value.reason == reason
    assert isinstance(caught.value, InputError)


def test_limits_of_the_caller(tmp_path: Path) -> None:
    data = encoded(picture(1), "PNG")
    (tmp_path / "a.png").write_bytes(data)
    for source in (data, tmp_path / "a.png"):
        with pytest.raises(ImageFileError) as caught:
            decode(source, max_bytes=len(data) - 1)
        assert caught.value.reason == "file_too_large"
        decode(source, max_bytes=len(data), max_pixels=64 * 64)
        with pytest.raises(ImageFileError) as caught:
            decode(source, max_pixels=64 * 64 - 1)
        assert caught.value.reason == "too_large"


@pytest.mark.parametrize("name", ["none.png", "folder"])
def test_a_path_without_a_file(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(ImageFileError, match=name) as caught:
        decode(tmp_path / name)
    assert caught.value.reason == "missing"


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("name", "reason"), [("/dev/zero", "not_an_image"), ("a\0b.png", "missing")])
def test_what_is_no_file_is_not_read(name: str, reason: str) -> None:
    with pytest.raises(ImageFileError) as caught:
        decode(Path(name))
    assert caught.value.reason == reason


@pytest.mark.parametrize(("side", "reason"), [(400, "too_large"), (8, "too_small")])
def test_an_icon_that_holds_another_size_than_it_says(side: int, reason: str) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (side, side)).save(buffer, "PNG")
    png = buffer.getvalue()
    head = b"\0\0\1\0\1\0" + bytes([32, 32, 0, 0, 1, 0, 32, 0]) + struct.pack("<II", len(png), 22)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's own, about the size
        with pytest.raises(ImageFileError) as caught:
            decode(head + png, max_pixels=64 * 64)
    assert caught.value.reason == reason


def test_pillows_own_limit_is_neither_used_nor_changed() -> None:
    before, filters = Image.MAX_IMAGE_PIXELS, list(warnings.filters)
    Image.MAX_IMAGE_PIXELS = 100
    try:
        assert decode(encoded(picture(1), "PNG")).rgb.shape == (64, 64, 3)  # neither an error nor a warning
        assert Image.MAX_IMAGE_PIXELS == 100
        assert warnings.filters == filters
    finally:
        Image.MAX_IMAGE_PIXELS = before


@pytest.mark.filterwarnings("ignore:Corrupt EXIF:UserWarning")
def test_a_broken_exif_block_is_no_reason_to_lose_a_picture() -> None:
    data = encoded(picture(1), "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + b"\x12\x01" * 4)
    assert decode(data).rgb.shape == (64, 64, 3)


def test_sniff_needs_few_bytes() -> None:
    for form in ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "AVIF", "PPM"):
        assert sniff(encoded(picture(1), form)[:32]) == form
    assert sniff(b"") is None


def test_a_jpeg_of_endless_scans_is_refused_before_it_keeps_a_decoder_busy() -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64)).save(buffer, "JPEG", progressive=True)
    data = buffer.getvalue()
    assert measure(data) == 64 * 64
    scan = data.index(b"\xff\xda")
    end = data.index(b"\xff", scan + 14)
    bomb = data[:scan] + data[scan:end] * 200 + data[end:]
    assert measure(bomb) == 64 * 64
    with pytest.raises(ImageFileError, match="scans") as refused:
        decode(bomb)
    assert refused.value.reason == "damaged"
    assert decode(data).rgb.shape == (64, 64, 3)


@pytest.mark.parametrize("data", [b"", b"no picture", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n" + bytes(20)])
def test_what_is_no_picture_has_no_pixels(data: bytes) -> None:
    assert measure(data) == 0
