"""A version of an index with another transform, or with none. Knows the order of the steps; no maths, no format."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from guard.embedders.base import Embedder
from guard.errors import ConfigError
from guard.indexes.faissfile import ORIGINALS, VECTORS, originals
from guard.indexes.layout import KEEP, IndexFolder, hold, release, share, write_durably
from guard.indexes.manifest import MANIFEST, TRANSFORM, Manifest, TransformEntry
from guard.indexes.preparation import Limits, prepare
from guard.indexes.records import RECORDS, RecordReader
from guard.indexes.rivals import Rivals
from guard.indexes.staging import writing
from guard.indexes.transform import BETA, MAX_BACKGROUND, NEAREST, POWER, Normalisation, Transform, fit_whitening
from guard.indexes.transformed_rows import apply_transform, near_references, original_rows, read_transform
from guard.sources.base import Skip, Source
from guard.sources.opening import open_source

__all__ = ["NONE", "TransformReport", "describe", "remove_transform", "transform_index"]

NONE = "none"
"""A background of this name takes the normalisation off; a folder of this name is ./none."""


@dataclass(frozen=True, slots=True)
class TransformReport:
    """What became of an index's transform."""

    path: Path
    version: str
    count: int
    """References in the index."""
    transform: TransformEntry | None
    background_left_out: int = 0
    """Background pictures that are references, or nearly: they are no background."""
    skips: tuple[Skip, ...] = ()
    """Background pictures that cannot be had, with the reason."""

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "path": str(self.path),
            "version": self.version,
            "count": self.count,
            "transform": self.transform.model_dump(mode="json") if self.transform else None,
            "background_left_out": self.background_left_out,
            "background_skipped": dict(Counter(skip.reason for skip in self.skips)),
        }


def transform_index(
    path: str | Path,
    *,
    whiten: bool | None = None,
    rivals: bool | None = None,
    shrinkage: float | None = None,
    dim: int | None = None,
    power: float | None = None,
    background: Source | str | Path | None = None,
    embedder: Embedder | None = None,
    beta: float | None = None,
    nearest: int | None = None,
    workers: int | None = None,
    keep: int = KEEP,
    on_progress: Callable[[int, int | None], None] = lambda _done, _total: None,
) -> TransformReport:
    """Publish a version with the transform that is asked for; what is not spoken of stays as it is.

    whiten: True fits a whitening on all references (not on their crops), False takes it off. shrinkage, dim,
    power: of `fit_whitening`; power is POWER by default. rivals: whether checks weigh similarities beside rivals.
    background: a Source, or what guard.sources.opening.open_source understands; "none" takes the normalisation off.
    Its pictures are embedded with `embedder`, the index's own; those that are references by their sha256, or nearly
    (cosine above DUPLICATE), are left out: a background within the index flatters, and hides copies.
    beta: share of the mean similarity that is subtracted, above 0, to 10; nearest: how many background pictures the
    mean is over. Defaults: BETA and NEAREST. The embedder's own thresholds hold for a plain whitening alone, see
    guard.indexes.usual.
    Raises ConfigError for values that do not fit, an index of packed bits, or a background of fewer than `nearest`
    pictures; IndexLoadError if the index is damaged or of another embedder.
    """
    if all(one is None for one in (whiten, rivals, background, beta, nearest)):
        raise ConfigError("say what to do: whiten, weigh rivals, give a background, or take the transform off")
    if whiten is not True and not (shrinkage is None and dim is None and power is None):
        raise ConfigError("shrinkage, dim and power belong to a new whitening: ask for it too (--whiten)")
    if beta is not None and not 0 < beta <= 10:
        raise ConfigError(f"beta is {beta:g}; it lies above 0 and is at most 10")
    if nearest is not None and nearest < 1:
        raise ConfigError(f"nearest is {nearest}; at least one background picture must be looked at")
    folder = IndexFolder(path)
    folder.current()
    with folder.writer():
        with _Version(folder) as version:
            manifest = version.manifest
            if manifest.vectors != "float32":
                raise ConfigError(
                    f"{path} holds packed bits ({manifest.embedder.name}), which are compared bit by bit and cannot be "
                    "transformed; build an index with a descriptor of floating-point values"
                )
            before = read_transform(version.at, manifest) or Transform()
            whitening, normalisation = before.whitening, before.normalisation
            if whiten is not None:
                rows = original_rows(version.at, manifest)[:: manifest.regions]  # the pictures, not their crops
                power = POWER if power is None else power
                whitening = fit_whitening(rows, shrinkage=shrinkage, dim=dim, power=power) if whiten else None
            made = None
            if background is not None:
                made = None if background == NONE else _Background(background, embedder, version, workers, on_progress)
                normalisation = made.normalisation() if made else None
            if normalisation is not None:
                normalisation = _with(normalisation, beta, nearest)
            elif beta is not None or nearest is not None:
                raise ConfigError("beta and nearest belong to a normalisation: give a background")
            weighed = before.rivals if rivals is None else Rivals() if rivals else None
            if whitening is None and normalisation is None and weighed is None:
                raise ConfigError(f"nothing would be left of {path}'s transform; take it off as a whole (--remove)")
            with writing(folder.path):
                name, entry = _publish(folder, version, Transform(whitening, normalisation, weighed))
        folder.prune(keep)  # now that this process has let go of the version before
    left_out, skips = (made.left_out, tuple(made.skips)) if made else (0, ())
    return TransformReport(folder.path, name, manifest.count, entry, left_out, skips)


def remove_transform(path: str | Path, *, keep: int = KEEP) -> TransformReport:
    """Publish a version whose vectors are the descriptors again, bit by bit. Raises ConfigError if it has none."""
    folder = IndexFolder(path)
    folder.current()
    with folder.writer():
        with _Version(folder) as version:
            if version.manifest.transform is None:
                raise ConfigError(f"{path} has no transform; nothing was removed")
            with writing(folder.path):
                name, entry = _publish(folder, version, None)
        folder.prune(keep)
    return TransformReport(folder.path, name, version.manifest.count, entry)


def describe(entry: TransformEntry, dim: int) -> list[str]:
    """In words, for people; dim: of the embedder's descriptors."""
    lines = []
    if entry.whitening is not None:
        chosen = " (Ledoit-Wolf)" if entry.whitening.chosen_by == "ledoit_wolf" else ""
        lines.append(
            f"whitening: {entry.dim} of {dim} directions, shrinkage {entry.whitening.shrinkage:.3g}{chosen}, "
            f"power {entry.whitening.power:g}, fitted on {entry.whitening.references} references"
        )
    if entry.normalisation is not None:
        norm = entry.normalisation
        lines.append(
            f"normalisation: similarity - {norm.beta:g} x mean of the {norm.nearest} nearest of {norm.background} "
            f"background pictures ({norm.source})"
        )
    if entry.rivals is not None:
        rivals = entry.rivals
        lines.append(
            f"rivals: in checks, similarity + {rivals.beta:g} x ({rivals.usual:g} - mean of the {rivals.nearest} "
            f"nearest references that are less than {rivals.alike:g} like the candidate)"
        )
    return lines


class _Version:
    """The version in use, held while another is made of it."""

    def __init__(self, folder: IndexFolder) -> None:
        self.at = folder.version(folder.current())
        self.held = hold(self.at)
        try:
            self.manifest = Manifest.read(self.at / MANIFEST)
            self.reader = RecordReader(self.at / RECORDS)
        except BaseException:
            release(self.held)
            raise

    def __enter__(self) -> _Version:
        return self

    def __exit__(self, *exc: object) -> None:
        self.reader.close()
        release(self.held)


class _Background:
    """Pictures outside of the index, embedded."""

    def __init__(
        self,
        background: Source | str | Path,
        embedder: Embedder | None,
        version: _Version,
        workers: int | None,
        on_progress: Callable[[int, int | None], None],
    ) -> None:
        if embedder is None:
            raise ConfigError("a background is embedded with the index's embedder: give it too")
        version.manifest.require(embedder.spec)
        self.version, self.embedder, self.on_progress = version, embedder, on_progress
        self.workers = workers or os.cpu_count() or 1
        named = isinstance(background, str | Path)
        self.source: Source = open_source(background, spec=embedder.spec) if named else background  # type: ignore[arg-type,assignment]
        self.left_out = 0
        self.skips: list[Skip] = []

    def normalisation(self) -> Normalisation:
        survey = self.source.survey()
        if survey.total is not None and survey.total > MAX_BACKGROUND:
            raise ConfigError(
                f"the background has {survey.total} pictures, more than {MAX_BACKGROUND}; each check looks through all "
                "of them: a few thousand that are like what is generated are enough"
            )
        vectors: list[np.ndarray[Any, Any]] = []
        done = 0
        for rows in prepare(self.source.items(), self.embedder, Limits(), workers=self.workers):
            self.skips += rows.skipped
            done += rows.items
            self.on_progress(done, survey.total)
            sha256s = [row.record.sha256 for row in rows.rows]
            known = [bool(one and self.version.reader.ids_where(sha256s=[one])) for one in sha256s]
            self.left_out += sum(known)
            block = rows.vectors(self.embedder.spec.dim)[~np.array(known, np.bool_)]
            vectors.append(block)
            if done > MAX_BACKGROUND:
                raise ConfigError(f"the background has more than {MAX_BACKGROUND} pictures; give fewer")
        background = np.concatenate([np.empty((0, self.embedder.spec.dim), np.float32), *vectors])
        near = near_references(background, original_rows(self.version.at, self.version.manifest))
        self.left_out += int(near.sum())
        return Normalisation(background[~near], BETA, NEAREST, survey.description)


def _with(normalisation: Normalisation, beta: float | None, nearest: int | None) -> Normalisation:
    changed = replace(
        normalisation,
        beta=normalisation.beta if beta is None else float(beta),
        nearest=normalisation.nearest if nearest is None else nearest,
    )
    if len(changed.background) < changed.nearest:
        raise ConfigError(
            f"the background has {len(changed.background)} pictures that are no references, and the mean is over the "
            f"{changed.nearest} nearest; give more pictures"
        )
    return changed


def _publish(folder: IndexFolder, version: _Version, transform: Transform | None) -> tuple[str, TransformEntry | None]:
    """The version's files with its descriptors in VECTORS, transformed or not; the others are shared, not copied."""
    manifest, editing = version.manifest, folder.path / "editing"
    shutil.rmtree(editing, ignore_errors=True)
    editing.mkdir(parents=True)
    rows, layout = originals(version.at, manifest)
    files = {name: entry for name, entry in manifest.files.items() if name not in (VECTORS, ORIGINALS, TRANSFORM)}
    for name in files:
        share(version.at / name, editing / name)
    share(rows, editing / VECTORS)
    files[VECTORS] = manifest.files[rows.name]
    entry = None
    if transform is not None:
        entry, changed = apply_transform(editing, transform, layout, manifest.count)
        files |= changed
    fields = {**manifest.model_dump(), "transform": entry, "files": files}
    write_durably(editing / MANIFEST, Manifest.model_validate(fields).to_json().encode())
    return folder.publish(editing), entry
