"""Clusters around centres: chains fall apart, and every member is a copy of its centre."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from guard.dedup.neighbours import Pairs
from guard.dedup.stars import clustered


def pairs(*edges: tuple[int, int]) -> Pairs:
    ordered = sorted((min(e), max(e)) for e in edges)
    return Pairs(np.array([e[0] for e in ordered], np.int64), np.array([e[1] for e in ordered], np.int64))


def near(limit: int) -> object:
    """Numbers are copies of one another if they differ by no more than the limit."""

    def agrees(centre: int, others: Sequence[int]) -> list[bool]:
        return [abs(centre - other) <= limit for other in others]

    return agrees


def centres(n: int, copies: Pairs, agrees: object, weight: Sequence[int] | None = None) -> list[int]:
    weights = np.array(weight or [1] * n, np.int64)
    return clustered(n, copies, weights, agrees).tolist()  # type: ignore[arg-type]


def test_nobody_is_alone_with_a_copy() -> None:
    assert centres(5, pairs((0, 3), (1, 4)), near(0)) == [0, 1, 2, 0, 1]


def test_a_chain_falls_apart() -> None:
    chain = pairs(*((i, i + 1) for i in range(8)))
    assert centres(9, chain, near(1)) == [1, 1, 1, 4, 4, 4, 7, 7, 7]


def test_what_no_pair_says_is_asked() -> None:
    """Of a large cluster only near neighbours were looked up: the rest is found through them."""
    chain = pairs(*((i, i + 1) for i in range(8)))
    assert centres(9, chain, near(99)) == [1] * 9


def test_a_bridge_joins_no_two_groups() -> None:
    left, right = [(0, 1), (0, 2), (1, 2)], [(4, 5), (4, 6), (5, 6)]
    bridge = [(2, 3), (3, 4)]  # a template that is a copy of one of either

    def agrees(centre: int, others: Sequence[int]) -> list[bool]:
        known = {frozenset(edge) for edge in left + right + bridge}
        return [frozenset((centre, other)) in known for other in others]

    found = centres(7, pairs(*left, *right, *bridge), agrees)
    assert found == [2, 2, 2, 2, 4, 4, 4]


def test_the_weight_of_exact_copies_makes_a_centre() -> None:
    chain = pairs((0, 1), (1, 2), (2, 3))
    assert centres(4, chain, near(1)) == [1, 1, 1, 3]
    assert centres(4, chain, near(1), weight=[1, 1, 1, 50]) == [0, 2, 2, 2]


def test_nothing_is_asked_that_is_known() -> None:
    def never(centre: int, others: Sequence[int]) -> list[bool]:
        raise AssertionError((centre, others))

    assert centres(4, pairs((0, 1), (0, 2), (0, 3)), never) == [0, 0, 0, 0]


def test_the_order_of_pairs_does_not_matter() -> None:
    edges = [(0, 1), (1, 2), (2, 3), (3, 4), (4, 0), (2, 4)]
    first = pairs(*edges)
    turned = Pairs(first.first[::-1].copy(), first.second[::-1].copy())
    assert centres(5, first, near(1)) == centres(5, turned, near(1))
