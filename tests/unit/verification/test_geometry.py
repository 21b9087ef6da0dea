"""Matches that follow a known transform, among others that do not."""

from __future__ import annotations

import numpy as np
import pytest

from guard.verification.features import Keypoints, Prepared, quantised
from guard.verification.geometry import LEAST, align, plausible
from tests.support.photographs import photograph


def keypoints(points: np.ndarray, seed: int = 0) -> Keypoints:
    """Random descriptors: those of one seed match one another, in order."""
    rows = np.abs(np.random.default_rng(seed).normal(size=(len(points), 128)))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return Keypoints(np.float32(points), quantised(np.float32(rows)))


def places(n: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0, 250, (n, 2))


def test_a_transform_is_found_among_wrong_matches() -> None:
    matrix = np.array([[0.7, -0.2, 30.0], [0.15, 0.8, -12.0]])
    reference = places(120)
    query = reference @ matrix[:, :2].T + matrix[:, 2]
    query[60:] = places(60, seed=2)
    found = align(keypoints(query), keypoints(reference))
    assert found is not None
    np.testing.assert_allclose(found.matrix, matrix, atol=0.5)
    assert 40 <= found.inliers <= 75


def test_wrong_matches_alone_give_nothing_that_counts() -> None:
    found = align(keypoints(places(80)), keypoints(places(80, seed=2)))
    assert found is None or found.inliers < 8


def test_inliers_of_one_cell_count_once() -> None:
    reference = np.concatenate([places(4), 100 + np.random.default_rng(3).uniform(0, 4, (40, 2))])
    found = align(keypoints(reference), keypoints(reference))
    assert found is None or found.inliers <= 4 + 4  # 40 matches within 4 px touch at most four cells


def test_too_few_keypoints_align_nothing() -> None:
    few = keypoints(places(LEAST - 1))
    assert align(few, few) is None
    assert align(keypoints(np.empty((0, 2))), keypoints(places(50))) is None


def test_a_mirrored_picture_is_found_as_one() -> None:
    picture = photograph("chelsea")
    found = align(Prepared(np.ascontiguousarray(picture[:, ::-1])).keypoints, Prepared(picture).keypoints)
    assert found is not None
    assert np.linalg.det(found.matrix[:, :2]) < 0
    np.testing.assert_allclose(found.matrix, [[-1, 0, picture.shape[1] - 1], [0, 1, 0]], atol=1.0)
    assert found.inliers > 50


def test_the_same_pair_gives_the_same_answer() -> None:
    one, other = (
        Prepared(photograph("astronaut")[40:200, 30:220]).keypoints,
        Prepared(photograph("astronaut")).keypoints,
    )
    first, second = align(one, other), align(one, other)
    assert first is not None
    assert second is not None
    np.testing.assert_array_equal(first.matrix, second.matrix)


@pytest.mark.parametrize(
    ("linear", "fits"),
    [
        ([[1, 0], [0, 1]], True),
        ([[0.5, 0.5], [-0.5, 0.5]], True),
        ([[-1, 0], [0, 1]], True),
        ([[1, 0], [0, 0.2]], False),  # squeezed
        ([[0.01, 0], [0, 0.01]], False),  # a speck
        ([[20, 0], [0, 20]], False),
        ([[1, 1], [1, 1]], False),  # a line
        ([[np.nan, 0], [0, 1]], False),
    ],
)
def test_plausible(linear: list[list[float]], fits: bool) -> None:
    assert plausible(np.column_stack([np.array(linear, float), [0.0, 0.0]])) is fits
