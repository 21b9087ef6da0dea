"""Is a published index what its manifest says? Knows every file of a version; changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from guard.decode import decode
from guard.embedders.pdq import BITS
from guard.errors import IndexLoadError, InputError
from guard.indexes.clusters import cluster_problems
from guard.indexes.faissfile import VECTORS, check_file, map_rows, unpack_bits
from guard.indexes.hashes import HASHES, count_usable, load_hashes, map_hashes
from guard.indexes.layout import IndexFolder, file_entry, hold, release
from guard.indexes.manifest import MANIFEST, Manifest
from guard.indexes.overlaid import state_of
from guard.indexes.overlay_file import OVERLAY
from guard.indexes.records import BLOBS, KEYPOINTS, RECORDS, THUMBNAILS, BlobReader, ReadOnlyTable, RecordReader
from guard.indexes.staging import read_skipped
from guard.indexes.store import load_vectors
from guard.indexes.transformed_rows import original_rows, read_transform
from guard.pixels import RGBArray

__all__ = ["Finding", "changed_files", "verify_index"]

SAMPLE = 64  # rows that must find themselves
_ROWS = 4096
_NORM_SLACK = 1e-3


@dataclass(frozen=True, slots=True)
class Finding:
    """One check of a version."""

    check: str
    """files, vectors, transform, hashes, records, thumbnails, keypoints, skipped, search or overlay."""
    problem: str
    """What is wrong, naming the file; "" if nothing is."""


def verify_index(path: str | Path) -> list[Finding]:
    """Check the version in use, each check on its own so that one damage does not hide another.

    Checksums of all files, header and norms of the vectors, SQLite's own integrity check,
    counts against the manifest, and that a sample of rows finds itself.
    Raises IndexLoadError only if there is no version, or its manifest cannot be read.
    """
    folder = IndexFolder(path)
    at = folder.version(folder.current())
    held = hold(at)
    try:
        manifest = Manifest.read(at / MANIFEST)
        checks: list[tuple[str, Callable[[Path, Manifest], Iterator[str]]]] = [
            ("files", changed_files),
            ("vectors", _vectors),
            ("records", _records),
            ("skipped", _skipped),
            ("search", _search),
        ]
        if KEYPOINTS in manifest.files:
            checks.insert(3, ("keypoints", _keypoints))
        if THUMBNAILS in manifest.files:
            checks.insert(3, ("thumbnails", partial(_blobs, name=THUMBNAILS)))
        if manifest.hashes is not None or HASHES in manifest.files:
            checks.insert(2, ("hashes", _hashes))
        if manifest.transform is not None:
            checks.insert(2, ("transform", _transform))
        if (folder.path / OVERLAY).exists():
            checks.append(("overlay", _overlay))
        findings: list[Finding] = []
        for name, check in checks:
            try:
                problems = list(check(at, manifest))
            except IndexLoadError as exc:
                problems = [str(exc)]
            findings += [Finding(name, problem) for problem in problems or [""]]
        return findings
    finally:
        release(held)


def changed_files(at: Path, manifest: Manifest) -> Iterator[str]:
    """What differs from a version's manifest in size or checksum, a sentence a file. Reads every byte once."""
    for name, entry in manifest.files.items():
        if not (at / name).is_file():
            yield f"{at / name} is missing"
        elif file_entry(at / name) != entry:
            yield f"{at / name} is not the file that was written: its size or sha256 differs from the manifest"


def _vectors(at: Path, manifest: Manifest) -> Iterator[str]:
    layout = check_file(at / VECTORS, manifest)
    if layout.kind == "bits":
        return  # any bits are a valid row
    rows = map_rows(at / VECTORS, layout, manifest.count)
    for start in range(0, len(rows), _ROWS):
        norms = np.linalg.norm(rows[start : start + _ROWS].astype(np.float64), axis=1)
        wrong = np.flatnonzero(~(np.abs(norms - 1) <= _NORM_SLACK))  # NaN is wrong too
        if len(wrong):
            yield f"{at / VECTORS}: row {start + wrong[0]} has norm {norms[wrong[0]]:g}, not 1"
            return


def _transform(at: Path, manifest: Manifest) -> Iterator[str]:
    """The vectors must be what the transform makes of the descriptors beside them; a sample is compared."""
    transform = read_transform(at, manifest)
    if transform is None or transform.whitening is None:
        return
    rows = original_rows(at, manifest)
    stored = map_rows(at / VECTORS, check_file(at / VECTORS, manifest), manifest.count)
    ids = _sample(len(rows))
    apart = np.abs(transform.rows(np.array(rows[ids])) - stored[ids]).max(axis=1, initial=0)
    wrong = np.flatnonzero(~(apart <= _NORM_SLACK))
    if len(wrong):
        yield f"{at / VECTORS}: row {ids[wrong[0]]} is not what the transform makes of its descriptor"


def _hashes(at: Path, manifest: Manifest) -> Iterator[str]:
    rows = map_hashes(at, manifest)
    usable = count_usable(rows)
    if manifest.hashes and usable != manifest.hashes.usable:
        yield f"{at / HASHES} has {usable} usable hashes; the manifest says {manifest.hashes.usable}"
    sample = np.flatnonzero(rows[:_ROWS].any(axis=1))[:SAMPLE]
    lost = [
        int(i)
        for i, found in zip(
            sample, load_hashes(at, manifest).identical(unpack_bits(np.array(rows[sample]), BITS), 1), strict=True
        )
        if 0 not in found.values()
    ]
    if lost:
        yield f"{at / HASHES}: the hash of id {lost[0]} does not find itself"


def _records(at: Path, manifest: Manifest) -> Iterator[str]:
    reader = RecordReader(at / RECORDS)
    try:
        yield from _integrity(reader.table)
        count, last = reader.table.query("SELECT COUNT(*), COALESCE(MAX(id), -1) FROM records")[0]
        if count != manifest.count or last != manifest.count - 1:
            yield f"{at / RECORDS} has {count} records up to id {last}; the manifest counts {manifest.count}"
        found = dict(
            reader.table.query("SELECT value, COUNT(*) FROM records, json_each(records.collections) GROUP BY value")
        )
        if found != manifest.collections:
            yield f"{at / RECORDS} has collections {found}; the manifest says {manifest.collections}"
        yield from cluster_problems(reader, manifest)
    finally:
        reader.close()


def _blobs(at: Path, manifest: Manifest, name: str) -> Iterator[str]:
    table = ReadOnlyTable(at / name)
    try:
        yield from _integrity(table)
        (last,) = table.query(f"SELECT COALESCE(MAX(id), -1) FROM {BLOBS[name]}")[0]  # noqa: S608
        if last >= manifest.count:
            yield f"{at / name} has {BLOBS[name]} of id {last}; the manifest counts {manifest.count}"
    finally:
        table.close()


def _keypoints(at: Path, manifest: Manifest) -> Iterator[str]:
    """Whether a check can use them; what is sealed is not looked into."""
    yield from _blobs(at, manifest, KEYPOINTS)
    if manifest.sealed is not None:
        return
    from guard.verification.stored import restore

    thumbnails, keypoints = BlobReader(at / THUMBNAILS), BlobReader(at / KEYPOINTS)
    try:
        for i in _sample(manifest.count).tolist():
            stored, thumbnail = keypoints.of(i), thumbnails.of(i)
            if stored is None:
                continue
            if thumbnail is None:
                yield f"{at / KEYPOINTS} has keypoints of id {i}, which has no thumbnail"
                return
            try:
                _ = restore(stored, partial(_decoded, thumbnail)).rgb
            except InputError as exc:
                yield f"{at / KEYPOINTS}: id {i}: {exc}"
                return
    finally:
        thumbnails.close()
        keypoints.close()


def _integrity(table: ReadOnlyTable) -> Iterator[str]:
    said = table.query("PRAGMA integrity_check(3)")
    if said != [("ok",)]:
        yield f"{table.path} is damaged: {'; '.join(str(row[0]) for row in said)}"


def _decoded(thumbnail: bytes) -> RGBArray:
    return decode(thumbnail, where="its thumbnail").rgb


def _skipped(at: Path, manifest: Manifest) -> Iterator[str]:
    found: dict[str, int] = {}
    for skip in read_skipped(at):
        found[skip.reason] = found.get(skip.reason, 0) + 1
    if found != manifest.skipped:
        yield f"{at / 'skipped.jsonl'} lists {found}; the manifest says {manifest.skipped}"


def _search(at: Path, manifest: Manifest) -> Iterator[str]:
    vectors = load_vectors(at, manifest)
    mapped = map_rows(at / VECTORS, check_file(at / VECTORS, manifest), manifest.count)
    ids = _sample(len(mapped))
    rows = np.array(mapped[ids])
    queries = unpack_bits(rows, manifest.embedder.dim) if manifest.vectors == "bits" else rows
    found = vectors.search(queries, 1).similarity[:, 0]
    lost = np.flatnonzero(~(found >= 1 - _NORM_SLACK))
    if len(lost):
        yield f"{at / VECTORS}: row {ids[lost[0]]} does not find itself (similarity {found[lost[0]]:g})"


def _sample(count: int) -> npt.NDArray[np.int64]:
    """Row numbers, spread over the file."""
    return np.unique(np.linspace(0, max(count - 1, 0), min(SAMPLE, count)).astype(np.int64))


def _overlay(at: Path, manifest: Manifest) -> Iterator[str]:
    state_of(at.parent.parent, manifest)  # raises for what is damaged
    yield from ()
