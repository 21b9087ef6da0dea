from __future__ import annotations

import tracemalloc
from itertools import pairwise

import numpy as np
import pytest

from guard.audit.distance import TILES, Pictures, rms_between, tiled_between, tiled_pairwise


def slow_tiled(a: Pictures, b: Pictures, tiles: int = TILES) -> np.ndarray:
    """Pair by pair and tile by tile, in float64."""
    out = np.zeros((len(a), len(b)))
    rows, columns = (np.linspace(0, side, tiles + 1).round().astype(int) for side in a.shape[1:3])
    for i, x in enumerate(a.astype(np.float64) / 255):
        for j, y in enumerate(b.astype(np.float64) / 255):
            out[i, j] = max(
                np.sqrt(np.square(x[t:u, v:w] - y[t:u, v:w]).mean())
                for t, u in pairwise(rows)
                for v, w in pairwise(columns)
            )
    return out


def drawn(n: int, height: int, width: int, seed: int = 0) -> Pictures:
    return np.random.default_rng(seed).integers(0, 256, (n, height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize(("height", "width"), [(16, 16), (17, 30), (4, 5)])
@pytest.mark.parametrize("strip_bytes", [1, 3_000, 1 << 25])
def test_pairwise_is_the_slow_answer(height: int, width: int, strip_bytes: int) -> None:
    pictures = drawn(7, height, width)
    found = tiled_pairwise(pictures, strip_bytes=strip_bytes)
    np.testing.assert_allclose(found, slow_tiled(pictures, pictures), atol=1e-4)
    assert (found.diagonal() == 0).all()
    assert (found == found.T).all()


def test_near_pairs_keep_their_digits() -> None:
    """What is subtracted is a thousand times the difference: the mean picture is taken off for this."""
    first = drawn(1, 64, 64)[0]
    pictures = np.stack([np.clip(first.astype(int) + step, 0, 255).astype(np.uint8) for step in (0, 0, 1, 2)])
    found = tiled_pairwise(pictures)
    np.testing.assert_allclose(found, slow_tiled(pictures, pictures), atol=2e-4)
    assert found[0, 1] < 1e-4


def test_one_tile_is_the_plain_distance() -> None:
    a, b = drawn(3, 12, 20), drawn(4, 12, 20, seed=1)
    np.testing.assert_allclose(rms_between(a, b), slow_tiled(a, b, tiles=1), atol=1e-4)
    np.testing.assert_allclose(tiled_between(a, b), slow_tiled(a, b), atol=1e-4)
    assert (tiled_between(a, b) >= rms_between(a, b) - 1e-6).all()


def test_a_difference_in_one_tile_counts_in_full() -> None:
    pictures = np.zeros((2, 16, 16, 3), np.uint8)
    pictures[1, :4, :4] = 255
    assert tiled_pairwise(pictures)[0, 1] == pytest.approx(1)
    assert rms_between(pictures[:1], pictures[1:])[0, 0] == pytest.approx(0.25)


def test_nothing_to_compare() -> None:
    none = np.zeros((0, 8, 8, 3), np.uint8)
    assert tiled_pairwise(none).shape == (0, 0)
    assert rms_between(none, drawn(2, 8, 8)).shape == (0, 2)
    assert tiled_between(drawn(2, 8, 8), none).shape == (2, 0)


def test_memory_is_that_of_a_strip() -> None:
    """All differences at once would be 64 x 64 x 128 x 128 x 3 floats: 800 MB."""
    pictures, strip = drawn(64, 128, 128), 1 << 20
    tracemalloc.start()
    tiled_pairwise(pictures, strip_bytes=strip)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 * strip + 64 * 64 * 8 * 10
