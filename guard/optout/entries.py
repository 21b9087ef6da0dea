"""Who is protected by an index at this moment, and by what: as a table for people, as entries of a list for others.

Knows the overlay's memberships and the collections of a version; decides nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from guard.embedders.pdq import METHOD
from guard.indexes.faissfile import map_rows, originals, unpack_bits
from guard.indexes.hashes import map_hashes
from guard.indexes.moment import Moment
from guard.indexes.overlaid import open_overlaid
from guard.indexes.overlay import Overlay, key_of
from guard.indexes.selection import RecordFilter
from guard.optout.lists import ListEntry, pack_descriptor
from guard.optout.naming import DOMAIN, URI, plain_url
from guard.search.holdings import Holdings
from guard.types import Collection, Record

if TYPE_CHECKING:
    from guard.indexes.overlaid import OverlaidIndex
    from guard.indexes.store import OpenIndex

__all__ = ["PROTECTING", "Protected", "list_entries", "moment", "protected"]

PROTECTING = (Collection.PROTECTED.value, Collection.OPT_OUT.value)


@dataclass(frozen=True, slots=True)
class Protected:
    """One membership of the overlay, as people want to read it."""

    key: str
    collection: str
    member: bool
    """False: taken away."""
    who: str
    why: str
    since: float
    until: float | None
    over: bool
    uri: str = ""
    """Of the picture, URL or domain; "" for a SHA-256 that nobody holds."""
    where: str = ""
    """index, overlay, both, or "" for neither."""

    def to_dict(self) -> dict[str, Any]:
        return {
            "key": self.key,
            "uri": self.uri,
            "collection": self.collection,
            "member": self.member,
            "who": self.who,
            "why": self.why,
            "since": moment(self.since),
            "until": None if self.until is None else moment(self.until),
            "over": self.over,
            "where": self.where or None,
        }


def moment(seconds: float) -> str:
    """Seconds since the epoch as an ISO time in UTC, to the second."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def protected(path: str | Path, collections: Sequence[str] = (), *, now: float) -> list[Protected]:
    """Every membership that the overlay of the index at path holds, oldest first; collections: only those."""
    with open_overlaid(path) as index:
        found = []
        for one in Overlay(path).memberships():
            if collections and one.collection not in collections:
                continue
            uri, where = _place(index, one.key, one.uri)
            over = one.until is not None and one.until <= now
            found.append(
                Protected(one.key, one.collection, one.member, one.who, one.why, one.since, one.until, over, uri, where)
            )
        return found


def list_entries(path: str | Path, collections: Sequence[str] = PROTECTING) -> Iterator[ListEntry]:
    """What is in these collections at this moment, in the version and in the overlay: all marks that are known of it.

    URLs and domains that were opted out without a picture are entries too. Raises IndexLoadError.
    """
    until = {m.key: m.until for m in Overlay(path).memberships() if m.member and m.collection in collections}
    with open_overlaid(path) as index:
        holdings = Holdings(index, RecordFilter(collections=tuple(collections)))
        records = holdings.index.records(holdings.ids().tolist())
        described = _Marks(index)
        for record in records:
            yield described.entry(record, _ends(until, key_of(record)), _one_of(record, collections))
        known = {key_of(record) for record in records}
        state = holdings.index.state if isinstance(holdings.index, Moment) else None
        for key, members in state.members.items() if state else ():
            inside = [name for name in collections if members.get(name)]
            entry = _of_key(key, _ends(until, key), inside[0]) if inside and key not in known else None
            if entry is not None:
                yield entry


class _Marks:
    """Hashes and descriptors of the references of an index, its overlay's among them."""

    def __init__(self, index: OverlaidIndex) -> None:
        self._version: OpenIndex = index.base
        now = index.now()
        self._state = now.state if isinstance(now, Moment) else None
        manifest = index.manifest
        path, layout = originals(index.folder, manifest)
        self._rows, self._layout = map_rows(path, layout, manifest.count), layout
        self._hashes = map_hashes(index.folder, manifest) if manifest.hashes else None
        self._embedder = json.dumps(manifest.spec.identity(), sort_keys=True)

    def entry(self, record: Record, until: str, collection: str) -> ListEntry:
        if record.id < len(self._version):
            row = self._rows[record.id * self._layout.regions]
            vector = unpack_bits(row[None], self._layout.dim)[0] if self._layout.kind == "bits" else row
            hashed = None if self._hashes is None else self._hashes[record.id]
        else:
            assert self._state is not None
            place = int(np.searchsorted(self._state.ids, record.id))
            vector = self._state.vectors[int(np.searchsorted(self._state.owners, place))]
            hashed = self._state.hashes[place]
        pdq = hashed.tobytes().hex() if hashed is not None and hashed.any() else ""
        return ListEntry(
            url=record.uri if plain_url(record.uri) else "",
            sha256=record.sha256.lower(),
            pdq=pdq,
            pdq_method=METHOD if pdq else "",
            descriptor=pack_descriptor(vector),
            embedder=self._embedder,
            collection=collection,
            until=until,
        )


def _of_key(key: str, until: str, collection: str) -> ListEntry | None:
    """None for the path of a picture that nobody holds: others could not tell it by that."""
    if key.startswith(DOMAIN):
        return ListEntry(domain=key.removeprefix(DOMAIN), collection=collection, until=until)
    if key.startswith(URI):
        url = key.removeprefix(URI)
        return ListEntry(url=url, collection=collection, until=until) if plain_url(url) else None
    return ListEntry(sha256=key, collection=collection, until=until)


def _ends(until: dict[str, float | None], key: str) -> str:
    seconds = until.get(key)
    return "" if seconds is None else moment(seconds)


def _one_of(record: Record, collections: Sequence[str]) -> str:
    return next(name for name in collections if name in record.collections)


def _place(index: OverlaidIndex, key: str, uri: str) -> tuple[str, str]:
    """(uri, where) of a key; uri: what the overlay says, "" if it holds no such reference."""
    if key.startswith(DOMAIN):
        return key.removeprefix(DOMAIN), ""
    by_uri = key.startswith(URI)
    reader = index.base.reader
    ids = reader.ids_where(uris=[key.removeprefix(URI)]) if by_uri else reader.ids_where(sha256s=[key])
    if ids:
        return index.base.records([min(ids)])[0].uri, "both" if uri else "index"
    return uri or (key.removeprefix(URI) if by_uri else ""), "overlay" if uri else ""
