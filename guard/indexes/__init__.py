"""The reference set on disk and in memory. What most callers need is here; each name is imported when first used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from guard.indexes.build_report import BuildReport
    from guard.indexes.builder import add_to_index, build_index
    from guard.indexes.manifest import Manifest
    from guard.indexes.overlaid import OverlaidIndex, open_overlaid
    from guard.indexes.overlay import Addition, Overlay, key_of
    from guard.indexes.store import OpenIndex, open_index
    from guard.indexes.transforming import remove_transform, transform_index

__all__ = [
    "Addition",
    "BuildReport",
    "Manifest",
    "OpenIndex",
    "OverlaidIndex",
    "Overlay",
    "add_to_index",
    "build_index",
    "key_of",
    "open_index",
    "open_overlaid",
    "remove_transform",
    "transform_index",
]

_PLACES = {
    "Addition": "overlay",
    "BuildReport": "build_report",
    "Manifest": "manifest",
    "OpenIndex": "store",
    "OverlaidIndex": "overlaid",
    "Overlay": "overlay",
    "add_to_index": "builder",
    "build_index": "builder",
    "key_of": "overlay",
    "open_index": "store",
    "open_overlaid": "overlaid",
    "remove_transform": "transforming",
    "transform_index": "transforming",
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)
