"""An index becomes one of a small set: the transform of its build, and its own thresholds afterwards.

Knows the order of the steps; what is measured is guard.small.alike's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from guard._version import __version__
from guard.embedders.base import Embedder, EmbedderSpec
from guard.embedders.statistics import statistics_of
from guard.embedders.views import ViewKind, looks_at_windows, usual_views, windows_identity
from guard.indexes.attach import attach
from guard.indexes.layout import KEEP, IndexFolder
from guard.indexes.manifest import MANIFEST, SMALL, Manifest
from guard.indexes.sealing import SealingKey
from guard.indexes.staging import writing
from guard.indexes.store import OpenIndex, open_index
from guard.indexes.transform import NEAREST, Normalisation, Transform, Whitening
from guard.small.alike import Alike, measure
from guard.small.record import LOWEST_FLAG, SmallSet, read_small

__all__ = ["BETA", "SIZE", "SmallReport", "known_report", "measure_small", "small_transform"]

SIZE = 500
"""References up to which `memguard index build` takes a set for small, inclusive."""
ABOVE = 1e-5  # more than float32 rounds
BETA = 0.5
"""Share of the mean similarity to the nearest background pictures that is subtracted."""


@dataclass(frozen=True, slots=True)
class SmallReport:
    path: Path
    version: str
    small: SmallSet
    alike: tuple[tuple[str, str], ...] = ()
    """Uris of the pairs that the pixels call copies."""


def small_transform(spec: EmbedderSpec) -> tuple[Transform | None, str]:
    """The transform for an index of a small set, or None and why there is none, in words.

    Whitening and background are of procedural pictures alone, so that nothing of the set is in them.
    """
    if spec.metric != "cosine":
        return None, f"{spec.name!r} makes bits, which are compared as they are"
    found, why = statistics_of(spec)
    if found is None:
        return None, why
    whitening = Whitening(found.mean, found.matrix, found.shrinkage, True, found.pictures)
    norms = np.linalg.norm(found.background, axis=1, keepdims=True)
    background = (found.background / norms).astype(np.float32)
    return Transform(whitening, Normalisation(background, BETA, NEAREST, found.source)), ""


def measure_small(
    path: str | Path,
    embedder: Embedder,
    *,
    note: str = "",
    views: ViewKind | None = None,
    keep: int = KEEP,
    key: SealingKey | None = None,
    on_progress: Callable[[int, int | None], None] = lambda _done, _total: None,
) -> SmallReport:
    """Look the references up in themselves, and publish a version with the thresholds that follow.

    note: what was not as it should be when the index was built. views: how references are looked up, and images will
    be; None: by windows where the embedder has them and there are thumbnails, of which they are taken. To be called
    after references come or go, too.
    key: of sealed thumbnails; without it no pixels are compared.
    Raises IndexLoadError if the index is damaged or of another embedder.
    """
    folder = IndexFolder(path)
    folder.current()
    with folder.writer():
        with open_index(folder.path, embedder=embedder, key=key) as index:
            seen_as = views or (usual_views(embedder, index.manifest.regions) if index.has_thumbnails else "one")
            alike = measure(index, embedder, views=seen_as, on_progress=on_progress)
            windows = windows_identity(embedder) if looks_at_windows(seen_as) else ""
            small = _small(index, alike, seen_as, windows, note)
            uris = [record.uri for record in index.records([i for pair in alike.pairs for i in pair])]
            with writing(folder.path):
                version = attach(folder, index.folder, index.manifest, SMALL, small.to_json().encode())
        folder.prune(keep)  # now that this process has let go of the version before
    return SmallReport(folder.path, version, small, tuple(zip(uris[::2], uris[1::2], strict=True)))


def known_report(path: str | Path, *, note: str = "") -> SmallReport | None:
    """What the version in use says of itself, if that still holds and the note is the same; None if not."""
    folder = IndexFolder(path)
    name = folder.current()
    manifest = Manifest.read(folder.version(name) / MANIFEST)
    found = read_small(folder.version(name), manifest)
    if found is None or found.misfits(manifest) or found.count != manifest.count or found.note != note:
        return None
    return SmallReport(folder.path, name, found)


def _small(index: OpenIndex, alike: Alike, views: ViewKind, windows: str, note: str) -> SmallSet:
    manifest = index.manifest
    flag, block = _thresholds(alike, manifest)
    return SmallSet(
        created_at=datetime.now(UTC),
        tool_version=__version__,
        embedder=manifest.embedder,
        transform=manifest.transform,
        regions=manifest.regions,
        views=views,
        windows=windows,
        count=len(index),
        strangers=alike.strangers,
        own=alike.own,
        flag=flag,
        block=block,
        edited=alike.edited,
        told=alike.told,
        compared=alike.compared,
        alike=len(alike.pairs),
        note=note,
    )


def _thresholds(alike: Alike, manifest: Manifest) -> tuple[float, float]:
    """(flag, block): just above all strangers (LOWEST_FLAG at least), and half way from there to what a picture has
    with itself.

    Without strangers the embedder's advice stands; under a transform, where that does not hold, shares of the latter.
    """
    if alike.strangers is None:
        if manifest.transform is None and manifest.thresholds is not None:
            return manifest.thresholds.flag, manifest.thresholds.block
        return 0.5 * alike.own, 0.75 * alike.own
    flag = min(max(alike.strangers + ABOVE, LOWEST_FLAG), 1.0)
    return flag, min(max(flag, (flag + alike.own) / 2), 1.0)
