"""Descriptors and hashes of some images -> the references that each may be a copy of. Knows an index; no threshold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt

from guard.identical import join
from guard.indexes.best import best_of_each
from guard.types import Match

if TYPE_CHECKING:
    from guard.embedders.base import QueryDescriptors
    from guard.identical import Hashed
    from guard.indexes.base import Index

__all__ = ["at_this_moment", "look_up", "nearest_input"]


def at_this_moment(index: Index) -> Index:
    """What a check asks from its beginning to its end, whatever is written into the index's overlay meanwhile.

    Raises IndexLoadError for an overlay that cannot be read.
    """
    now = getattr(index, "now", None)
    return index if now is None else cast("Index", now())


def look_up(index: Index, query: QueryDescriptors, hashed: Hashed | None, k: int) -> list[list[Match]]:
    """Candidates of each image, most similar first: at most k by descriptor, and those that are identical by hash.

    query: vectors (n, views, dim). hashed: None where hashes are not asked.
    """
    n, views, dim = query.vectors.shape
    found = index.search(query.vectors.reshape(n * views, dim), k)
    ids, similarity = found.ids, found.similarity
    if views > 1:
        ids, similarity = best_of_each(ids.reshape(n, -1), similarity.reshape(n, -1), k)
    candidates = join(hashed, query.vectors, ids, similarity, k)
    wanted = sorted({candidate.id for of_image in candidates for candidate in of_image})
    records = dict(zip(wanted, index.records(wanted), strict=True))
    return [[Match(records[c.id], c.similarity, c.bits) for c in of_image] for of_image in candidates]


def nearest_input(index: Index, query: QueryDescriptors, own: Any) -> npt.NDArray[np.float32]:
    """Best similarity of any view of each image to any of the caller's inputs, as if those stood in the index: (n,).

    own: (m, dim) descriptors of the inputs, m >= 1, an array or a tensor.
    """
    n, views, dim = query.vectors.shape
    flat: Any = query.vectors.reshape(n * views, dim)
    compare = getattr(index, "compare", None)
    near = _array(flat) @ _array(own).T if compare is None else compare(flat, own)
    best: npt.NDArray[np.float32] = near.reshape(n, -1).max(axis=1)
    return best


def _array(rows: Any) -> npt.NDArray[np.float32]:
    return rows if isinstance(rows, np.ndarray) else rows.detach().float().cpu().numpy()
