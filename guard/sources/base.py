"""What a source of references promises. Knows items, skips and surveys; no file format, no descriptor, no index."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

__all__ = ["Item", "Skip", "Source", "SupportsCount", "Survey", "count_items"]


@dataclass(frozen=True, slots=True, eq=False)
class Item:
    """One reference before it is embedded.

    Exactly one of data, path and vector is set; none where only an address is known (guard.sources.addresses).
    """

    uri: str
    data: bytes | None = None
    path: Path | None = None
    """Read by a worker, when its turn comes."""
    vector: npt.NDArray[np.float32] | None = None
    """(dim,) of a source of precomputed embeddings."""
    caption: str = ""
    sha256: str = ""
    """Only of precomputed embeddings; otherwise computed from the bytes."""
    collections: tuple[str, ...] = ()
    """Empty: the build's own."""
    modified: int = 0
    """Seconds since the epoch, where the source says it of `data`; of `path`, the file itself does."""
    url: str = ""
    """Where the picture was published, if the source says so."""


@dataclass(frozen=True, slots=True)
class Skip:
    """A reference that cannot be had, so that it is listed instead of silently missing."""

    uri: str
    reason: str
    """One word; the reasons of guard.decode, or embed_failed, no_image, outside, damaged_source, no_vector."""
    detail: str


@dataclass(frozen=True, slots=True)
class Survey:
    """What a source says of itself before it is read."""

    description: str
    """In words, for people."""
    fingerprint: str
    """Changes when files were added, removed or changed (by name, size and time)."""
    total: int | None
    """Number of items and skips, None if only reading would tell."""
    ignored: int = 0
    """Files beside the pictures that are none and are not listed as skipped."""
    pixels: bool = True
    """False: it holds descriptors and no pictures."""
    folders: tuple[str, ...] = ()
    """Absolute folders in which the uris of its items are names of files; none where they are not, or shall not be
    known."""


class Source(Protocol):
    """References in an order that is the same in every run over unchanged files."""

    def survey(self) -> Survey: ...

    def items(self, start: int = 0) -> Iterator[Item | Skip]:
        """Yield from the start-th on, in memory that does not grow with their number."""
        ...


@runtime_checkable
class SupportsCount(Protocol):
    """A source whose survey has no total, but that can say whether there is more than a little."""

    def count(self, limit: int) -> int | None:
        """Items and skips, counted no further than limit + 1; None if even that would take long."""
        ...


def count_items(source: Source, limit: int) -> int | None:
    """How many items and skips a source has, exact up to limit and above it where there are more; None: not known.

    Nothing is decoded.
    """
    total = source.survey().total
    return source.count(limit) if total is None and isinstance(source, SupportsCount) else total
