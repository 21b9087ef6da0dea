"""One build of an index or addition to it, from where it stopped to its publication. Knows the order of the steps.

Files, decoding and formats live elsewhere.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from guard._version import __version__
from guard.embedders.base import Embedder
from guard.embedders.views import REGION_HANDICAP, REGION_KINDS, REGIONS
from guard.errors import ConfigError, IndexLoadError
from guard.indexes.already_there import AlreadyThere
from guard.indexes.build_report import BuildReport, report_of
from guard.indexes.build_resume import finished_before
from guard.indexes.faissfile import VECTORS, FlatLayout, map_rows
from guard.indexes.hashes import takes_hashes
from guard.indexes.layout import IndexFolder
from guard.indexes.manifest import FORMAT_VERSION, MANIFEST, Manifest, SealedEntry, TransformEntry, vector_kind
from guard.indexes.preparation import LeftOut, Limits, Rows, prepare
from guard.indexes.sealing import CIPHER, SealingKey, keypoints_name
from guard.indexes.staging import ALREADY_THERE, Staging, complete, is_sealed, settings_sha256, writing
from guard.indexes.transform import POWER, Transform, fit_whitening
from guard.indexes.transformed_rows import near_references, read_transform
from guard.indexes.usual import has_usual_regions, is_usual, usual_transform
from guard.sources.base import Source, Survey
from guard.verification.opencv import opencv
from guard.verification.stored import METHOD

__all__ = ["BuildJob", "Progress"]

Progress = Callable[[int, int | None], None]
"""Called with (items done, total or None if unknown) after every group of items."""


class BuildJob:
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
        duplicates: bool = True,
    ) -> None:
        """duplicates: whether items are added that the version which is gone on from holds already."""
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
        self.duplicates = duplicates
        self.regions = regions
        if regions is not None and regions not in REGION_KINDS:
            raise ConfigError(
                f"the index has {regions} vectors a picture, which this version cannot make; build it anew"
            )

    def run(self, base: str | None, *, restart: bool) -> BuildReport:
        began = time.perf_counter()
        survey = self.source.survey()
        regions = self._regions(survey)
        self.layout = FlatLayout(self.kind, self.embedder.spec.dim, regions)
        self.limits = replace(self.limits, views=REGION_KINDS[regions])
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
            ready = finished_before(self.folder, building, settings_sha256(settings), keep=self.keep)
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
            self._fill(staging, survey, base, before)
            done, there = staging.position - start, staging.already_there()
            if before is not None and there and _adds_nothing(staging, survey, before):
                shutil.rmtree(building)
                return self._report(before, before, survey, began, resumed_at=start, done=done, already_there=there)
            with writing(building):
                manifest = self._manifest(staging, survey, before, base)
                staging.seal(manifest)
        finally:
            staging.close()
        with writing(self.folder.path):
            self.folder.publish(building)
            self.folder.prune(self.keep)
        report = self._report(manifest, before, survey, began, resumed_at=start, done=done, already_there=there)
        lost = had is not None and not (manifest.transform and is_usual(had, self.layout.dim))
        return replace(report, transform_lost=lost)

    def _regions(self, survey: Survey) -> int:
        """Vectors a reference. A transform that is given belongs to descriptors as they were when it was made."""
        if self.regions is not None:
            return self.regions
        usual = self.transform is None and survey.pixels and has_usual_regions(self.embedder.spec, survey.total)
        return REGIONS if usual else 1

    def _fill(self, staging: Staging, survey: Survey, base: str | None, before: Manifest | None) -> None:
        """Append the rest of the source, a batch a step."""
        step = Rows()
        self.on_progress(staging.position, survey.total)
        items = self.source.items(staging.position)
        with self._left_out(base, before) as left_out:
            for rows in prepare(items, self.embedder, self.limits, workers=self.workers, left_out=left_out):
                step.extend(rows)
                self.on_progress(staging.position + step.items, survey.total)
                if step.items >= self.batch:
                    self._commit(staging, step)
                    step = Rows()
        if step.items:
            self._commit(staging, step)

    @contextmanager
    def _left_out(self, base: str | None, before: Manifest | None) -> Iterator[LeftOut | None]:
        if self.duplicates or base is None or before is None:
            yield None
            return
        with closing(AlreadyThere(self.folder.version(base), before, self.layout, self.collections)) as there:
            yield there.skip

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
            **({"left_out": ALREADY_THERE} if not self.duplicates else {}),
        }

    def _manifest(self, staging: Staging, survey: Survey, before: Manifest | None, base: str | None) -> Manifest:
        sources = tuple(dict.fromkeys((*(before.sources if before else ()), survey.description)))
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
        self, manifest: Manifest, before: Manifest | None, survey: Survey, began: float, **run: Any
    ) -> BuildReport:
        """run: the other arguments of `report_of`."""
        seconds, version = time.perf_counter() - began, self.folder.current()
        return report_of(
            manifest, before, path=self.folder.path, version=version, ignored=survey.ignored, seconds=seconds, **run
        )


def _adds_nothing(staging: Staging, survey: Survey, before: Manifest) -> bool:
    """Whether the version would be the one before: no reference, nothing that could not be read, no folder is new."""
    same = staging.rows == before.count and staging.skipped() == before.skipped
    return same and (before.sealed is not None or set(survey.folders).issubset(before.folders))


def _silent(done: int, total: int | None) -> None:
    """No progress was asked for."""
