"""What was prepared of a reference and came back from bytes: the same evidence, and no picture before it is needed."""

from __future__ import annotations

import numpy as np
import pytest

from guard.decode import decode
from guard.errors import InputError
from guard.indexes.preparation import thumbnail_of
from guard.pixels import RGBArray
from guard.verification.features import Prepared
from guard.verification.stored import pack, pack_thumbnail, restore
from guard.verification.verifier import PixelVerifier, SupportsStored
from tests.support.photographs import photograph


def never() -> RGBArray:
    raise AssertionError("the pixels were asked for")


def thumbnail(name: str = "astronaut") -> bytes:
    return thumbnail_of(photograph(name, 400), 256)


def test_what_comes_back_is_what_was_prepared() -> None:
    fresh = Prepared(decode(thumbnail()).rgb)
    again = restore(pack_thumbnail(thumbnail()), never)
    assert (again.width, again.height) == (fresh.width, fresh.height)
    assert again.has_keypoints
    np.testing.assert_array_equal(again.keypoints.points, fresh.keypoints.points)
    np.testing.assert_array_equal(again.keypoints.unit_rows(), fresh.keypoints.unit_rows())
    np.testing.assert_array_equal(again.keypoints.compact(), fresh.keypoints.compact())
    np.testing.assert_array_equal(again.plate(48), fresh.plate(48))
    with pytest.raises(AssertionError, match="asked for"):
        _ = again.rgb


@pytest.mark.parametrize("query", ["astronaut", "coffee"])
def test_the_evidence_is_the_same(query: str) -> None:
    verifier = PixelVerifier()
    assert isinstance(verifier, SupportsStored)
    pixels = decode(thumbnail()).rgb
    shown = np.ascontiguousarray(photograph(query, 320)[40:250, 30:260])
    again = verifier.restore(pack(Prepared(pixels)), lambda: pixels)
    assert verifier.verify(shown, again) == verifier.verify(shown, pixels)


def test_a_candidate_that_is_only_glanced_at_is_not_decoded() -> None:
    verifier = PixelVerifier()
    query = verifier.prepare(photograph("rocket", 320))
    pixels = [decode(thumbnail(name)).rgb for name in ("astronaut", "chelsea", "coffee", "camera", "coins", "rocket")]
    asked: list[int] = []

    def loader(i: int) -> RGBArray:
        asked.append(i)
        return pixels[i]

    stored = [
        verifier.restore(pack(Prepared(rgb)), lambda i=i: loader(i))  # type: ignore[misc]
        for i, rgb in enumerate(pixels)
    ]
    plain = [verifier.prepare(rgb) for rgb in pixels]
    order = list(verifier.shortlist(query, stored))
    assert asked == []
    assert order == list(verifier.shortlist(query, plain))
    assert order[0] == 5


def test_a_plain_and_a_tiny_picture_have_no_keypoints_and_come_back() -> None:
    for rgb in (np.full((64, 40, 3), 90, np.uint8), np.zeros((1, 1, 3), np.uint8)):
        again = restore(pack(Prepared(rgb)), lambda rgb=rgb: rgb)  # type: ignore[misc]
        assert len(again.keypoints) == 0
        assert again.keypoints.compact().shape == (0, 32)
        np.testing.assert_array_equal(again.rgb, rgb)


def test_bytes_that_were_not_packed_are_refused() -> None:
    whole = pack_thumbnail(thumbnail())
    for data in (b"", whole[:3], whole[:9], whole[:-1], whole + b"\0", whole[:4] + bytes(6) + whole[10:]):
        with pytest.raises(InputError, match="--keypoints"):
            restore(data, never)
    with pytest.raises(InputError, match="were not made by"):
        restore(b"\0\0\0\0" + whole[4:], never)


def test_a_picture_of_another_size_is_refused() -> None:
    again = restore(pack_thumbnail(thumbnail()), lambda: photograph("coffee", 100))
    with pytest.raises(InputError, match="px"):
        _ = again.rgb
