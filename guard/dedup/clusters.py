"""The clusters of an index, found and written into it in one call. Knows no lists, plots or pages."""

from __future__ import annotations

from pathlib import Path

from guard.dedup.find import Progress, find_duplicates
from guard.indexes.clusters import write_clusters
from guard.indexes.layout import KEEP, IndexFolder
from guard.indexes.manifest import MANIFEST, ClustersEntry, Manifest
from guard.indexes.sealing import SealingKey
from guard.indexes.store import open_index

__all__ = ["find_clusters"]


def find_clusters(
    path: str | Path,
    *,
    workers: int | None = None,
    keep: int = KEEP,
    key: SealingKey | None = None,
    on_progress: Progress = lambda _stage, _done, _total: None,
) -> ClustersEntry:
    """Find the duplicates among the references of an index, and publish a version that says which cluster each is in.

    What the version in use says already is returned as it is. keep: versions to keep, the new one included.
    key: of sealed thumbnails; without it descriptors and hashes decide alone. Raises what find_duplicates and
    write_clusters raise.
    """
    known = _entry(path)
    if known is None:
        with open_index(path, key=key) as index:
            found = find_duplicates(index, workers=workers, on_progress=on_progress)
        # Not before it is closed: a version that is open is not pruned.
        write_clusters(path, found.cluster, method=found.method, version=found.version, keep=keep)
        known = _entry(path)
        assert known is not None
    return known


def _entry(path: str | Path) -> ClustersEntry | None:
    folder = IndexFolder(path)
    return Manifest.read(folder.version(folder.current()) / MANIFEST).clusters
