"""Candidates of several rows that stand for one thing -> the best of each. Knows ids and similarities alone."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["best_of_each"]


def best_of_each(
    ids: npt.NDArray[np.int64], similarity: npt.NDArray[np.float32], k: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """(n, c) candidates of n queries -> (n, k): each id once, at its best, nearest first.

    ids: -1 for none; too few: -1 and -inf at the end.
    """
    n = len(ids)
    best_ids = np.full((n, k), -1, np.int64)
    best = np.full((n, k), -np.inf, np.float32)
    for row in range(n):
        order = np.argsort(-similarity[row], kind="stable")
        _, first = np.unique(ids[row, order], return_index=True)
        chosen = [c for c in order[np.sort(first)] if ids[row, c] >= 0][:k]
        best_ids[row, : len(chosen)] = ids[row, chosen]
        best[row, : len(chosen)] = similarity[row, chosen]
    return best_ids, best
