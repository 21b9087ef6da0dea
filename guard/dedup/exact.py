"""References that are the same to the last bit: of the file, or of the decoded pixels. Knows records; no pictures."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from guard.indexes.cluster_rows import Ids
from guard.types import Record

__all__ = ["exact_groups"]

_KEY = 16  # bytes of a digest that are kept


def exact_groups(records: Iterable[Record], count: int) -> Ids:
    """(count,) by id: the smallest id with the same bytes or pixels; -1 for ids that are not among the records.

    Of embeddings, and in an index of an older version, the pixels are not known: then the bytes alone count.
    """
    parent = [-1] * count
    first: dict[bytes, int] = {}

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    for record in records:
        parent[record.id] = record.id
        for digest in (record.sha256, record.pixels_sha256):
            key = _key(digest)
            if key is None:
                continue
            one, other = root(first.setdefault(key, record.id)), root(record.id)
            parent[max(one, other)] = min(one, other)
    return np.array([root(i) if parent[i] >= 0 else -1 for i in range(count)], np.int64)


def _key(digest: str) -> bytes | None:
    """None for what is no SHA-256: the table of embeddings that were made elsewhere may hold anything."""
    try:
        key = bytes.fromhex(digest)
    except ValueError:
        return None
    return key[:_KEY] if len(key) == 32 else None
