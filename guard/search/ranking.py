"""The nearest references that a filter accepts, and one order of two. Knows vectors and ids; no picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from guard.embedders.base import QueryDescriptors
from guard.indexes.best import best_of_each
from guard.search.holdings import Holdings

__all__ = ["fused", "nearest"]

AHEAD = 4  # times as many candidates as are wanted, before the filter
AT_MOST = 4096  # candidates that are looked at one by one; beyond, the filter is asked first
FEW = 8  # of so many references one at most: to compare those alone is cheaper than to scan all
_BLOCK = 1 << 14  # references compared at a time
FUSION = 60  # Cormack, Clarke and Buettcher 2009: reciprocal rank fusion


def nearest(
    holdings: Holdings, query: QueryDescriptors, k: int, among: npt.NDArray[np.int64] | None = None
) -> dict[int, float]:
    """Return the k accepted references that are nearest to any of its views, nearest first: id -> similarity.

    query: of one picture. among: ids that alone may be found; those are accepted already.
    Exact: a filter that accepts few references costs a look at those few.
    """
    if among is not None and len(among) <= max(AT_MOST, len(holdings.index) // FEW):
        return _compared(holdings, query, k, among)
    if among is None and not holdings.where:
        return _searched(holdings, query, k)
    wanted = k * AHEAD
    if among is not None:  # how many of all it takes until k of these are among them is known beforehand
        wanted = wanted * len(holdings.index) // len(among)
    while wanted <= max(AT_MOST, k):
        found = _searched(holdings, query, wanted)
        accepted = holdings.accepted(list(found)) if among is None else _members(list(found), among)
        if len(accepted) >= k or len(found) < wanted:
            return {i: found[i] for i in accepted[:k]}
        wanted *= AHEAD
    return _compared(holdings, query, k, holdings.ids() if among is None else among)


def fused(ranks: Sequence[Mapping[int, float]]) -> list[int]:
    """Ids by the sum of 1 / (60 + rank) over the orders, in which each begins with its best; highest sum first."""
    total: dict[int, float] = {}
    for order in ranks:
        for rank, i in enumerate(order, 1):
            total[i] = total.get(i, 0.0) + 1 / (FUSION + rank)
    return sorted(total, key=lambda i: (-total[i], i))


def _members(ids: list[int], among: npt.NDArray[np.int64]) -> list[int]:
    return [i for i, there in zip(ids, np.isin(ids, among), strict=True) if there]


def _searched(holdings: Holdings, query: QueryDescriptors, k: int) -> dict[int, float]:
    found = holdings.index.search(query.vectors[0], k)
    ids, similarity = best_of_each(found.ids.reshape(1, -1), query.counted(found.similarity).reshape(1, -1), k)
    return {int(i): float(s) for i, s in zip(ids[0], similarity[0], strict=True) if i >= 0}


def _compared(holdings: Holdings, query: QueryDescriptors, k: int, among: npt.NDArray[np.int64]) -> dict[int, float]:
    similarity = np.full(len(among), -np.inf, np.float32)
    for at in range(0, len(among), _BLOCK):
        some = among[at : at + _BLOCK]
        of_views = query.counted(holdings.index.similarity(query.vectors[0], some.tolist()))
        similarity[at : at + _BLOCK] = of_views.max(axis=0)
    order = np.argsort(-similarity, kind="stable")[:k]
    return dict(zip(among[order].tolist(), similarity[order].tolist(), strict=True))
