"""Duplicates in a training set: found, listed, and left out of a new copy. Each name is imported when first used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from guard.dedup.choose import Keep, chosen
    from guard.dedup.find import Duplicates, find_duplicates
    from guard.dedup.run import DedupReport, Options, dedup_index, dedup_source

__all__ = [
    "DedupReport",
    "Duplicates",
    "Keep",
    "Options",
    "chosen",
    "dedup_index",
    "dedup_source",
    "find_duplicates",
]

_PLACES = {
    "DedupReport": "run",
    "Duplicates": "find",
    "Keep": "choose",
    "Options": "run",
    "chosen": "choose",
    "dedup_index": "run",
    "dedup_source": "run",
    "find_duplicates": "find",
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)
