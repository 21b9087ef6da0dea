"""A reference by its key, in the index of now: ids shift when references are removed.

Knows indexes and keys; no event and no request.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from guard.errors import IndexLoadError
from guard.indexes.base import SupportsThumbnails
from guard.indexes.moment import Moment
from guard.indexes.overlaid import OverlaidIndex
from guard.indexes.overlay import key_of
from guard.optout.naming import URI
from guard.reviewing import key_of_match
from guard.types import Record

if TYPE_CHECKING:
    from guard.guard import Guard

__all__ = ["record_of_key", "reference_of", "thumbnail_of"]


def reference_of(guard: Guard, match: Mapping[str, Any]) -> Record | None:
    """The reference of a match as the index holds it now; None if it is gone."""
    key = key_of_match(match)
    try:
        record = guard.index.records([int(match["id"])])[0]
    except (IndexLoadError, IndexError):
        return record_of_key(guard, key)
    return record if key_of(record) == key else record_of_key(guard, key)


def record_of_key(guard: Guard, key: str) -> Record | None:
    """The reference that a key names, in the version or among what was added since; None if there is none."""
    index = guard.index
    if not isinstance(index, OverlaidIndex):
        return None
    reader = index.base.reader
    by_uri = key.startswith(URI)
    ids = sorted(reader.ids_where(uris=[key.removeprefix(URI)]) if by_uri else reader.ids_where(sha256s=[key]))
    now = index.now()
    if isinstance(now, Moment):
        ids += [record.id for record in now.state.records.values() if key_of(record) == key]
    return next((record for record in now.records(ids) if key_of(record) == key), None)


def thumbnail_of(guard: Guard, id: int) -> bytes | None:  # noqa: A002
    """The encoded picture of a reference, None where the index holds none."""
    index = guard.index
    try:
        return index.thumbnail(id) if isinstance(index, SupportsThumbnails) else None
    except IndexLoadError:
        return None
