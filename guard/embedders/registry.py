"""Name -> embedder. Knows places and extras; imports an embedder only when it is asked for."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from guard.errors import ConfigError

if TYPE_CHECKING:
    from guard.embedders.base import Embedder

__all__ = ["DEFAULT", "EMBEDDERS", "Entry", "embedder_class", "load_embedder", "register_embedder"]

DEFAULT = "pdq"


@dataclass(frozen=True, slots=True)
class Entry:
    """Where an embedder class lives."""

    place: str
    """"package.module:Class"."""
    extra: str = ""
    """The optional dependency group it needs; "" for none."""

    def load(self) -> Any:
        module, _, name = self.place.partition(":")
        return getattr(importlib.import_module(module), name)


_entries: dict[str, Entry] = {}
EMBEDDERS: Mapping[str, Entry] = MappingProxyType(_entries)
"""A read-only view."""


def register_embedder(name: str, place: str, *, extra: str = "") -> None:
    """Make `load_embedder(name)` build the class at "package.module:Class". Raises ConfigError for a known name."""
    if name in _entries:
        raise ConfigError(f"the embedder {name!r} is registered already, at {_entries[name].place}")
    _entries[name] = Entry(place, extra)


register_embedder("pdq", "guard.embedders.pdq:PdqEmbedder")


def embedder_class(name: str) -> Any:
    """Return the class of a registered embedder. Raises ConfigError that lists the known names."""
    if name not in _entries:
        raise ConfigError(f"unknown embedder {name!r}; known: {', '.join(sorted(_entries))}")
    return _entries[name].load()


def load_embedder(name: str | None = None, **options: Any) -> Embedder:
    """Build an embedder; None is the default one. Options go to the embedder's constructor."""
    embedder: Embedder = embedder_class(name or DEFAULT)(**options)
    return embedder
