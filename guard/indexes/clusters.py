"""Clusters of near-duplicates, written into an index as a new version of it, described and checked. Finds none."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from guard.errors import ConfigError
from guard.indexes.cluster_rows import Ids, clusters_entry, sizes, wrong_name
from guard.indexes.layout import KEEP, IndexFolder, file_entry, hold, release, share, sync_path, write_durably
from guard.indexes.manifest import MANIFEST, ClustersEntry, Manifest
from guard.indexes.records import RECORDS, RecordReader, create_tables
from guard.indexes.staging import writing

__all__ = ["cluster_problems", "describe_clusters", "write_clusters"]


def write_clusters(
    path: str | Path, cluster: Ids, *, method: str, version: str | None = None, keep: int = KEEP
) -> Manifest:
    """Publish a version whose records say which cluster each reference is in; everything else stays.

    Returns its manifest. cluster: (count,) see guard.indexes.cluster_rows. method: by what they were found, in words.
    version: in which the clusters were found. Raises ConfigError if another one is in use by now, or if the clusters
    do not fit its references.
    """
    folder = IndexFolder(path)
    folder.current()
    with folder.writer():
        name = folder.current()
        if version is not None and name != version:
            raise ConfigError(
                f"{path} has changed from version {version} to {name} meanwhile: look for duplicates again"
            )
        at = folder.version(name)
        held = hold(at)
        try:
            before = Manifest.read(at / MANIFEST)
            if len(cluster) != before.count or wrong_name(cluster) is not None:
                raise ConfigError(f"these clusters do not fit the {before.count} references of {path}")
            with writing(folder.path):
                editing, manifest = _edited(folder, at, before, cluster, method)
                folder.publish(editing)
        finally:
            release(held)
        folder.prune(keep)
        return manifest


def describe_clusters(entry: ClustersEntry, count: int) -> list[str]:
    """In words, for people; count: references of the index."""
    lines = [
        f"{entry.clusters} of two or more, with {entry.members} of {entry.references} references; the largest has "
        f"{entry.largest}",
        f"found on {entry.found_at:%Y-%m-%d} by {entry.method}",
    ]
    if count > entry.references:
        lines.append(f"{count - entry.references} references were not looked at: `memguard dedup` looks again")
    return lines


def cluster_problems(reader: RecordReader, manifest: Manifest) -> Iterator[str]:
    """Where the records of a version contradict one another or the manifest, in words."""
    cluster, said = reader.clusters().T
    wrong = wrong_name(cluster)
    if wrong is not None:
        yield f"{reader.table.path}: the cluster of id {wrong} is not named by the smallest id of its members"
        return
    counted = sizes(cluster)
    odd = np.flatnonzero((cluster >= 0) & (counted != said))
    if len(odd):
        yield f"{reader.table.path}: id {odd[0]} has cluster size {said[odd[0]]} in a cluster of {counted[odd[0]]}"
    entry = manifest.clusters
    if entry is not None and clusters_entry(cluster, entry.method, entry.found_at) != entry:
        yield f"{reader.table.path} holds other clusters than the manifest says"


def _edited(folder: IndexFolder, at: Path, before: Manifest, cluster: Ids, method: str) -> tuple[Path, Manifest]:
    """The version's files with other clusters; all but the records are shared, not copied."""
    editing = folder.path / "editing"
    shutil.rmtree(editing, ignore_errors=True)
    editing.mkdir(parents=True)
    for name in before.files:
        if name != RECORDS:
            share(at / name, editing / name)
    shutil.copyfile(at / RECORDS, editing / RECORDS)
    rows = zip(cluster.tolist(), sizes(cluster).tolist(), range(len(cluster)), strict=True)
    with closing(sqlite3.connect(editing / RECORDS)) as records:
        create_tables(records, RECORDS)
        with records:
            records.executemany("UPDATE records SET cluster = ?, cluster_size = ? WHERE id = ?", rows)
    sync_path(editing / RECORDS)
    entry = clusters_entry(cluster, method, datetime.now(UTC))
    files = {**before.files, RECORDS: file_entry(editing / RECORDS)}
    manifest = before.model_copy(update={"clusters": entry, "files": files})
    write_durably(editing / MANIFEST, manifest.to_json().encode())
    return editing, manifest
