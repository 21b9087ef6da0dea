"""A source without its duplicates, at a new place. Knows kinds of sources; the originals are read and never changed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from guard._version import __version__
from guard.dedup.apply_folder import apply_folder
from guard.dedup.apply_parquet import apply_parquet
from guard.dedup.apply_shards import apply_shards
from guard.dedup.fates import Applied, Fates
from guard.dedup.stage import PLAN, staged
from guard.errors import ConfigError
from guard.indexes.cluster_rows import Ids
from guard.indexes.faissfile import VECTORS
from guard.indexes.staging import writing
from guard.indexes.store import OpenIndex
from guard.sources.base import Source
from guard.sources.folder import FolderSource
from guard.sources.parquet import ParquetSource
from guard.sources.webdataset import WebDatasetSource

__all__ = ["apply_to", "check_place"]


def apply_to(
    out: str | Path,
    source: Source,
    index: OpenIndex,
    stays: Ids,
    *,
    copy: bool = False,
    on_progress: Callable[[int, int | None], None] = lambda _done, _total: None,
) -> Applied:
    """Write the pictures that stay, with their captions, to a new folder, which appears once it is whole.

    A folder becomes a folder of hard links (copies where that is not possible, or with copy=True), tar shards become
    shards and parquet files become parquet files, of the same names. A killed run is gone on with by the same call.
    index: made of the source. stays: (count,) see guard.dedup.choose.
    Raises ConfigError if `out` exists and is not the result of this very call, if the source has changed since it was
    indexed, or holds no pictures; GuardError if the disk is full.
    """
    out = Path(out)
    check_place(out, source)
    survey, applied = source.survey(), Applied()
    plan = {
        "tool": __version__,
        "source": [survey.description, survey.fingerprint],
        "index": index.manifest.files[VECTORS].sha256,
        "stays": hashlib.sha256(stays.tobytes()).hexdigest(),
        "copy": copy,
    }
    fates = Fates(index, stays)

    def told(done: int) -> None:
        on_progress(done, survey.total)

    with writing(out), staged(out, plan, lambda: asdict(applied)) as folder:
        if folder is None:
            return _of_before(out)
        if isinstance(source, FolderSource):
            apply_folder(source, folder, fates, applied, copy=copy, on_progress=told)
        elif isinstance(source, WebDatasetSource):
            apply_shards(source, folder, fates, applied, on_progress=told)
        elif isinstance(source, ParquetSource):
            apply_parquet(source, folder, fates, applied, on_progress=told)
        else:
            raise ConfigError(f"{survey.description} cannot be written anew: take the rows of keep.csv")
    return applied


def check_place(out: Path, source: Source) -> None:
    """Raise ConfigError if what is written to `out` would become part of the source."""
    root = Path(getattr(source, "path", "")) if isinstance(source, FolderSource) else None
    if root is not None and root.is_dir() and out.resolve().is_relative_to(root.resolve()):
        lies = "is the source itself" if out.resolve() == root.resolve() else f"lies within {root}"
        raise ConfigError(f"{out} {lies}; name a folder outside of it")


def _of_before(out: Path) -> Applied:
    """What was written down when this very folder was made."""
    said: dict[str, Any] = json.loads((out / PLAN).read_text(encoding="utf-8"))
    return Applied(**{one.name: said[one.name] for one in fields(Applied)})
