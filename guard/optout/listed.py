"""Marks of one picture -> entries of a do-not-train list that it meets. Knows a list in memory; reads no picture."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import numpy as np
import numpy.typing as npt

from guard.embedders.pdq import BITS, BLOCK_BITS, METHOD
from guard.optout.lists import ListEntry
from guard.optout.naming import plain_url

if TYPE_CHECKING:
    from guard.embedders.base import EmbedderSpec
    from guard.types import Descriptors

__all__ = ["DoNotTrain", "Meeting"]


@dataclass(frozen=True, slots=True)
class Meeting:
    """By what a picture meets an entry."""

    entry: ListEntry
    by: str
    """url, domain, sha256, pdq or descriptor."""
    bits: int | None = None
    """By pdq: how many of 256 differ, at most 31."""
    similarity: float | None = None
    """By descriptor: the cosine."""


class DoNotTrain:
    """A list that pictures are held against. Says what it needs to know of them, so that nothing else is computed."""

    def __init__(self, entries: Iterable[ListEntry], spec: EmbedderSpec | None = None) -> None:
        """spec: of the embedder at hand; descriptors of others are counted in `other_descriptors` and not compared."""
        found = list(entries)
        self.count = len(found)
        self._urls = {plain_url(entry.url): entry for entry in found if entry.url}
        self._domains = {entry.domain: entry for entry in found if entry.domain}
        self._sha256 = {entry.sha256: entry for entry in found if entry.sha256}
        self._ours = _Hashes([entry for entry in found if entry.pdq and entry.pdq_method == METHOD])
        self._others = _Hashes([entry for entry in found if entry.pdq and entry.pdq_method != METHOD])
        mine = json.dumps(spec.identity(), sort_keys=True) if spec else ""
        described = [entry for entry in found if entry.descriptor]
        self._described = [entry for entry in described if entry.embedder == mine]
        self._vectors = np.array([entry.vector() for entry in self._described], np.float32)
        self.other_descriptors = len(described) - len(self._described)

    @property
    def wants_pictures(self) -> bool:
        """False: addresses say all there is to know."""
        return bool(self._sha256 or self._ours or self._others or self._described)

    @property
    def wants_bytes(self) -> bool:
        return bool(self._sha256)

    @property
    def wants_hashes(self) -> bool:
        """PDQ as this package makes it."""
        return bool(self._ours)

    @property
    def wants_plain_hashes(self) -> bool:
        """PDQ as other programs make it."""
        return bool(self._others)

    @property
    def wants_descriptors(self) -> bool:
        return bool(self._described)

    def by_place(self, url: str) -> Meeting | None:
        """url: as its source says; "" meets nothing."""
        plain = plain_url(url)
        if not plain:
            return None
        if plain in self._urls:
            return Meeting(self._urls[plain], "url")
        host = urlsplit(f"//{plain}").hostname or ""
        while host:
            if host in self._domains:
                return Meeting(self._domains[host], "domain")
            host = host.partition(".")[2]
        return None

    def by_bytes(self, sha256: str) -> Meeting | None:
        entry = self._sha256.get(sha256)
        return Meeting(entry, "sha256") if entry else None

    def by_hash(self, views: npt.NDArray[Any], *, plain: bool = False) -> Meeting | None:
        """views: (8, 256) rows of +-1/16 of a picture and its flips and turns. plain: made by PDQ's own program."""
        return (self._others if plain else self._ours).nearest(views)

    def by_descriptor(self, row: Descriptors, at_least: float) -> Meeting | None:
        """row: (dim,) of unit norm. at_least: cosine, inclusive."""
        if not len(self._vectors):
            return None
        cosine = self._vectors @ row
        best = int(cosine.argmax())
        return (
            Meeting(self._described[best], "descriptor", similarity=float(cosine[best]))
            if cosine[best] >= at_least
            else None
        )


class _Hashes:
    def __init__(self, entries: list[ListEntry]) -> None:
        self._entries = entries
        packed = np.frombuffer(bytes.fromhex("".join(entry.pdq for entry in entries)), np.uint8).reshape(-1, BITS // 8)
        self._words = np.ascontiguousarray(packed).view(np.uint64)

    def __bool__(self) -> bool:
        return bool(self._entries)

    def nearest(self, views: npt.NDArray[Any]) -> Meeting | None:
        if not self._entries:
            return None
        queries = np.packbits(views > 0, axis=1).view(np.uint64)  # (8, 4)
        bits = np.bitwise_count(self._words[None] ^ queries[:, None]).sum(axis=2).min(axis=0)
        best = int(bits.argmin())
        return Meeting(self._entries[best], "pdq", bits=int(bits[best])) if bits[best] <= BLOCK_BITS else None
