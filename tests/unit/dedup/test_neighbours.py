"""Near pairs against all pairs, one by one."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from guard.dedup.neighbours import NEAREST, Method, Pairs, near_bits, near_rows
from guard.embedders.pdq import packed_hash
from tests.support.photographs import photograph
from tests.support.references import unit_rows

METHODS: tuple[Method, ...] = ("exact", "approximate")


def as_set(pairs: Pairs) -> set[tuple[int, int]]:
    return set(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True))


def planted(n: int, dim: int, seed: int = 0) -> npt.NDArray[np.float32]:
    """Rows in pairs that are near, row i and row i + n."""
    first = unit_rows(n, dim, seed)
    second = first + 0.3 * unit_rows(n, dim, seed + 1)
    return np.concatenate([first, second / np.linalg.norm(second, axis=1, keepdims=True)]).astype(np.float32)


def test_rows_exactly() -> None:
    rows = planted(150, 16)
    cosines = rows @ rows.T
    expected = {(i, j) for i, j in zip(*np.nonzero(cosines >= 0.8), strict=True) if i < j}
    assert len(expected) >= 150
    assert as_set(near_rows(rows, np.arange(300), 0.8, method="exact")) == expected


def test_only_the_ids_that_are_asked_for() -> None:
    rows = planted(20, 8)
    ids = np.array([3, 5, 23, 39])
    assert as_set(near_rows(rows, ids, 0.9, method="exact")) == {(3, 23)}


def test_approximate_rows_find_nearly_all() -> None:
    rows = planted(4000, 64)
    found = as_set(near_rows(rows, np.arange(8000), 0.9, method="approximate"))
    assert len(found & {(i, i + 4000) for i in range(4000)}) >= 0.99 * 4000


@pytest.mark.parametrize("method", METHODS)
def test_bits_exactly(method: Method) -> None:
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 256, (400, 32), dtype=np.uint8)
    for i in range(100):  # 100 + i lies 31 bits from i, and 200 + i lies 32 bits away
        for far, at in ((31, 100 + i), (32, 200 + i)):
            bits = np.unpackbits(hashes[i])
            bits[rng.choice(256, far, replace=False)] ^= 1
            hashes[at] = np.packbits(bits)
    hashes[300:] = 0  # no hashes: near to nothing, and not to one another
    apart = np.bitwise_count(hashes[:300, None] ^ hashes[None, :300]).sum(axis=2, dtype=int)
    expected = {(i, j) for i, j in zip(*np.nonzero(apart <= 31), strict=True) if i < j}
    assert {(i, i + 100) for i in range(100)} <= expected
    assert as_set(near_bits(hashes, np.arange(400), 31, method=method)) == expected


def test_a_mirrored_picture_is_near() -> None:
    """On real photographs, with hashes as an index holds them."""
    names = ("astronaut", "coffee", "chelsea", "rocket", "camera", "immunohistochemistry")
    plain = [photograph(name) for name in names]
    pictures = [*plain, *(np.ascontiguousarray(one[:, ::-1]) for one in plain)]
    hashes = np.array([np.frombuffer(packed_hash(one) or bytes(32), np.uint8) for one in pictures])
    assert as_set(near_bits(hashes, np.arange(12), 31)) == {(i, i + 6) for i in range(6)}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("n", [0, 1])
def test_too_few_to_compare(method: Method, n: int) -> None:
    assert len(near_rows(unit_rows(n, 8), np.arange(n), 0.5, method=method)) == 0
    assert len(near_bits(np.ones((n, 32), np.uint8), np.arange(n), 31, method=method)) == 0


def test_many_copies_do_not_become_all_pairs() -> None:
    rows = np.repeat(unit_rows(1, 8), 500, axis=0)
    found = near_rows(rows, np.arange(500), 0.9, method="exact")
    assert len(found) <= 500 * NEAREST
    assert set(found.first) | set(found.second) == set(range(500))


def test_progress_ends_at_all() -> None:
    told: list[tuple[int, int]] = []
    near_rows(unit_rows(5000, 8), np.arange(5000), 0.9, on_progress=lambda *said: told.append(said))
    assert told[-1] == (5000, 5000)
    assert len(told) == 2


def test_pairs_of_either() -> None:
    one = Pairs(np.array([0, 2]), np.array([1, 3]))
    other = Pairs(np.array([2, 0]), np.array([3, 9]))
    assert as_set(one.also(other)) == {(0, 1), (0, 9), (2, 3)}
    assert len(one.also(other)) == 3
