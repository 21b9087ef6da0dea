"""What a reference is to its set, by its collections: trained on, or only protected. Knows names; opens no index."""

from __future__ import annotations

from collections.abc import Collection as Names

from guard.types import Collection, Record

__all__ = ["GUARDED", "OTHERS", "guarded", "trained_on"]

GUARDED = frozenset({Collection.PROTECTED.value, Collection.OPT_OUT.value})
OTHERS = GUARDED | {Collection.ALLOW.value, Collection.CANARY.value}
"""A reference that is in no other collections than these need not be in the training set."""


def trained_on(record: Record, collections: Names[str] = ()) -> bool:
    """collections: those of the training set; none: `training`, and every name without a meaning of its own."""
    own = set(record.collections)
    return not own.isdisjoint(collections) if collections else bool(own - OTHERS)


def guarded(record: Record) -> bool:
    """Whether somebody asked that it does not come out, in the training set or not."""
    return not GUARDED.isdisjoint(record.collections)
