"""Keypoints of one picture: their form, their place, and what a mirror does to them."""

from __future__ import annotations

import numpy as np

from guard.verification.features import KEYPOINTS, PIXELS_PX, Prepared, longest, mirrored
from tests.support.photographs import photograph


def test_large_pictures_are_kept_small_and_small_ones_as_they_are() -> None:
    wide = Prepared(np.tile(photograph("coffee"), (1, 5, 1)))
    assert (wide.width, wide.height) == (PIXELS_PX, round(PIXELS_PX * wide.height / wide.width))
    small = photograph("coffee", 100)
    np.testing.assert_array_equal(longest(small, 320), small)


def test_keypoints_lie_in_the_picture_and_have_unit_descriptors() -> None:
    prepared = Prepared(photograph("astronaut", 512))
    assert not prepared.has_keypoints
    found = prepared.keypoints
    assert prepared.has_keypoints
    assert 100 < len(found) <= KEYPOINTS + 10  # SIFT keeps ties
    assert found.descriptors.dtype == np.uint8
    assert (found.points >= -0.5).all()
    assert (found.points <= [prepared.width - 0.5, prepared.height - 0.5]).all()
    np.testing.assert_allclose(np.linalg.norm(found.unit_rows(), axis=1), 1, atol=1e-5)
    assert prepared.keypoints is found


def test_half_a_byte_a_value_keeps_what_tells_descriptors_apart() -> None:
    """Rows of one picture against those of the same picture with noise: the nearest is the same place."""
    picture = photograph("astronaut")
    noisy = np.clip(picture + np.random.default_rng(0).normal(0, 2, picture.shape), 0, 255).astype(np.uint8)
    one, other = Prepared(picture).keypoints, Prepared(noisy).keypoints
    cosine = one.unit_rows() @ other.unit_rows().T
    off = np.linalg.norm(one.points - other.points[cosine.argmax(axis=1)], axis=1)
    assert np.mean(off < 2) > 0.6


def test_mirrored_descriptors_are_those_of_the_mirrored_picture() -> None:
    picture = photograph("astronaut")
    plain, seen = Prepared(picture).keypoints, Prepared(np.ascontiguousarray(picture[:, ::-1])).keypoints
    points = plain.points * [-1, 1] + [picture.shape[1] - 1, 0]
    nearest = np.linalg.norm(seen.points[:, None] - points[None], axis=2).argmin(axis=1)
    same_place = np.linalg.norm(seen.points - points[nearest], axis=1) < 0.5
    assert same_place.sum() > 100
    as_mirrored = (seen.unit_rows() * mirrored(plain.unit_rows())[nearest]).sum(axis=1)[same_place]
    as_plain = (seen.unit_rows() * plain.unit_rows()[nearest]).sum(axis=1)[same_place]
    assert np.median(as_mirrored) > 0.95
    assert np.median(as_plain) < 0.85
    np.testing.assert_array_equal(mirrored(mirrored(plain.unit_rows())), plain.unit_rows())


def test_a_flat_picture_has_no_keypoints() -> None:
    found = Prepared(np.full((64, 64, 3), 90, np.uint8)).keypoints
    assert len(found) == 0
    assert found.unit_rows().shape == (0, 128)
