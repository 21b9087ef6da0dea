"""Pictures of a source -> entries of an overlay. Knows embedding and batches; not who asked, and no index's files."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from guard.embedders.base import Embedder
from guard.embedders.views import REGION_KINDS
from guard.indexes.manifest import Manifest
from guard.indexes.overlay import Addition, Overlay
from guard.indexes.preparation import Limits, Rows, prepare
from guard.indexes.records import THUMBNAILS
from guard.indexes.sealing import SealingKey, fitting_key
from guard.sources.base import Skip, Source

__all__ = ["AddReport", "add_pictures"]

BATCH = 64  # entries a transaction
THUMBNAIL_PX = 256
MANY = 10_000  # entries, from which a version of the index serves better


@dataclass(slots=True)
class AddReport:
    added: int = 0
    keys: list[str] = field(default_factory=list)
    """Of what was added, in order."""
    skipped: list[Skip] = field(default_factory=list)


def add_pictures(
    path: str | Path,
    source: Source,
    embedder: Embedder,
    collections: tuple[str, ...],
    *,
    who: str,
    why: str = "",
    until: float | None = None,
    key: SealingKey | None = None,
    workers: int | None = None,
    on_progress: Callable[[int, int | None], None] | None = None,
) -> AddReport:
    """Add every picture of a source to the overlay of the index at path: its descriptors, PDQ hash and thumbnail.

    Crops are embedded where the index has regions, hashes and thumbnails kept where it has them. A picture that
    cannot be read costs only itself. until: seconds since the epoch. key: of an index with sealed thumbnails; without
    it none are kept there. A killed call keeps what it had added; the same
    call again replaces it. Raises ConfigError as Overlay.add does, IndexLoadError if the index was built with another
    embedder.
    """
    overlay = Overlay(path)
    manifest = overlay.manifest
    manifest.require(embedder.spec, index=str(path))
    key = fitting_key(manifest, key, str(path)) if key is not None else None
    survey, report = source.survey(), AddReport()
    waiting: list[Addition] = []

    def write() -> None:
        overlay.add(waiting, collections, who=who, why=why, until=until)
        report.added += len(waiting)
        report.keys += [one.key for one in waiting]
        waiting.clear()

    done = 0
    for rows in prepare(source.items(), embedder, _limits(manifest, key), workers=workers or os.cpu_count() or 1):
        report.skipped += rows.skipped
        waiting += _additions(rows, embedder.spec.dim, key)
        done += rows.items
        if len(waiting) >= BATCH:
            write()
        if on_progress:
            on_progress(done, survey.total)
    if waiting:
        write()
    return report


def _limits(manifest: Manifest, key: SealingKey | None) -> Limits:
    shown = THUMBNAILS in manifest.files and (manifest.sealed is None or key is not None)
    return Limits(
        thumbnail_px=THUMBNAIL_PX if shown else 0,
        hashes=manifest.hashes is not None,
        views=REGION_KINDS.get(manifest.regions, "one"),
    )


def _additions(rows: Rows, dim: int, key: SealingKey | None) -> Iterator[Addition]:
    for row in rows.rows:
        assert row.vector is not None
        vectors = row.vector.reshape(-1, dim)
        thumbnail = row.thumbnail
        if thumbnail is not None and key is not None:
            thumbnail = key.seal(thumbnail, row.record.sha256)
        yield Addition(row.item.uri, row.record.sha256, vectors, row.item.caption, row.hash, thumbnail)
