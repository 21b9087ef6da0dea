"""Damaged and hostile pictures in a source: each is indexed or listed with its reason, none ends a build."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from guard.decode import ImageFileError, decode
from guard.embedders.registry import load_embedder
from guard.indexes.builder import build_index
from guard.indexes.store import open_index
from tests.support.references import jpeg, photo_folder
from tests.support.toys import picture
from tests.unit.test_decode import encoded, png_header

# Pillow warns about some of the damage below, through the process-wide `warnings`; users see it on stderr.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")


def test_a_folder_of_everything(tmp_path: Path) -> None:
    folder = photo_folder(tmp_path / "photos", 4)
    rotated = Image.Exif()
    rotated[0x0112] = 6
    kept = {
        "animated.gif": encoded(picture(10), "GIF", save_all=True, append_images=[picture(11)]),
        "cmyk.jpg": encoded(picture(12).convert("CMYK"), "JPEG"),
        "grey16.png": encoded(Image.fromarray(np.asarray(picture(13).convert("L")).astype(np.uint16) * 257), "PNG"),
        "no_suffix": jpeg(16),
        "rotated.jpg": encoded(picture(14, 96, 64), "JPEG", exif=rotated),
        "wrong_suffix.png": jpeg(15),
    }
    lost = {
        "bomb.png": (png_header(30_000, 30_000), "too_large"),
        "corrupt.png": (encoded(picture(1), "PNG")[:200] + bytes(2000), "damaged"),
        "empty.jpg": (b"", "empty"),
        "heic.heic": (b"\0\0\0\x18ftypheic" + bytes(64), "not_an_image"),
        "text.jpg": (b"404 Not Found", "not_an_image"),
        "tiny.png": (encoded(picture(1, 4, 4), "PNG"), "too_small"),
        "truncated.jpg": (jpeg(2)[:-400], "damaged"),
    }
    for name, data in kept.items():
        (folder / name).write_bytes(data)
    for name, (data, _) in lost.items():
        (folder / name).write_bytes(data)
    (folder / "dangling.jpg").symlink_to("nowhere.jpg")
    (folder / "notes.txt").write_text("no picture")
    report = build_index(folder, tmp_path / "x.index", load_embedder("pdq"), thumbnails=32)
    with open_index(tmp_path / "x.index") as index:
        uris = [record.uri for record in index.records(range(len(index)))]
        listed = (index.folder / "skipped.jsonl").read_text(encoding="utf-8").splitlines()
    assert uris == sorted([*(f"{i:04d}.jpg" for i in range(4)), *kept])
    reasons = {line["uri"]: line["reason"] for line in map(json.loads, listed)}
    assert reasons == {"dangling.jpg": "missing", **{name: reason for name, (_, reason) in lost.items()}}
    assert report.count + sum(report.skipped.values()) == 4 + len(kept) + len(lost) + 1
    assert report.notes == {"16_bit": 1, "cmyk": 1, "first_frame": 1, "rotated": 1}
    assert report.ignored == 1


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "AVIF", "JPEG2000", "PPM", "ICO"])
def test_random_damage_is_read_or_refused(form: str) -> None:
    """Whatever the bytes: a picture within the limits, or an ImageFileError; never another exception."""
    whole = np.frombuffer(encoded(picture(1), form), np.uint8)
    rng = np.random.default_rng(0)
    for _ in range(60):
        damaged = whole.copy()
        places = rng.integers(0, min(len(whole), 400), rng.integers(1, 8))
        damaged[places] = rng.integers(0, 256, len(places))
        try:
            found = decode(damaged[: rng.integers(8, len(whole) + 1)].tobytes(), max_pixels=10**6)
        except ImageFileError:
            continue
        assert found.rgb.shape[0] * found.rgb.shape[1] <= 10**6
        assert found.rgb.dtype == np.uint8


def test_a_picture_that_the_embedder_cannot_take_is_listed(tmp_path: Path) -> None:
    from guard.embedders.base import EmbedderSpec
    from guard.errors import CheckError
    from guard.pixels import ImageBatch
    from guard.types import Descriptors
    from tests.support.toys import ToyEmbedder

    class Picky:
        """Has weights, so that it is given whole groups; takes nothing that is black."""

        spec = EmbedderSpec("picky", 192, 8, "box 8", "aa")

        def embed(self, batch: ImageBatch) -> Descriptors:
            if any(array.max() == 0 for array in batch.as_arrays()):
                raise CheckError(stage="embed", reason="black")
            return ToyEmbedder().embed(batch)

    folder = photo_folder(tmp_path / "photos", 5)
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64)).save(buffer, "PNG")
    (folder / "0002a.png").write_bytes(buffer.getvalue())
    report = build_index(folder, tmp_path / "x.index", Picky(), thumbnails=0)
    assert report.skipped == {"embed_failed": 1}
    assert report.count == 5
    only = tmp_path / "black"
    only.mkdir()
    (only / "a.png").write_bytes(buffer.getvalue())
    (only / "b.png").write_bytes(buffer.getvalue())
    with pytest.raises(CheckError):  # the embedder is what is broken
        build_index(only, tmp_path / "y.index", Picky())
