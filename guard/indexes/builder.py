"""Source -> new version of an index: what may be asked for. Knows what an index asks of what is added; no steps."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from guard.embedders.base import Embedder
from guard.embedders.views import REGIONS
from guard.indexes.build_job import BuildJob, Progress
from guard.indexes.build_report import BuildReport
from guard.indexes.hashes import HASHES_BY_DEFAULT
from guard.indexes.layout import KEEP, IndexFolder
from guard.indexes.manifest import MANIFEST, Manifest
from guard.indexes.preparation import Limits
from guard.indexes.records import KEYPOINTS, THUMBNAILS
from guard.indexes.sealing import SealingKey, fitting_key
from guard.indexes.transform import Transform
from guard.sources.base import Source
from guard.types import Collection

__all__ = ["BATCH", "add_to_index", "build_index"]

BATCH = 256  # items a step: at most so many are done twice after a kill
THUMBNAIL_PX = 256


def build_index(
    source: Source | str | Path,
    out: str | Path,
    embedder: Embedder,
    *,
    collections: Sequence[str] = (Collection.TRAINING,),
    thumbnails: int = THUMBNAIL_PX,
    hashes: bool = HASHES_BY_DEFAULT,
    keypoints: bool = False,
    regions: bool | None = None,
    batch: int = BATCH,
    workers: int | None = None,
    limits: Limits | None = None,
    restart: bool = False,
    keep: int = KEEP,
    transform: Transform | None = None,
    whiten: bool | None = None,
    key: SealingKey | None = None,
    on_progress: Progress | None = None,
) -> BuildReport:
    """Build the index of a source and make it the version in use.

    source: a Source, or a path that guard.sources.opening.open_source understands.
    thumbnails: longer side in px of the stored thumbnails, 0 for none. batch: items a step.
    hashes: whether a PDQ hash is stored beside each descriptor, by which identical pictures are found whatever the
    descriptor says; none are for an index of PDQ itself, or a source that holds no pictures.
    keypoints: whether what a verifier needs of each thumbnail is stored too (guard.verification.stored), some 25 kB a
    picture, so that a check need not extract it; OpenCV is needed then.
    regions: whether the crops of guard.embedders.views and an equalised copy are indexed too, so that images are found
    that show a part of a picture, or show it in other levels; 16 times the vectors, and as much longer to build and to
    search. None: where they are neither few nor many and the embedder has thresholds for it (guard.indexes.usual).
    workers: decoding threads, None for one a core. keep: published versions to keep, this one included.
    transform: what descriptors and queries go through; None: what `whiten` says. whiten: whether a whitening is fitted
    on the references; None: where they are many and the embedder has thresholds for it (guard.indexes.usual).
    key: seals the thumbnails; None: they are plain.
    A killed build is resumed by the same call; a build that is complete, of a source that has not
    changed, is left as it is. restart=True drops what is there. Pictures that cannot be read are listed, not raised.
    Raises ConfigError if an unfinished build with other settings is in the way, IndexLockedError if
    another process writes the index, CheckError if the embedder fails on all of a group, GuardError
    if the disk is full.
    """
    job = BuildJob(
        _source(source, embedder),
        out,
        embedder,
        collections,
        thumbnails,
        batch,
        workers,
        limits,
        keep,
        on_progress,
        hashes=hashes,
        keypoints=keypoints,
        regions=None if regions is None else REGIONS if regions else 1,
        transform=transform,
        whiten=whiten,
        key=key,
    )
    with job.folder.writer():
        return job.run(base=None, restart=restart)


def add_to_index(
    source: Source | str | Path,
    path: str | Path,
    embedder: Embedder,
    *,
    collections: Sequence[str] = (Collection.TRAINING,),
    batch: int = BATCH,
    workers: int | None = None,
    limits: Limits | None = None,
    restart: bool = False,
    keep: int = KEEP,
    key: SealingKey | None = None,
    duplicates: bool = False,
    on_progress: Progress | None = None,
) -> BuildReport:
    """Make a version that also holds a source's pictures, after those that are there; ids stay.

    What the index holds already, in all of the collections, is left out and counted (guard.indexes.already_there), and
    no version is made where nothing else is left. duplicates: add it all the same, where it matters how often a
    training set repeats its pictures.
    Thumbnails, keypoints and hashes are stored if the index has them; sealed ones need its key. Resumable and otherwise
    as build_index; the index must exist and fit the embedder (IndexLoadError).
    """
    folder = IndexFolder(path)
    folder.current()
    with folder.writer():
        name = folder.current()
        manifest = Manifest.read(folder.version(name) / MANIFEST)
        manifest.require(embedder.spec, index=str(path))
        side = THUMBNAIL_PX if THUMBNAILS in manifest.files else 0
        job = BuildJob(
            _source(source, embedder),
            path,
            embedder,
            collections,
            side,
            batch,
            workers,
            limits,
            keep,
            on_progress,
            hashes=manifest.hashes is not None,
            keypoints=KEYPOINTS in manifest.files,
            regions=manifest.regions,
            key=fitting_key(manifest, key, str(path)) if side else None,
            duplicates=duplicates,
        )
        return job.run(base=name, restart=restart)


def _source(source: Source | str | Path, embedder: Embedder) -> Source:
    if isinstance(source, str | Path):
        from guard.sources.opening import open_source

        return open_source(source, spec=embedder.spec)
    return source
