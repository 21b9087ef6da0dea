"""`memguard dedup` as a function: an index or a source -> clusters, lists, plot, page and, if asked for, a new set.

Knows the order of the steps and the names of the files; each step lives in a file of its own.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from guard.dedup.apply import apply_to, check_place
from guard.dedup.choose import Keep, chosen
from guard.dedup.fates import Applied
from guard.dedup.find import Duplicates, find_duplicates
from guard.dedup.lists import write_lists
from guard.dedup.material import Material
from guard.dedup.neighbours import Method
from guard.dedup.page import template, write_page
from guard.dedup.plot import draw
from guard.embedders.base import Embedder
from guard.errors import ConfigError
from guard.indexes.build_report import BuildReport
from guard.indexes.builder import build_index
from guard.indexes.cluster_rows import Ids
from guard.indexes.clusters import write_clusters
from guard.indexes.layout import KEEP, IndexFolder, lock_folder
from guard.indexes.sealing import SealingKey
from guard.indexes.staging import SKIPPED, writing
from guard.indexes.store import open_index
from guard.sources.base import Source
from guard.wholefile import whole_file

__all__ = ["DedupReport", "Options", "dedup_index", "dedup_source"]

SEALED = "no pixels were compared: the thumbnails are sealed, and no key was given"
INDEX, PAIRS, PLOT, PAGE, SUMMARY = "set.index", "pairs.sqlite", "histogram.png", "clusters.html", "summary.json"

Stages = Callable[[str, int, int | None], None]


def _silent(stage: str, done: int, total: int | None) -> None:
    """No progress was asked for."""


@dataclass(frozen=True, slots=True)
class DedupReport:
    """What was found, and where it is."""

    index: Path
    version: str
    """That holds the clusters."""
    out: Path
    """Folder of the lists, the plot and the page."""
    pictures: int
    """Looked at."""
    clusters: int
    """Of two or more."""
    largest: int
    kept: int
    dropped: dict[str, int]
    """By what they share with the picture that stays: bytes, pixels, or near."""
    method: str
    compared: int
    """Near pairs; agreed: those of them that are copies."""
    agreed: int
    skipped: dict[str, int]
    """Pictures of the source that could not be read, by reason; each one is a line of skipped.jsonl."""
    files: tuple[str, ...]
    """In `out`."""
    note: str = ""
    """What was not written or not compared, and why."""
    applied: Applied | None = None
    build: BuildReport | None = field(default=None, repr=False)
    """Of the index of a source."""

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        fields = {**asdict(self), "index": str(self.index), "out": str(self.out)}
        fields["build"] = self.build.to_dict() if self.build else None
        return fields


@dataclass(frozen=True, slots=True)
class Options:
    """What is looked at, how, and what stays; see find_duplicates and Keep."""

    keep: Keep = Keep.LARGEST
    collection: str | None = None
    similarity: float | None = None
    verify: bool = True
    method: Method = "auto"
    workers: int | None = None
    copy: bool = False
    """With `apply`: copies instead of hard links."""


def dedup_source(
    source: Source,
    out: str | Path,
    embedder: Embedder,
    options: Options | None = None,
    *,
    apply: str | Path | None = None,
    restart: bool = False,
    key: SealingKey | None = None,
    on_progress: Stages = _silent,
) -> DedupReport:
    """Find the duplicates of a source, and write what dedup_index writes to `out`, with the index that it takes.

    A killed run is gone on with by the same call; restart=True builds the index anew.
    apply: a new folder for the source without its duplicates. key: seals the thumbnails of that index.
    Raises what build_index and dedup_index raise.
    """
    out, options = Path(out), options or Options()
    _check(source, out, apply)
    with lock_folder(out):
        built = build_index(
            source,
            out / INDEX,
            embedder,
            workers=options.workers,
            restart=restart,
            keep=1,
            key=key,
            on_progress=lambda done, total: on_progress("indexing", done, total),
        )
        report = _dedup(out / INDEX, out, options, source, apply, True, 1, key, on_progress)
    return replace(report, build=built)


def dedup_index(
    path: str | Path,
    out: str | Path,
    options: Options | None = None,
    *,
    source: Source | None = None,
    apply: str | Path | None = None,
    publish: bool = True,
    keep_versions: int = KEEP,
    key: SealingKey | None = None,
    on_progress: Stages = _silent,
) -> DedupReport:
    """Find the duplicates among the references of an index.

    Writes to the folder `out`: keep and drop lists, histogram.png, clusters.html, summary.json, skipped.jsonl, and
    pairs.sqlite, from which a killed run goes on; each whole or not at all. Publishes a version of the index that says
    of each reference which cluster it is in, unless publish is False or it says so already.
    source, apply: what the index was made of, and a new folder for it without its duplicates. key: of sealed
    thumbnails, which the page then shows; without it no pixels are compared, and the report's note says so.
    Raises ConfigError for a folder or source that does not fit, MissingExtraError without Jinja or OpenCV, and what
    open_index, find_duplicates and apply_to raise.
    """
    out, options = Path(out), options or Options()
    if apply is not None and source is None:
        raise ConfigError("an index holds no originals: name the source that it was made of too (--source)")
    _check(source, out, apply)
    if IndexFolder(out).exists:
        raise ConfigError(f"{out} is an index; name a folder for the results")
    with lock_folder(out):
        return _dedup(Path(path), out, options, source, apply, publish, keep_versions, key, on_progress)


def _check(source: Source | None, out: Path, apply: str | Path | None) -> None:
    """What would only come to light after the work."""
    template()
    if source is not None:
        check_place(out, source)
        if apply is not None:
            check_place(Path(apply), source)


def _dedup(
    path: Path,
    out: Path,
    options: Options,
    source: Source | None,
    apply: str | Path | None,
    publish: bool,
    keep_versions: int,
    key: SealingKey | None,
    on_progress: Stages,
) -> DedupReport:
    with open_index(path, key=key) as index:
        found = find_duplicates(
            index,
            collection=options.collection,
            similarity=options.similarity,
            verify=options.verify,
            method=options.method,
            workers=options.workers,
            remember=out / PAIRS,
            on_progress=on_progress,
        )
        material = Material(index, options.collection)
        stays = chosen(material.records(), found.cluster, options.keep)
        with writing(out):
            listed = write_lists(out, found, stays, material)
            title = f"Duplicates in {', '.join(index.manifest.sources) or path.name}"
            files = (*listed.files, *_pictures(out, found, stays, material, title), SKIPPED)
            shutil.copyfile(index.folder / SKIPPED, out / SKIPPED)
        applied = None
        if apply is not None and source is not None:
            applied = apply_to(
                apply, source, index, stays, copy=options.copy,
                on_progress=lambda done, total: on_progress("writing", done, total),
            )  # fmt: skip
        known = index.reader.clusters()[:, 0]
        notes = [listed.note, SEALED if options.verify and index.manifest.sealed and key is None else ""]
    if publish and not np.array_equal(known, found.cluster):
        write_clusters(path, found.cluster, method=found.method, version=found.version, keep=keep_versions)
    many = [len(members) for members in found.members()]
    report = DedupReport(
        index=path,
        version=IndexFolder(path).current(),
        out=out,
        pictures=found.looked_at,
        clusters=len(many),
        largest=max(many, default=min(found.looked_at, 1)),
        kept=listed.kept,
        dropped=listed.dropped,
        method=found.method,
        compared=found.compared,
        agreed=found.agreed,
        skipped=index.manifest.skipped,
        files=(*files, SUMMARY),
        note="; ".join(filter(None, notes)),
        applied=applied,
    )
    with whole_file(out / SUMMARY) as new:
        new.write_text(json.dumps(report.to_dict(), indent=1) + "\n", encoding="utf-8")
    return report


def _pictures(out: Path, found: Duplicates, stays: Ids, material: Material, title: str) -> tuple[str, str]:
    with whole_file(out / PLOT) as new:
        draw(found.cluster, title).save(new, "PNG")
    write_page(out / PAGE, found, stays, material, title=title)
    return PLOT, PAGE
