"""The reference that a logged match was about, in the index of now: ids shift when references are removed.

Knows indexes and keys; no event and no request.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from guard.errors import IndexLoadError
from guard.indexes.base import SupportsThumbnails
from guard.indexes.overlaid import OverlaidIndex
from guard.indexes.overlay import key_of
from guard.types import Record

if TYPE_CHECKING:
    from guard.guard import Guard

__all__ = ["key_of_match", "reference_of", "thumbnail_of"]


def key_of_match(match: Mapping[str, Any]) -> str:
    """What names the reference of a match (`Verdict.to_dict`) in every version."""
    return key_of(Record(-1, match["uri"], match["sha256"]))


def reference_of(guard: Guard, match: Mapping[str, Any]) -> Record | None:
    """The reference of a match as the index holds it now; None if it is gone."""
    key = key_of_match(match)
    for i in (int(match["id"]), *_ids_of(guard, match)):
        try:
            record = guard.index.records([i])[0]
        except (IndexLoadError, IndexError):
            continue
        if key_of(record) == key:
            return record
    return None


def thumbnail_of(guard: Guard, id: int) -> bytes | None:  # noqa: A002
    """The encoded picture of a reference, None where the index holds none."""
    index = guard.index
    try:
        return index.thumbnail(id) if isinstance(index, SupportsThumbnails) else None
    except IndexLoadError:
        return None


def _ids_of(guard: Guard, match: Mapping[str, Any]) -> list[int]:
    if not isinstance(guard.index, OverlaidIndex):
        return []
    named = {"sha256s": [match["sha256"]]} if match["sha256"] else {"uris": [match["uri"]]}
    return sorted(guard.index.base.reader.ids_where(**named))
