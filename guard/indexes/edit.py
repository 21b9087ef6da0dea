"""Versions made of other versions: two indexes in one, or an index without some references. Knows no picture."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from itertools import islice
from pathlib import Path
from uuid import uuid4

import numpy as np

from guard.errors import ConfigError
from guard.indexes.already_there import AlreadyThere, left_out
from guard.indexes.cluster_rows import without_members
from guard.indexes.faissfile import VECTORS, FlatLayout, check_file, map_rows, originals
from guard.indexes.hashes import HASHES, map_hashes
from guard.indexes.layout import KEEP, IndexFolder, hold, release
from guard.indexes.manifest import MANIFEST, Manifest
from guard.indexes.overlay import identity_of
from guard.indexes.overlay_merge import merge_overlays
from guard.indexes.records import BLOBS, KEYPOINTS, RECORDS, THUMBNAILS, BlobReader, RecordReader
from guard.indexes.staging import Staging, complete, read_skipped, writing
from guard.indexes.transform import POWER, Transform, fit_whitening
from guard.indexes.transformed_rows import read_transform
from guard.indexes.usual import is_usual, usual_transform
from guard.sources.base import Skip
from guard.types import Record

__all__ = ["merge_indexes", "remove_from_index"]

_ROWS = 1024  # copied at a time


def merge_indexes(
    first: str | Path, second: str | Path, out: str | Path, *, duplicates: bool = False, keep: int = KEEP
) -> tuple[Manifest, int]:
    """Write an index with the references of both, those of `first` with their ids, those of `second` after them.

    What `first` holds already, in all of the collections, is left out and counted, as by `add_to_index`, unless it
    would take a caption, a thumbnail, keypoints or a hash with it; duplicates: it is kept all the same. Returns the
    manifest, and how many were left out. Thumbnails, keypoints and hashes are kept where there are any, and so is what
    the overlays say. Crops of the references are kept if both have them.
    Raises ConfigError if the two were built with different embedders, naming the field, have different
    transforms, or out is one of them. Whitenings with the usual settings do differ: the
    merged index has its own then.
    """
    folder = IndexFolder(out)
    if folder.path.resolve() in (Path(first).resolve(), Path(second).resolve()):
        raise ConfigError(f"{out} is one of the two indexes to merge; name a new folder with --out")
    with ExitStack() as stack:
        parts = [stack.enter_context(_Part(IndexFolder(path))) for path in (first, second)]
        one, other = (part.manifest for part in parts)
        for field, value in one.spec.identity().items():
            if other.spec.identity()[field] != value:
                raise ConfigError(
                    f"{first} and {second} cannot be merged: embedder field {field} is {value!r} in the first and "
                    f"{other.spec.identity()[field]!r} in the second; rebuild one of them with the other's embedder"
                )
        if one.sealed != other.sealed:
            raise ConfigError(
                f"{first} and {second} cannot be merged: their thumbnails are not sealed with one key; build one anew"
            )
        if one.transform != other.transform and not all(_fitted_anew(part) for part in parts):
            raise ConfigError(
                f"{first} and {second} cannot be merged: their transforms differ; take them off with "
                "`memguard index transform --remove`, merge, and transform what comes out"
            )
        stack.enter_context(folder.writer())
        # Before the version: at no moment may it be in use without what protects its references.
        merge_overlays([Path(first), Path(second)], folder.path, identity=identity_of(one))
        shared = {} if duplicates else _shared(*parts)
        with writing(folder.path):
            without = [frozenset[int](), frozenset(shared)]
            refit = one.transform != other.transform
            manifest = _rewrite(folder, parts, without, keep, refit=refit, skipped=list(shared.values()))
        return manifest, len(shared)


def remove_from_index(
    path: str | Path,
    *,
    ids: Iterable[int] = (),
    uris: Iterable[str] = (),
    sha256s: Iterable[str] = (),
    collections: Iterable[str] = (),
    keep: int = KEEP,
) -> tuple[Manifest, int]:
    """Write a version without the references that have any of these; returns its manifest and how many are gone.

    The others move up: ids are those of the new version. Older versions still hold what was
    removed until they are pruned; keep=1 does that at once.
    Raises ConfigError if nothing matches.
    """
    folder = IndexFolder(path)
    folder.current()
    with folder.writer():
        with _Part(folder) as part:
            gone = part.reader.ids_where(ids=ids, uris=uris, sha256s=sha256s, collections=collections)
            if not gone:
                meant = next(filter(None, map(part.reader.uri_like, uris)), "")
                hint = f"; did you mean the uri {meant}?" if meant else ""
                raise ConfigError(f"no reference of {path} matches; nothing was removed{hint}")
            with writing(folder.path):
                manifest = _rewrite(folder, [part], [frozenset(gone)], keep)
        folder.prune(keep)  # once more, now that this process has let go of the old version
    return manifest, len(gone)


class _Part:
    """The version in use of an index, open for copying."""

    def __init__(self, folder: IndexFolder) -> None:
        self.at = folder.version(folder.current())
        self.held = hold(self.at)
        self.manifest = Manifest.read(self.at / MANIFEST)
        check_file(self.at / VECTORS, self.manifest)
        self.path, self.layout = originals(self.at, self.manifest)
        self.transform = read_transform(self.at, self.manifest)
        self.reader = RecordReader(self.at / RECORDS)
        self.blobs = {name: BlobReader(self.at / name) for name in BLOBS if name in self.manifest.files}
        self.hashes = map_hashes(self.at, self.manifest) if self.manifest.hashes else None

    def __enter__(self) -> _Part:
        return self

    def __exit__(self, *exc: object) -> None:
        self.reader.close()
        for reader in self.blobs.values():
            reader.close()
        release(self.held)

    def blocks(self, without: frozenset[int], regions: int) -> Iterator[tuple[bytes, list[Record]]]:
        """(encoded rows, records) of the references that stay, some at a time; the first `regions` rows of each."""
        vectors = map_rows(self.path, self.layout, self.manifest.count)
        vectors = vectors.reshape(self.manifest.count, self.layout.regions, vectors.shape[1])
        records = (record for record in self.reader.all() if record.id not in without)
        while some := list(islice(records, _ROWS)):
            rows = np.ascontiguousarray(vectors[[record.id for record in some], :regions])
            yield rows.tobytes(), some

    def blobs_of(self, name: str, records: Sequence[Record]) -> list[bytes | None]:
        """Their thumbnails or keypoints as they were stored; None without any."""
        reader = self.blobs.get(name)
        return [reader.of(record.id) if reader else None for record in records]

    def kept_of(self, record: Record) -> set[str]:
        """What there is of it beside its vectors: a caption, and names of files that hold the rest."""
        kept = {name for name, reader in self.blobs.items() if reader.of(record.id) is not None}
        return kept | ({HASHES} if self.hashes is not None else set()) | ({"caption"} if record.caption else set())

    def hashes_of(self, records: Sequence[Record]) -> list[bytes | None]:
        """Their rows as they lie in the file; None without any."""
        if self.hashes is None:
            return [None] * len(records)
        return [row.tobytes() for row in self.hashes[[record.id for record in records]]]


def _fitted_anew(part: _Part) -> bool:
    transform = part.manifest.transform
    return transform is None or is_usual(transform, part.manifest.embedder.dim)


def _shared(first: _Part, second: _Part) -> dict[int, Skip]:
    """Ids of the second whose references the first holds too, with all that the second keeps of them."""
    found: dict[int, Skip] = {}
    with closing(AlreadyThere(first.at, first.manifest, first.layout, ())) as there:
        for encoded, records in second.blocks(frozenset(), 1):
            size = len(encoded) // len(records)
            for i, record in enumerate(records):
                same = there.record_like(record, encoded[i * size : (i + 1) * size])
                if same is not None and second.kept_of(record) <= first.kept_of(same):
                    found[record.id] = left_out(record.uri, same)
    return found


def _rewrite(
    folder: IndexFolder,
    parts: Sequence[_Part],
    without: Sequence[frozenset[int]],
    keep: int,
    *,
    refit: bool = False,
    skipped: Sequence[Skip] = (),
) -> Manifest:
    """without: ids of each part. refit: with a whitening of all that stay, in place of the first part's transform.

    skipped: besides what the parts list.
    """
    spec = parts[0].manifest.spec
    regions = min(part.layout.regions for part in parts)
    layout = FlatLayout(parts[0].layout.kind, spec.dim, regions)
    editing = folder.path / "editing"
    staging = Staging(
        editing,
        layout,
        {"edit": uuid4().hex},  # never resumed: copying is quick
        thumbnails=any(THUMBNAILS in part.blobs for part in parts),
        keypoints=any(KEYPOINTS in part.blobs for part in parts),
        hashes=any(part.hashes is not None for part in parts),
        restart=True,
    )
    try:
        staging.append(b"", [], [], skipped, {}, position=0)
        for part, gone in zip(parts, without, strict=True):
            notes = part.manifest.notes
            left = without_members(part.reader.clusters()[:, 0], gone)
            if len(parts) > 1:  # nobody has looked for what they have in common
                left[:] = -1, 1
            staging.append(b"", [], [], read_skipped(part.at), notes, position=0)
            for encoded, records in part.blocks(gone, regions):
                renumbered = [
                    replace(r, id=staging.rows + i, cluster=int(left[r.id, 0]), cluster_size=int(left[r.id, 1]))
                    for i, r in enumerate(records)
                ]
                thumbnails, keypoints = (part.blobs_of(name, records) for name in (THUMBNAILS, KEYPOINTS))
                hashes = part.hashes_of(records)
                staging.append(
                    encoded, renumbered, thumbnails, (), {}, position=0, hashes=hashes, keypoints=keypoints
                )  # fmt: skip
        sources = [source for part in parts for source in part.manifest.sources]
        folders = [folder for part in parts for folder in part.manifest.folders]
        base = parts[0].at if len(parts) == 1 else None  # a merged index is calibrated anew
        sealed = parts[0].manifest.sealed
        transform = parts[0].transform
        if refit:
            rows = map_rows(editing / VECTORS, layout, staging.rows)[:: layout.regions]
            transform = usual_transform(spec, rows) or Transform(fit_whitening(rows, power=POWER))
        manifest = complete(
            staging,
            spec,
            sources,
            transform,
            base=base,
            sealed=sealed,
            folders=folders,
            region_handicap=max(part.manifest.region_handicap for part in parts),
        )
    finally:
        staging.close()
    staging.seal(manifest)
    folder.publish(editing)
    folder.prune(keep)
    return manifest
