"""What becomes of each picture of a source, once its duplicates are known. Knows records; copies no file."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from guard.errors import ConfigError
from guard.indexes.cluster_rows import Ids
from guard.indexes.selection import storable
from guard.indexes.staging import LEFT_OUT, read_skipped
from guard.indexes.store import OpenIndex
from guard.types import Record

__all__ = ["Applied", "Fate", "Fates"]


class Fate(StrEnum):
    STAYS = "stays"
    GOES = "goes"
    UNREADABLE = "unreadable"
    """The index lacks it, and says why."""


@dataclass(slots=True)
class Applied:
    """What was written to a new place; grows while that is done."""

    kept: int = 0
    dropped: int = 0
    unreadable: int = 0
    """Not written: what cannot be decoded is of no use in training. They are listed in skipped.jsonl."""
    linked: int = 0
    """Files of a folder that are second names of the originals."""
    copied: int = 0
    """Files, where the file system knows no second names; shards or tables that were written."""

    @property
    def pictures(self) -> int:
        """That were met so far."""
        return self.kept + self.dropped + self.unreadable

    def count(self, fate: Fate) -> None:
        if fate is Fate.STAYS:
            self.kept += 1
        elif fate is Fate.GOES:
            self.dropped += 1
        else:
            self.unreadable += 1


class Fates:
    def __init__(self, index: OpenIndex, stays: Ids) -> None:
        """stays: (count,) the id that stays for each reference, as guard.dedup.choose gives it; -1: nobody looked."""
        self._reader = index.reader
        ids = np.arange(len(stays))
        self._stays = (stays == ids) | (stays < 0)
        self._skipped = {storable(skip.uri) for skip in read_skipped(index.folder)}
        listed = read_skipped(index.folder, LEFT_OUT) if LEFT_OUT in index.manifest.files else []
        self._left_out = {storable(skip.uri) for skip in listed}
        self._met: Counter[str] = Counter()

    def of(self, uri: str, *, size: int, modified: int, data: Callable[[], bytes]) -> Fate:
        """Of the next picture of a source. size, modified: of the encoded bytes; data: reads them, where those differ.

        Raises ConfigError if the index does not know this picture: the source has changed since it was looked at.
        """
        records = self._reader.of_uri(uri)
        same = [r for r in records if modified and (r.file_bytes, r.modified) == (size, modified)]
        if records and not same:
            digest = hashlib.sha256(data()).hexdigest()
            same = [r for r in records if r.sha256 == digest]
        if not same:
            if storable(uri) in self._skipped:
                return Fate.UNREADABLE
            if storable(uri) in self._left_out:
                return Fate.GOES  # a reference of another name has its bytes
            raise ConfigError(f"{uri} is not what was looked at: the source has changed; look for duplicates again")
        return Fate.STAYS if self._stays[self._next(uri, same)] else Fate.GOES

    def stays(self, uri: str) -> bool:
        """True if any picture of this uri stays; False also of one that the index lacks."""
        return any(self._stays[record.id] for record in self._reader.of_uri(uri))

    def _next(self, uri: str, same: list[Record]) -> int:
        """One picture may stand under one uri several times: they are met in the order of their ids."""
        if len(same) == 1:
            return same[0].id
        met = self._met[uri]
        self._met[uri] += 1
        return same[min(met, len(same) - 1)].id
