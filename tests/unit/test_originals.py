"""Files in place of thumbnails: the same picture as would have been stored, and nothing that is not in the sources."""

from __future__ import annotations

import hashlib
import io
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from guard.indexes.builder import add_to_index, build_index
from guard.indexes.manifest import Manifest
from guard.indexes.moment import Moment
from guard.indexes.overlaid import open_overlaid
from guard.indexes.overlay import Overlay
from guard.indexes.sealing import SealingKey
from guard.indexes.store import open_index
from guard.originals import ORIGINAL_RESULTS, OriginalError, Originals, unread
from guard.sources import open_source
from guard.sources.private import PrivateSource
from guard.types import Record
from tests.support.overlays import addition
from tests.support.photographs import photograph
from tests.support.toys import ToyEmbedder, picture

TOY = ToyEmbedder()


@pytest.fixture
def training(tmp_path: Path) -> Path:
    folder = tmp_path / "training"
    (folder / "sub").mkdir(parents=True)
    Image.fromarray(photograph("coffee", 300)).save(folder / "a.png")
    Image.fromarray(photograph("chelsea", 300)).save(folder / "sub" / "b.jpg", quality=90)
    return folder


def originals(folder: Path, *uris: str, **record: object) -> tuple[Originals, Counter[str]]:
    """Of files that are there now; record: fields that the index has otherwise."""
    seen: Counter[str] = Counter()
    made = []
    for i, uri in enumerate(uris):
        file = folder / uri
        data = file.read_bytes() if "\0" not in uri and file.is_file() else b""
        known = {"sha256": hashlib.sha256(data).hexdigest(), "file_bytes": len(data), **record}
        made.append(Record(i, uri, **known))  # type: ignore[arg-type]
    return Originals([str(folder)], lambda i: made[i], on_read=lambda result: seen.update([result])), seen


def reason(found: Originals, reference: int = 0) -> str:
    with pytest.raises(OriginalError) as raised:
        found.thumbnail(reference)
    assert unread(raised.value) == str(raised.value)
    return raised.value.reason


def test_they_are_what_would_have_been_stored(training: Path, tmp_path: Path) -> None:
    build_index(training, tmp_path / "with.index", TOY)
    build_index(training, tmp_path / "without.index", TOY, thumbnails=0)
    with open_index(tmp_path / "with.index") as stored, open_overlaid(tmp_path / "without.index") as index:
        assert stored.manifest.folders == index.manifest.folders == (str(training),)
        found = Originals.of(index)
        assert found is not None
        assert found.there()
        assert [found.thumbnail(i) for i in range(2)] == [stored.thumbnail(i) for i in range(2)]


def test_a_large_jpeg_is_nearly_so(tmp_path: Path) -> None:
    rows, columns = np.mgrid[:2400, :2400]
    Image.fromarray(np.stack([rows // 10, columns // 10, (rows + columns) // 20], -1).astype(np.uint8)).save(
        tmp_path / "a.jpg", quality=95
    )
    build_index(tmp_path, tmp_path / "x.index", TOY)
    found, _ = originals(tmp_path, "a.jpg")
    with open_index(tmp_path / "x.index") as stored:
        both = [_levels(encoded) for encoded in (found.thumbnail(0), stored.thumbnail(0))]
    assert both[0].shape == both[1].shape == (256, 256, 3)
    assert np.abs(both[0] - both[1]).max() <= 6


def _levels(encoded: bytes | None) -> np.ndarray:
    assert encoded is not None
    return np.asarray(Image.open(io.BytesIO(encoded))).astype(int)


def test_read_once_and_kept_within_bounds(training: Path) -> None:
    found, seen = originals(training, "a.png", "sub/b.jpg")
    first = found.thumbnail(0)
    assert first is not None
    assert found.thumbnail(0) is first
    assert seen == {"read": 1}
    narrow = Originals(found.folders, found._record, on_read=lambda r: seen.update([r]), kept_bytes=len(first))
    for i in (0, 1, 0):
        narrow.thumbnail(i)
    assert seen == {"read": 4}


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("gone.png", "missing"),
        ("../secret.png", "outside"),
        ("link.png", "outside"),
        ("circle.png", "missing"),
        ("sub", "unreadable"),
        ("note.png", "unreadable"),
        ("a\0.png", "missing"),
        ("https://example.org/a.png", "remote"),
        ("file:///etc/hostname", "remote"),
    ],
)
def test_what_does_not_do_is_told_apart_and_counted(training: Path, uri: str, expected: str) -> None:
    picture(1).save(training.parent / "secret.png")
    (training / "link.png").symlink_to(training.parent / "secret.png")
    (training / "circle.png").symlink_to(training / "circle.png")
    (training / "note.png").write_text("no picture")
    found, seen = originals(training, uri)
    assert reason(found) == expected
    assert reason(found) == expected
    assert seen == {expected: 2}
    assert expected in ORIGINAL_RESULTS


def test_absolute_names_count_within_the_folder_alone(training: Path) -> None:
    picture(1).save(training.parent / "secret.png")
    found, _ = originals(training, str(training / "a.png"), str(training.parent / "secret.png"))
    assert found.thumbnail(0) is not None
    assert reason(found, 1) == "outside"


def test_a_link_within_the_folder_is_followed(training: Path) -> None:
    (training / "again.png").symlink_to(training / "a.png")
    found, _ = originals(training, "again.png")
    assert found.thumbnail(0) is not None


def test_only_the_bytes_that_were_indexed_are_decoded(training: Path) -> None:
    found, _ = originals(training, "a.png", "sub/b.jpg")
    picture(3, 300, 300).save(training / "a.png")
    data = bytearray((training / "sub/b.jpg").read_bytes())
    data[-100] ^= 1  # of the same size
    (training / "sub/b.jpg").write_bytes(data)
    assert [reason(found, i) for i in range(2)] == ["changed", "changed"]
    unknown, _ = originals(training, "a.png", sha256="")
    assert reason(unknown) == "changed"


def test_two_references_of_one_name(training: Path, tmp_path: Path) -> None:
    """The file was replaced, and the folder indexed once more: the older reference is gone, and hides no other."""
    build_index(training, tmp_path / "x.index", TOY, thumbnails=0)
    again = np.asarray(Image.open(training / "a.png")).copy()
    Image.fromarray(again[::-1].copy()).save(training / "a.png")
    add_to_index(training, tmp_path / "x.index", TOY)
    with open_index(tmp_path / "x.index") as index:
        found = Originals.of(index)
        assert found is not None
        assert found.folders == (str(training),)
        old, new = (record.id for record in index.reader.of_uri("a.png"))
        for _ in range(2):
            assert reason(found, old) == "changed"
            assert found.thumbnail(new) is not None


def test_a_file_that_comes_back_is_read_again(training: Path) -> None:
    found, seen = originals(training, "a.png")
    (training / "a.png").rename(training / "b.png")
    assert reason(found) == "missing"
    (training / "b.png").rename(training / "a.png")
    assert found.thumbnail(0) is not None
    assert seen == {"missing": 1, "read": 1}


def test_the_folder_whose_file_fits_counts(training: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    picture(5).save(other / "a.png")
    one, _ = originals(training, "a.png")
    both = Originals([str(other), str(tmp_path / "gone"), str(training)], one._record)
    assert both.thumbnail(0) == one.thumbnail(0)
    (training / "a.png").unlink()
    assert reason(Originals(both.folders, one._record)) == "changed"


@pytest.mark.parametrize(
    "fields", [{"width": 10_000, "height": 10_000}, {"file_bytes": 1 << 30}], ids=["pixels", "bytes"]
)
def test_what_a_check_cannot_decode_in_time_is_not_begun(training: Path, fields: dict[str, int]) -> None:
    found, _ = originals(training, "a.png", **fields)
    (training / "a.png").unlink()  # nobody looks
    assert reason(found) == "too_large"


def test_an_unreadable_folder(training: Path) -> None:
    found = Originals([str(training / "gone")], originals(training, "a.png")[0]._record)
    assert not found.there()
    assert reason(found) == "missing"


def test_which_indexes_know_where(training: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    picture(7, 200, 200).save(other / "c.png")
    assert open_source(training / "a.png").survey().folders == (str(training),)
    build_index(other, tmp_path / "sealed.index", TOY, key=SealingKey(bytes(32)))
    private = PrivateSource(open_source(other), lambda uri: "x" + uri)
    build_index(private, tmp_path / "private.index", TOY, thumbnails=0)
    for name in ("sealed", "private"):
        with open_index(tmp_path / f"{name}.index") as index:
            assert index.manifest.folders == ()
            assert Originals.of(index) is None
            assert str(other) not in Manifest.read(index.folder / "manifest.json").to_json()


def test_a_parquet_of_paths_knows_where_one_of_pictures_does_not(training: Path, tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"path": ["training/a.png", "../gone.png"]}), tmp_path / "paths.parquet")
    pq.write_table(pa.table({"image": [(training / "a.png").read_bytes()]}), tmp_path / "bytes.parquet")
    assert open_source(tmp_path / "bytes.parquet").survey().folders == ()
    build_index(tmp_path / "paths.parquet", tmp_path / "x.index", TOY, thumbnails=0)
    with open_index(tmp_path / "x.index") as index:
        found = Originals.of(index)
        assert found is not None
        assert found.folders == (str(tmp_path),)
        assert found.thumbnail(0) is not None


def test_what_was_added_to_the_overlay_names_no_file(training: Path, tmp_path: Path) -> None:
    """Whoever adds a reference says what its name is; that must not choose what is read."""
    build_index(training / "sub", tmp_path / "x.index", TOY, thumbnails=0)
    added = replace(addition(9, TOY), uri="b.jpg", thumbnail=None)
    Overlay(tmp_path / "x.index").add([added], ["opt-out"], who="test")
    with open_overlaid(tmp_path / "x.index") as index:
        found = Originals.of(index)
        assert found is not None
        moment = index.now()
        assert isinstance(moment, Moment)
        (new,) = moment.added
        assert new.uri == "b.jpg"
        assert found.thumbnail(new.id) is None
        assert found.thumbnail(-1) is None
