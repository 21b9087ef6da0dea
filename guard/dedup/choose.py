"""Which picture of a cluster stays. Knows records; a total order, so that every run chooses the same."""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from guard.indexes.cluster_rows import Ids
from guard.types import Record

__all__ = ["Keep", "caption_words", "chosen", "preferred"]

MOST_WORDS = 60  # of a caption that count: more than a text encoder reads

_NO_WORDS = re.compile(r"\S*(?:://|www\.|@)\S*|\S+\.(?:jpe?g|png|webp|gif|bmp|tiff?|avif)\b", re.IGNORECASE)
_WORD = re.compile(r"[^\W\d_]{2,}")


class Keep(StrEnum):
    """Ties are broken by the next rule, and at last by the smaller id, which came first in the source."""

    LARGEST = "largest"
    """Most pixels, then most bytes, then the best caption."""
    CAPTION = "caption"
    """The caption of the most words that differ, then the largest."""
    OLDEST = "oldest"
    """The earliest time of the file, those without one last; then the largest."""


def chosen(records: Iterable[Record], cluster: Ids, keep: Keep) -> Ids:
    """(count,) by id: the id that stays of each reference's cluster; -1 where nobody looked.

    records: of at least all that are in a cluster. cluster: (count,) see guard.indexes.cluster_rows.
    """
    best: dict[int, tuple[tuple[int, ...], int]] = {}
    for record in records:
        name = int(cluster[record.id])
        if name < 0:
            continue
        rank = preferred(record, keep)
        if name not in best or rank > best[name][0]:
            best[name] = rank, record.id
    stays: npt.NDArray[np.int64] = np.full(len(cluster), -1, np.int64)
    for i in np.flatnonzero(cluster >= 0):
        stays[i] = best[int(cluster[i])][1]
    return stays


def preferred(record: Record, keep: Keep) -> tuple[int, ...]:
    """A rank: the larger one stays. No two records have the same."""
    size = (record.width * record.height, record.file_bytes)
    words = caption_words(record.caption)
    if keep is Keep.CAPTION:
        return (words, *size, -record.id)
    if keep is Keep.OLDEST:
        return (-record.modified if record.modified else -(1 << 62), *size, words, -record.id)
    return (*size, words, -record.id)


def caption_words(caption: str) -> int:
    """How many different words a caption has, MOST_WORDS at most; addresses and file names are none."""
    words = {word.lower() for word in _WORD.findall(_NO_WORDS.sub(" ", caption))}
    return min(len(words), MOST_WORDS)
