"""Indexes with something in their overlay."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from guard.embedders.base import Embedder
from guard.embedders.pdq import packed_hash
from guard.indexes.builder import build_index
from guard.indexes.overlay import Addition
from guard.pixels import to_batch
from guard.sources import open_source
from tests.support.references import jpeg
from tests.support.specs import Named

__all__ = ["Clock", "addition", "addition_of", "index_of_rows"]


class Clock:
    """Seconds since the epoch, as told."""

    def __init__(self, now: float = 1_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def addition(seed: int, embedder: Embedder, side: int = 64) -> Addition:
    """The picture of `tests.support.references.jpeg`, as an index would hold it."""
    from guard.decode import decode

    data = jpeg(seed, side)
    rgb = decode(data).rgb
    vectors: Any = embedder.embed(to_batch(rgb))
    sha256 = hashlib.sha256(data).hexdigest()
    return Addition(f"added/{seed}.jpg", sha256, vectors, f"picture {seed}", packed_hash(rgb), data)


def addition_of(row: npt.NDArray[np.float32], name: str) -> Addition:
    """A descriptor without a picture."""
    return Addition(name, "", np.asarray(row, np.float32).reshape(1, -1))


def index_of_rows(folder: Path, rows: npt.NDArray[np.float32], metric: Any = "cosine") -> Path:
    """Publish descriptors as an index; row i has the uri that `uri_of` says."""
    np.save(folder / "rows.npy", rows)
    embedder = Named(rows.shape[1], metric)
    build_index(open_source(folder / "rows.npy", spec=embedder.spec), folder / "x.index", embedder, restart=True)
    return folder / "x.index"
