"""Pairs of copies -> clusters around centres. Knows a graph and a question; no pictures.

Connected components alone chain: of a film's frames each is a copy of the next, and the first is none of the last.
Here a cluster is what a connected component holds around its best connected picture, and every member is a copy of
that one; what is not, is clustered for itself. So two members are never further apart than two copies.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from guard.dedup.neighbours import Pairs
from guard.indexes.cluster_rows import Ids

__all__ = ["Agrees", "clustered"]

Agrees = Callable[[int, Sequence[int]], Sequence[bool]]
"""(centre, others) -> which of the others are copies of the centre."""


def clustered(n: int, copies: Pairs, weight: npt.NDArray[np.int64], agrees: Agrees) -> Ids:
    """(n,) the centre of each node's cluster, its own of one that stands alone.

    copies: pairs of nodes that are known to be copies. weight: (n,) pictures that a node stands for. agrees: asked of a
    centre about nodes that are copies of its cluster's members and not known to be its own. Centres are chosen by their
    weight and that of their copies, smaller numbers first: the outcome does not depend on the order of the pairs.
    """
    near: dict[int, set[int]] = {}
    for one, other in zip(copies.first.tolist(), copies.second.tolist(), strict=True):
        near.setdefault(one, set()).add(other)
        near.setdefault(other, set()).add(one)
    weights = weight.tolist()
    centre = np.arange(n)
    free = set(near)
    queue = [(-_reach(node, near, free, weights), node) for node in near]
    heapq.heapify(queue)
    while queue:
        reach, node = heapq.heappop(queue)
        if node not in free:
            continue
        now = -_reach(node, near, free, weights)
        if now != reach:  # neighbours have gone to other clusters since
            heapq.heappush(queue, (now, node))
            continue
        members = _grown(node, near, free, agrees)
        centre[members] = node
        free.difference_update(members)
    return centre


def _reach(node: int, near: dict[int, set[int]], free: set[int], weights: list[int]) -> int:
    return int(weights[node]) + sum(weights[other] for other in near[node] if other in free)


def _grown(centre: int, near: dict[int, set[int]], free: set[int], agrees: Agrees) -> list[int]:
    """The centre, its free copies, and of their copies, and so on, those that are copies of the centre too."""
    members = {centre, *(near[centre] & free)}
    asked = set(members)
    fringe = members - {centre}
    while fringe:
        beyond = sorted({other for node in fringe for other in near[node] if other in free} - asked)
        asked.update(beyond)
        answers = agrees(centre, beyond) if beyond else ()
        fringe = {node for node, copy in zip(beyond, answers, strict=True) if copy}
        members |= fringe
    return sorted(members)
