"""Source -> new version of an index. Knows the order of the steps; files, decoding and formats live elsewhere."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from guard._version import __version__
from guard.embedders.base import Embedder
from guard.embedders.views import REGION_HANDICAP, view_count
from guard.errors import ConfigError, IndexLoadError
from guard.indexes.build_report import BuildReport
from guard.indexes.faissfile import VECTORS, FlatLayout, map_rows
from guard.indexes.hashes import HASHES_BY_DEFAULT, takes_hashes
from guard.indexes.layout import KEEP, IndexFolder
from guard.indexes.manifest import FORMAT_VERSION, MANIFEST, Manifest, SealedEntry, TransformEntry, vector_kind
from guard.indexes.preparation import Limits, Rows, prepare
from guard.indexes.records import KEYPOINTS, THUMBNAILS
from guard.indexes.sealing import CIPHER, SealingKey, fitting_key, keypoints_name
from guard.indexes.staging import Staging, complete, is_sealed, settings_sha256, unseal, writing
from guard.indexes.transform import POWER, Transform, fit_whitening
from guard.indexes.transformed_rows import near_references, read_transform
from guard.indexes.usual import has_usual_regions, is_usual, usual_transform
from guard.sources.base import Source, Survey
from guard.types import Collection
from guard.verification.opencv import opencv
from guard.verification.stored import METHOD

__all__ = ["BATCH", "add_to_index", "build_index"]

BATCH = 256  # items a step: at most so many are done twice after a kill
THUMBNAIL_PX = 256


Progress = Callable[[int, int | None], None]
"""Called with (items done, total or None if unknown) after every group of items."""


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
    regions: whether the crops of guard.embedders.views are indexed too, so that images are found that show a part of a
    picture; 15 times the vectors, and as much longer to build and to search. None: where they are neither few nor many
    and the embedder has thresholds for it (guard.indexes.usual).
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
    job = _Job(
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
        regions=None if regions is None else view_count("crops") if regions else 1,
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
    on_progress: Progress | None = None,
) -> BuildReport:
    """Make a version that also holds a source's pictures, after those that are there; ids stay.

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
        job = _Job(
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
        )
        return job.run(base=name, restart=restart)


class _Job:
    """One build or addition, under the writer's lock."""

    def __init__(
        self,
        source: Source,
        out: str | Path,
        embedder: Embedder,
        collections: Sequence[str],
        thumbnails: int,
        batch: int,
        workers: int | None,
        limits: Limits | None,
        keep: int,
        on_progress: Progress | None,
        *,
        hashes: bool,
        keypoints: bool,
        regions: int | None,
        transform: Transform | None = None,
        whiten: bool | None = None,
        key: SealingKey | None = None,
    ) -> None:
        if batch < 1 or (workers is not None and workers < 1) or keep < 1 or thumbnails < 0:
            raise ConfigError("batch, workers and keep must be at least 1, and thumbnails 0 or more")
        if not collections or not all(collections):
            raise ConfigError("name at least one collection, e.g. 'training'")
        if keypoints:
            if not thumbnails:
                raise ConfigError("keypoints are stored beside thumbnails: ask for thumbnails too, or for neither")
            opencv()
        limits = limits or Limits()
        self.source, self.folder, self.embedder = source, IndexFolder(out), embedder
        self.collections = tuple(dict.fromkeys(str(c) for c in collections))
        self.limits = Limits(
            limits.max_bytes,
            limits.max_pixels,
            thumbnails,
            hashes=hashes and takes_hashes(embedder.spec),
            keypoints=keypoints,
        )
        self.batch, self.workers, self.keep = batch, workers or os.cpu_count() or 1, keep
        self.on_progress = on_progress or _silent
        self.transform, self.whiten = transform, whiten
        self.key = key if thumbnails else None
        self.kind = vector_kind(embedder.spec)
        if whiten and self.kind == "bits":
            raise ConfigError(f"{embedder.spec.name} makes bits, which are compared as they are: no --whiten")
        self.regions = regions
        if regions not in (None, 1, view_count("crops")):
            raise ConfigError(
                f"the index has {regions} vectors a picture, which this version cannot make; build it anew"
            )

    def run(self, base: str | None, *, restart: bool) -> BuildReport:
        began = time.perf_counter()
        survey = self.source.survey()
        regions = self._regions(survey)
        self.layout = FlatLayout(self.kind, self.embedder.spec.dim, regions)
        self.limits = replace(self.limits, regions=regions > 1)
        if not survey.pixels and regions > 1:
            raise ConfigError(
                f"{survey.description} holds finished descriptors, one a picture: no crops can be indexed; build the "
                "index with --no-regions"
            )
        if base is None and not survey.pixels:
            self.limits = replace(self.limits, hashes=False)
        settings = self._settings(survey, base)
        building = self.folder.path / "building"
        before = Manifest.read(self.folder.version(base) / MANIFEST) if base else None
        had = self._transform_before() if base is None and self.transform is None else None
        if not restart:
            ready = self._finished_before(building, settings)
            if ready is not None:
                return self._report(ready, before, survey, began, resumed_at=survey.total or 0, unchanged=True)
        with writing(building):
            staging = Staging(
                building,
                self.layout,
                settings,
                thumbnails=self.limits.thumbnail_px > 0,
                hashes=self.limits.hashes,
                keypoints=self.limits.keypoints,
                base=self.folder.version(base) if base else None,
                restart=restart or is_sealed(building),
            )
        start = staging.position
        try:
            self._fill(staging, survey)
            done = staging.position - start
            with writing(building):
                manifest = self._manifest(staging, survey, before, base)
                staging.seal(manifest)
        finally:
            staging.close()
        with writing(self.folder.path):
            self.folder.publish(building)
            self.folder.prune(self.keep)
        report = self._report(manifest, before, survey, began, resumed_at=start, done=done)
        lost = had is not None and not (manifest.transform and is_usual(had, self.layout.dim))
        return replace(report, transform_lost=lost)

    def _regions(self, survey: Survey) -> int:
        """Vectors a reference. A transform that is given belongs to descriptors as they were when it was made."""
        if self.regions is not None:
            return self.regions
        usual = self.transform is None and survey.pixels and has_usual_regions(self.embedder.spec, survey.total)
        return view_count("crops") if usual else 1

    def _fill(self, staging: Staging, survey: Survey) -> None:
        """Append the rest of the source, a batch a step."""
        step = Rows()
        self.on_progress(staging.position, survey.total)
        items = self.source.items(staging.position)
        for rows in prepare(items, self.embedder, self.limits, workers=self.workers):
            step.extend(rows)
            self.on_progress(staging.position + step.items, survey.total)
            if step.items >= self.batch:
                self._commit(staging, step)
                step = Rows()
        if step.items:
            self._commit(staging, step)

    def _commit(self, staging: Staging, step: Rows) -> None:
        with writing(staging.folder):
            staging.append(
                self.layout.encode(step.vectors(self.layout.dim)),
                step.records(staging.rows, self.collections),
                [self._sealed(row.thumbnail, row.record.sha256) for row in step.rows],
                step.skipped,
                step.notes,
                position=staging.position + step.items,
                hashes=[row.hash for row in step.rows],
                keypoints=[self._sealed(row.keypoints, keypoints_name(row.record.sha256)) for row in step.rows],
            )

    def _sealed(self, data: bytes | None, name: str) -> bytes | None:
        return data if data is None or self.key is None else self.key.seal(data, name)

    def _finished_before(self, building: Path, settings: Mapping[str, Any]) -> Manifest | None:
        """The manifest of this very build if it is complete; published now if a kill came before that."""
        done = settings_sha256(settings)
        if is_sealed(building):
            manifest = Manifest.read(building / MANIFEST)
            if manifest.settings_sha256 == done:
                unseal(building)
                self.folder.publish(building)
                self.folder.prune(self.keep)
                return manifest
        current = self.folder.current() if self.folder.exists else ""
        for name in self.folder.published():
            if name >= current and is_sealed(self.folder.version(name)):  # newer: renamed, but CURRENT was not written
                manifest = Manifest.read(self.folder.version(name) / MANIFEST)
                if manifest.settings_sha256 == done:
                    if name != current:
                        self.folder.switch(name)
                        self.folder.prune(self.keep)
                    return manifest
        return None

    def _settings(self, survey: Survey, base: str | None) -> dict[str, Any]:
        """Whatever decides the outcome; the sizes of batches and the number of workers do not."""
        return {
            "format": FORMAT_VERSION,
            "tool": __version__,
            "embedder": self.embedder.spec.identity(),
            "source": [survey.description, survey.fingerprint],
            "collections": list(self.collections),
            "thumbnails": self.limits.thumbnail_px,
            "hashes": self.limits.hashes,
            "regions": self.layout.regions,
            "limits": [self.limits.max_bytes, self.limits.max_pixels],
            "base": base,
            **({"transform": self.transform.identity} if self.transform else {"whiten": self.whiten}),
            **({"key": self.key.id} if self.key else {}),
            **({"keypoints": METHOD} if self.limits.keypoints else {}),
        }

    def _manifest(self, staging: Staging, survey: Survey, before: Manifest | None, base: str | None) -> Manifest:
        sources = (*(before.sources if before else ()), survey.description)
        if base and before:
            transform = read_transform(self.folder.version(base), before)
        else:
            transform = self.transform or self._whitening(staging)
        if transform is not None and before is not None and transform.normalisation is not None:
            # A background picture that became a reference would hide the copies of it.
            added = map_rows(staging.folder / VECTORS, self.layout, staging.rows)[before.count * self.layout.regions :]
            transform = transform.without(near_references(transform.normalisation.background, added))
        at = self.folder.version(base) if base else None
        sealed = SealedEntry(cipher=CIPHER, key_id=self.key.id) if self.key else None
        folders = (*(before.folders if before else ()), *survey.folders)
        spec = self.embedder.spec
        less = before.region_handicap if before else REGION_HANDICAP if self.kind == "float32" else 0.0
        return complete(
            staging, spec, sources, transform, base=at, sealed=sealed, folders=folders, region_handicap=less
        )  # fmt: skip

    def _whitening(self, staging: Staging) -> Transform | None:
        if self.whiten is False:
            return None
        rows = map_rows(staging.folder / VECTORS, self.layout, staging.rows)[:: self.layout.regions]
        usual = usual_transform(self.embedder.spec, rows)
        return Transform(fit_whitening(rows, power=POWER)) if self.whiten and usual is None else usual

    def _transform_before(self) -> TransformEntry | None:
        """Of the version in use; one that cannot be read is about to be replaced."""
        with suppress(IndexLoadError):
            return Manifest.read(self.folder.version(self.folder.current()) / MANIFEST).transform
        return None

    def _report(
        self,
        manifest: Manifest,
        before: Manifest | None,
        survey: Survey,
        began: float,
        *,
        resumed_at: int,
        done: int = 0,
        unchanged: bool = False,
    ) -> BuildReport:
        seconds = time.perf_counter() - began
        return BuildReport(
            path=self.folder.path,
            version=self.folder.current(),
            count=manifest.count,
            added=manifest.count - (before.count if before else 0),
            skipped=_more(manifest.skipped, before.skipped if before else {}),
            notes=_more(manifest.notes, before.notes if before else {}),
            ignored=survey.ignored,
            seconds=seconds,
            images_per_second=done / seconds,
            resumed_at=resumed_at,
            unchanged=unchanged,
            background_left_out=_background(before) - _background(manifest) if before else 0,
        )


def _more(now: Mapping[str, int], before: Mapping[str, int]) -> dict[str, int]:
    return {name: n - before.get(name, 0) for name, n in now.items() if n > before.get(name, 0)}


def _background(manifest: Manifest) -> int:
    normalisation = manifest.transform.normalisation if manifest.transform else None
    return normalisation.background if normalisation else 0


def _silent(done: int, total: int | None) -> None:
    """No progress was asked for."""


def _source(source: Source | str | Path, embedder: Embedder) -> Source:
    if isinstance(source, str | Path):
        from guard.sources.opening import open_source

        return open_source(source, spec=embedder.spec)
    return source
