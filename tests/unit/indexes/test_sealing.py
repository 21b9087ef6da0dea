"""Sealed thumbnails: opened by their key alone, bound to their picture, carried along, shown to nobody else."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest

from guard import Guard
from guard.errors import ConfigError, IndexLoadError
from guard.indexes import Overlay, build_index, open_index, open_overlaid
from guard.indexes.builder import add_to_index
from guard.indexes.edit import merge_indexes, remove_from_index
from guard.indexes.sealing import SealingKey, key_from, read_key
from guard.indexes.verify import verify_index
from guard.optout.additions import add_pictures
from guard.sources import open_source
from tests.support.references import photo_folder
from tests.support.toys import ToyEmbedder, picture

KEY, OTHER = SealingKey(bytes(range(32))), SealingKey(bytes(32))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return photo_folder(tmp_path / "photos", 5)


@pytest.fixture
def sealed(tmp_path: Path, photos: Path) -> Path:
    build_index(photos, tmp_path / "x.index", ToyEmbedder(), key=KEY)
    return tmp_path / "x.index"


def plain(tmp_path: Path, photos: Path) -> list[bytes | None]:
    build_index(photos, tmp_path / "plain.index", ToyEmbedder())
    with open_index(tmp_path / "plain.index") as index:
        return [index.thumbnail(i) for i in range(len(index))]


def holds_a_picture(folder: Path) -> bool:
    return any(b"\xff\xd8\xff" in file.read_bytes() for file in folder.rglob("*") if file.is_file())


def test_a_key_seals_and_opens() -> None:
    one, again = KEY.seal(b"data", "ab"), KEY.seal(b"data", "ab")
    assert one != again  # a nonce of its own each time
    assert KEY.open(one, "AB") == b"data"
    changed = bytes([*one[:-1], one[-1] ^ 1])
    for key, data, name in ((OTHER, one, "ab"), (KEY, one, "cd"), (KEY, changed, "ab"), (KEY, b"\xff\xd8", "ab")):
        with pytest.raises(IndexLoadError, match="cannot be opened"):
            key.open(data, name)
    assert KEY.pseudonym("a/b.png") == KEY.pseudonym("a/b.png") != OTHER.pseudonym("a/b.png")
    assert "secret" not in repr(KEY)


def test_keys_in_each_form(tmp_path: Path) -> None:
    file = tmp_path / "x.key"
    for data in (KEY.secret, KEY.secret.hex().encode() + b"\n", base64.b64encode(KEY.secret)):
        file.write_bytes(data)
        assert read_key(file) == KEY
    assert key_from(KEY.secret.hex()) == KEY
    file.write_bytes(b"too short")
    with pytest.raises(ConfigError, match=r"x\.key: this is no key: .*openssl"):
        read_key(file)
    with pytest.raises(ConfigError, match="cannot be read"):
        read_key(tmp_path / "none")


def test_nobody_sees_a_thumbnail_without_the_key(tmp_path: Path, photos: Path, sealed: Path) -> None:
    assert not holds_a_picture(sealed)
    shown = plain(tmp_path, photos)
    assert holds_a_picture(tmp_path / "plain.index")
    with open_index(sealed, key=KEY) as index:
        assert [index.thumbnail(i) for i in range(5)] == shown
        assert index.has_thumbnails
    with open_index(sealed) as index:
        assert [index.thumbnail(i) for i in range(5)] == [None] * 5
        assert not index.has_thumbnails
    with pytest.raises(ConfigError, match="another key"):
        open_index(sealed, key=OTHER)
    assert not any(finding.problem for finding in verify_index(sealed))


def test_sealed_thumbnails_are_carried_along(tmp_path: Path, photos: Path, sealed: Path) -> None:
    more = photo_folder(tmp_path / "more", 7, first=500)
    for wrong, said in ((None, "are sealed"), (OTHER, "another key")):
        with pytest.raises(ConfigError, match=said):
            add_to_index(more, sealed, ToyEmbedder(), key=wrong)
    add_to_index(more, sealed, ToyEmbedder(), key=KEY)
    remove_from_index(sealed, ids=[0])
    with open_index(sealed, key=KEY) as index:
        assert [(index.thumbnail(i) or b"")[:2] for i in range(len(index))] == [b"\xff\xd8"] * 11
    plain(tmp_path, photos)
    with pytest.raises(ConfigError, match="not sealed with one key"):
        merge_indexes(sealed, tmp_path / "plain.index", tmp_path / "z.index")
    merge_indexes(sealed, sealed, tmp_path / "z.index", duplicates=True)
    with open_index(tmp_path / "z.index", key=KEY) as index:
        assert (index.thumbnail(21) or b"")[:2] == b"\xff\xd8"
    assert not holds_a_picture(tmp_path / "z.index")


def test_a_build_with_another_key_is_another_build(tmp_path: Path, photos: Path, sealed: Path) -> None:
    assert build_index(photos, sealed, ToyEmbedder(), key=KEY).unchanged
    assert not build_index(photos, sealed, ToyEmbedder(), key=OTHER).unchanged
    build_index(photos, tmp_path / "none.index", ToyEmbedder(), key=KEY, thumbnails=0)
    with open_index(tmp_path / "none.index") as index:
        assert index.manifest.sealed is None


def test_what_is_added_to_the_overlay_is_sealed_too(tmp_path: Path, sealed: Path) -> None:
    artist = photo_folder(tmp_path / "artist", 8)
    source: Any = open_source(artist / "0007.jpg")
    add_pictures(sealed, source, ToyEmbedder(), ("opt-out",), who="anna", key=KEY)
    assert not holds_a_picture(sealed)
    with open_overlaid(sealed, key=KEY) as index:
        (added,) = index.search(ToyEmbedder().embed(_batch(7)), 1).ids[0]
        assert (index.thumbnail(int(added)) or b"")[:2] == b"\xff\xd8"
    with open_overlaid(sealed) as index:
        assert index.thumbnail(int(added)) is None
    Overlay(sealed).withdraw([one.key for one in Overlay(sealed).memberships()], who="anna")
    add_pictures(sealed, source, ToyEmbedder(), ("opt-out",), who="anna")  # without the key: without a thumbnail
    assert not holds_a_picture(sealed)


def test_a_guard_that_must_compare_pixels_asks_for_the_key(tmp_path: Path, sealed: Path) -> None:
    options: Any = {"embedder": ToyEmbedder(), "verify": True}
    with pytest.raises(ConfigError, match="index_key_file"):
        Guard.open(sealed, **options)
    (tmp_path / "x.key").write_text(KEY.secret.hex(), encoding="ascii")
    for key in ({"index_key_file": tmp_path / "x.key"}, {"index_key": KEY.secret.hex()}):
        (verdict,) = Guard.open(sealed, **options, **key).check([picture(3)])
        assert verdict.verified
        assert verdict.matches[0].evidence is not None
    assert Guard.open(sealed, embedder=ToyEmbedder()).check([picture(3)])[0].matches
    with pytest.raises(ConfigError, match="no key"):
        Guard.open(sealed, **options, index_key="short")


def _batch(seed: int) -> Any:
    from guard.pixels import to_batch

    return to_batch(picture(seed))
