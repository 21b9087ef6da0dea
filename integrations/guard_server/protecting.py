"""Pictures into the collection `opt-out`, and out again: from the next check on. Knows the overlay; no request."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from guard.errors import ConfigError, InputError
from guard.indexes.overlay import Membership
from guard.optout.additions import add_pictures
from guard.reviewing import overlay_of
from guard.sources.base import Item, Survey
from guard.types import Collection
from guard_server.references import record_of_key

if TYPE_CHECKING:
    from guard.guard import Guard
    from guard.indexes.overlay import Overlay

__all__ = ["add_picture", "give", "listed", "withdraw"]

OPT_OUT = Collection.OPT_OUT.value


def give(guard: Guard, keys: Sequence[str], *, who: str, why: str = "") -> int:
    """Protect references of the index; returns how many. Raises InputError for a key that it does not hold."""
    distinct = list(dict.fromkeys(keys))
    for key in distinct:
        if record_of_key(guard, key) is None:
            raise InputError("one of the pictures is no longer in the index; search again")
    _overlay(guard).give(distinct, OPT_OUT, who=who, why=why)
    return len(distinct)


def add_picture(guard: Guard, encoded: bytes, *, who: str, why: str = "") -> str:
    """Protect a picture that the index need not hold; returns its key. Raises InputError if it cannot be read."""
    overlay = _overlay(guard)
    report = add_pictures(overlay.path.parent, _One(encoded), guard.embedder, (OPT_OUT,), who=who, why=why, workers=1)
    if not report.keys:
        raise InputError(report.skipped[0].detail)
    return report.keys[0]


def withdraw(guard: Guard, key: str, *, who: str) -> bool:
    """Take the protection of a picture back; False if it had none of the overlay's."""
    return bool(_overlay(guard).withdraw([key], OPT_OUT, who=who))


def listed(guard: Guard) -> list[Membership]:
    """What the overlay protects or has protected until its time was over, newest first."""
    given = [one for one in _overlay(guard).memberships() if one.collection == OPT_OUT and one.member]
    return given[::-1]


def _overlay(guard: Guard) -> Overlay:
    found = overlay_of(guard)
    if found is None:
        raise ConfigError("this index takes no changes")
    return found


class _One:
    """A picture in memory as a source."""

    def __init__(self, encoded: bytes) -> None:
        self._item = Item(f"sent/{hashlib.sha256(encoded).hexdigest()[:16]}", data=encoded)

    def survey(self) -> Survey:
        return Survey("a picture that was sent", "", 1)

    def items(self, start: int = 0) -> Iterator[Item]:
        yield from [self._item][start:]
