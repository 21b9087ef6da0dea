"""Which cluster of near-duplicates each reference is in, as numbers. Knows no file, and finds no duplicates.

A cluster is named by the smallest id of its members; -1: nobody has looked for duplicates of this reference.
"""

from __future__ import annotations

from datetime import datetime

import numpy as np
import numpy.typing as npt

from guard.indexes.manifest import ClustersEntry

__all__ = ["Ids", "clusters_entry", "sizes", "without_members", "wrong_name"]

Ids = npt.NDArray[np.int64]


def sizes(cluster: Ids) -> Ids:
    """(n,) how many references are in each one's cluster; 1 where nobody has looked."""
    known = cluster >= 0
    counts = np.bincount(cluster[known], minlength=len(cluster) + 1)
    return np.where(known, counts[cluster], 1)


def wrong_name(cluster: Ids) -> int | None:
    """The first id whose cluster is not named by the smallest id of its members; None if all are."""
    inside = (cluster >= -1) & (cluster <= np.arange(len(cluster)))
    named = inside & ((cluster < 0) | (cluster[np.where(inside, cluster, 0)] == cluster)) if len(cluster) else inside
    wrong = np.flatnonzero(~named)
    return int(wrong[0]) if len(wrong) else None


def without_members(cluster: Ids, gone: frozenset[int]) -> Ids:
    """(n, 2) cluster and size by old id, once some references are gone and the others have moved up.

    Names are new ids, which count those that stay; rows of those that are gone mean nothing.
    """
    stays = np.ones(len(cluster), np.bool_)
    stays[list(gone)] = False
    renumbered = np.cumsum(stays) - 1
    left = np.where(stays, cluster, -1)
    known = left >= 0
    first = np.full(len(cluster) + 1, len(cluster))
    np.minimum.at(first, left[known], renumbered[known])
    return np.column_stack([np.where(known, first[left], -1), sizes(left)])


def clusters_entry(cluster: Ids, method: str, found_at: datetime) -> ClustersEntry:
    """What a manifest says of these clusters."""
    counts = np.bincount(cluster[cluster >= 0])
    many = counts[counts > 1]
    return ClustersEntry(
        references=int((cluster >= 0).sum()),
        clusters=len(many),
        members=int(many.sum()),
        largest=int(counts.max(initial=0)),
        method=method,
        found_at=found_at,
    )
