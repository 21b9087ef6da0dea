"""Distances of pictures in pixels, all against all, as sums of products. Knows uint8 stacks; no model and no threshold.

|a - b|^2 = |a|^2 + |b|^2 - 2ab, so that BLAS does the work. The mean picture is taken off first: a distance does not
change, and what float32 would lose to cancellation shrinks with the values. Pixels are converted a strip at a time, so
that memory grows with n^2 and with the strip, never with n^2 times the size of a picture.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import numpy.typing as npt

__all__ = ["TILES", "Distances", "Pictures", "rms_between", "tiled_between", "tiled_pairwise"]

TILES = 4  # along each side: 16 in all; Carlini et al. 2023 (arXiv:2301.13188), section 4.2
STRIP_BYTES = 32 << 20  # of float32 pixels held at a time

Pictures = npt.NDArray[np.uint8]
"""(n, h, w, 3) RGB; may be mapped from a file."""
Distances = npt.NDArray[np.float32]
"""Root mean square difference on [0, 1]."""


def tiled_pairwise(pictures: Pictures, *, tiles: int = TILES, strip_bytes: int = STRIP_BYTES) -> Distances:
    """Return (n, n): the largest of tiles x tiles tiles' distances, for every pair of pictures.

    As Carlini et al. 2023, section 4.2, compare generations. Sides that tiles does not divide are cut as evenly as
    whole px allow; needs h, w >= tiles. n = 0 gives (0, 0). The diagonal is 0. Within 1e-4 of exact arithmetic.
    strip_bytes: of float32 pixels held at a time.
    """
    n, height, width = pictures.shape[:3]
    worst = np.zeros((n, n), np.float64)
    for rows, columns in _tiles(height, width, tiles):
        np.maximum(worst, _mean_squares(pictures[:, rows, columns], strip_bytes=strip_bytes), out=worst)
    np.fill_diagonal(worst, 0)
    return _distances(worst)


def tiled_between(a: Pictures, b: Pictures, *, tiles: int = TILES) -> Distances:
    """Return (len(a), len(b)) tiled distances of pictures of one size; see tiled_pairwise."""
    worst = np.zeros((len(a), len(b)), np.float64)
    for rows, columns in _tiles(a.shape[1], a.shape[2], tiles):
        np.maximum(worst, _mean_squares(a[:, rows, columns], b[:, rows, columns]), out=worst)
    return _distances(worst)


def rms_between(a: Pictures, b: Pictures) -> Distances:
    """Return (len(a), len(b)) distances of whole pictures of one size (Carlini et al. 2023, section 4.1)."""
    return _distances(_mean_squares(a, b))


def _distances(mean_squares: npt.NDArray[np.float64]) -> Distances:
    return (np.sqrt(mean_squares) / 255).astype(np.float32)


def _tiles(height: int, width: int, tiles: int) -> Iterator[tuple[slice, slice]]:
    rows, columns = (np.linspace(0, side, tiles + 1).round().astype(int).tolist() for side in (height, width))
    for top, bottom in pairwise(rows):
        for left, right in pairwise(columns):
            yield slice(top, bottom), slice(left, right)


def _mean_squares(a: Pictures, b: Pictures | None = None, *, strip_bytes: int = STRIP_BYTES) -> npt.NDArray[np.float64]:
    """(n, m) mean square differences in levels of 255; of a with itself if b is None."""
    n, m = len(a), len(a if b is None else b)
    products = np.zeros((n, m), np.float64)
    if n == 0 or m == 0:
        return products
    squares_a, squares_b = np.zeros(n, np.float64), np.zeros(m, np.float64)
    for strip in _strips(a.shape, n if b is None else n + m, strip_bytes):
        x = a[:, strip].reshape(n, -1).astype(np.float32)
        centre = x.mean(axis=0)
        x -= centre
        if b is None:
            products += x @ x.T  # of one array with itself: BLAS computes one half
            continue
        y = b[:, strip].reshape(m, -1).astype(np.float32)
        y -= centre
        products += x @ y.T
        squares_a += np.einsum("ij,ij->i", x, x)
        squares_b += np.einsum("ij,ij->i", y, y)
    if b is None:
        squares_a = squares_b = products.diagonal()
    values = max(int(np.prod(a.shape[1:])), 1)
    summed = squares_a[:, None] + squares_b[None, :] - 2 * products
    return np.maximum(summed, 0) / values


def _strips(shape: tuple[int, ...], pictures: int, strip_bytes: int) -> Iterator[slice]:
    """Slices of rows whose float32 pixels of all the pictures fit into strip_bytes; one row at least."""
    height, width, channels = shape[1:4]
    step = max(1, strip_bytes // max(4 * pictures * width * channels, 1))
    for top in range(0, height, step):
        yield slice(top, min(top + step, height))
