"""An index and clean pictures -> a version of the index with its calibration. Knows the order of the steps."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from guard._version import __version__
from guard.calibration.clean import score_clean
from guard.calibration.growth import dispersion
from guard.calibration.rates import Rates
from guard.calibration.record import (
    FORMAT_VERSION,
    Calibration,
    PixelsEntry,
    SampleEntry,
    ThresholdEntry,
    WholeEntry,
    windows_seen,
)
from guard.calibration.references import MOST_QUERIES, leave_one_out
from guard.calibration.scored import Scored
from guard.calibration.strength import PIXELS_SHARE, left_to_similarity, strength_keeping
from guard.embedders.base import Embedder
from guard.embedders.views import VIEW_KINDS, AskedViews, ViewKind, looks_at_windows, usual_views
from guard.errors import ConfigError, MissingExtraError
from guard.indexes.attach import attach
from guard.indexes.layout import KEEP, IndexFolder
from guard.indexes.manifest import CALIBRATION
from guard.indexes.records import THUMBNAILS
from guard.indexes.staging import writing
from guard.indexes.store import OpenIndex, open_index
from guard.indexes.transformed_rows import DUPLICATE
from guard.sources.base import Skip, Source, count_items
from guard.sources.opening import open_source
from guard.verification.examiner import CANDIDATES, Examiner
from guard.verification.verifier import identity_of

__all__ = ["LEAST_PICTURES", "TARGETS", "CalibrationReport", "calibrate_index"]

TARGETS = (1e-3, 1e-5)
LEAST_PICTURES = 100  # fewer do not support a rate of 4 %
GROWTH_SHARE = 0.02  # of the pictures match at the threshold where clustering is measured


_SAMPLE = {"levels", "counts", "grid"}
_SHORT: Any = {**dict.fromkeys(_SAMPLE, True), "pixels": {"strengths": _SAMPLE, "unrefuted": _SAMPLE}}
"""What a report leaves out: the samples themselves."""


@dataclass(frozen=True, slots=True)
class CalibrationReport:
    path: Path
    version: str
    calibration: Calibration
    identical: tuple[str, ...] = ()
    """Clean pictures that PDQ calls identical to a reference: copies among them should be taken out."""
    copies: tuple[tuple[str, str, float], ...] = ()
    """(picture, reference, strength) of those that compared pixels call copies; the same holds of them."""
    skips: tuple[Skip, ...] = ()
    """Clean pictures that cannot be had, with the reason."""

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, without the sample."""
        fields = self.calibration.model_dump(mode="json", exclude=_SHORT)
        skipped = [{"image": skip.uri, "reason": skip.reason, "detail": skip.detail} for skip in self.skips]
        shown = {"path": str(self.path), "version": self.version, **fields}
        copies = [{"image": image, "reference": uri, "strength": strength} for image, uri, strength in self.copies]
        return {**shown, "identical_pictures": list(self.identical), "copies_by_pixels": copies, "skipped": skipped}


def calibrate_index(
    path: str | Path,
    *,
    clean: Source | str | Path | None = None,
    embedder: Embedder | None = None,
    targets: Sequence[float] = TARGETS,
    query_views: AskedViews = "auto",
    hashes: bool = True,
    verify: bool | None = None,
    candidates: int = CANDIDATES,
    duplicate: float = DUPLICATE,
    limit: int = MOST_QUERIES,
    seed: int = 0,
    workers: int | None = None,
    keep: int = KEEP,
    on_progress: Callable[[int, int | None], None] = lambda _done, _total: None,
) -> CalibrationReport:
    """Measure how often pictures that are no copies match, and publish a version with the result.

    clean: pictures that are known to be no copies, e.g. generations of the user's own pipeline that somebody looked at;
    they are looked up as a check does it, and need the index's `embedder`. None: the references themselves, each among
    the others (guard.calibration.references, with duplicate, limit and seed).
    targets: rates whose thresholds are written down; others can be asked for later. query_views, hashes: as in the
    checks that the calibration is for; auto: of clean pictures as checks do by themselves, of references "one".
    hashes: whether PDQ's verdict counts (policy.identical is not ignore). verify: whether pixels are compared as well,
    with so many candidates; None: where the index holds thumbnails and OpenCV is installed.
    Raises ConfigError for values out of range, sources that do not fit or fewer than 100 clean pictures, before any is
    looked up where the source can tell; IndexLoadError for a damaged index or another embedder.
    """
    for target in targets:
        if not 0 < target < 1:
            raise ConfigError(f"a target rate is {target:g}; it lies between 0 and 1, e.g. 1e-3")
    if query_views != "auto" and query_views not in VIEW_KINDS:
        raise ConfigError(f"query_views is {query_views!r}; known: auto, {', '.join(VIEW_KINDS)}")
    if clean is not None and embedder is None:
        raise ConfigError("clean pictures are looked up with the index's embedder: give it too")
    if limit < 1 or not 0 < duplicate <= 1:
        raise ConfigError("limit must be at least 1, and the bar of duplicates a cosine above 0, at most 1")
    folder = IndexFolder(path)
    folder.current()
    source = open_source(clean, spec=embedder.spec) if embedder and isinstance(clean, str | Path) else clean
    if source is not None and not isinstance(source, str | Path):
        _require_enough(count_items(source, LEAST_PICTURES), "clean pictures")
    with folder.writer():
        with open_index(folder.path) as index:
            views: ViewKind = "one"
            if query_views != "auto":
                views = query_views
            elif clean is not None and embedder is not None:
                views = usual_views(embedder, index.manifest.regions)
            if source is None:
                _require_enough(min(limit, len(index)), "references")
            examiner = _examiner(index, verify)
            verifier = identity_of(examiner.ready()) if examiner else ""
            compares: dict[str, Any] = {"examiner": examiner, "candidates": candidates}
            if clean is not None and source is not None and embedder is not None:
                scored = score_clean(
                    index,
                    source,
                    embedder,
                    query_views=views,
                    hashes=hashes,
                    workers=workers,
                    on_progress=on_progress,
                    **compares,
                )
                named = Path(clean).name if isinstance(clean, str | Path) else clean.survey().description
            else:
                scored = leave_one_out(
                    index,
                    query_views=views,
                    duplicate=duplicate,
                    limit=limit,
                    seed=seed,
                    workers=workers or os.cpu_count() or 1,
                    on_progress=on_progress,
                    **compares,
                )
                named = f"{len(scored.identical)} of {len(index)} references, each among the others"
            calibration = _calibrated(
                index,
                scored,
                named,
                targets,
                source="references" if clean is None else "clean",
                query_views=views,
                windows=windows_seen(embedder) if embedder and looks_at_windows(views) else None,
                hashes=hashes and index.hashes is not None,
                duplicate=duplicate if clean is None else None,
                verifier=verifier,
                candidates=candidates,
            )
            with writing(folder.path):
                data = calibration.to_json().encode()
                version = attach(folder, index.folder, index.manifest, CALIBRATION, data)
        folder.prune(keep)  # now that this process has let go of the version before
    identical = tuple(uri for uri, same in zip(scored.uris, scored.identical, strict=False) if same)
    return CalibrationReport(folder.path, version, calibration, identical, scored.pairs, scored.skips)


def _require_enough(pictures: int | None, what: str, more: str = "") -> None:
    """pictures: None where only reading would tell. more: what became of others. Raises ConfigError."""
    if pictures is not None and pictures < LEAST_PICTURES:
        raise ConfigError(
            f"{pictures} {what} are too few: at least {LEAST_PICTURES} are needed, and some thousands for small "
            f"rates{more}"
        )


def _examiner(index: OpenIndex, verify: bool | None) -> Examiner | None:
    """Raises ConfigError or MissingExtraError if pixels shall be compared and cannot be."""
    if verify is False:
        return None
    if not index.manifest.files.keys() & {THUMBNAILS}:
        if verify:
            raise ConfigError("the index holds no thumbnails to compare pixels with: build it with them, or calibrate "
                              "without (--no-verify)")  # fmt: skip
        return None
    examiner = Examiner(index)
    try:
        examiner.ready()
    except MissingExtraError:
        if verify:
            raise
        return None
    return examiner


def _calibrated(
    index: OpenIndex,
    scored: Scored,
    named: str,
    targets: Sequence[float],
    *,
    verifier: str,
    candidates: int,
    **how: Any,
) -> Calibration:
    sample, manifest = scored.sample(), index.manifest
    skipped = f"; {len(scored.skips)} could not be read" if scored.skips else ""
    copies = scored.left_out.get("reference", 0)
    left_out = f"; {copies} were left out, since they are references of this index" if copies else ""
    _require_enough(sample.n, "clean pictures", f"{skipped}{left_out}")
    entry = SampleEntry(**SampleEntry.fields_of(sample))
    rates = entry.rates()
    thresholds, unsupported = [], {}
    for target in sorted(set(targets), reverse=True):
        try:
            thresholds.append(ThresholdEntry.of(rates.threshold(target)))
        except ConfigError as exc:
            unsupported[f"{target:g}"] = str(exc)
    spread = dispersion(scored.similarities, sample.reached_by(max(sample.identical, round(GROWTH_SHARE * sample.n))))
    return Calibration(
        format_version=FORMAT_VERSION,
        created_at=datetime.now(UTC),
        tool_version=__version__,
        described=named,
        index_version=index.version,
        count=manifest.count,
        embedder=manifest.embedder,
        transform_sha256=manifest.transform.sha256 if manifest.transform else None,
        regions=manifest.regions,
        left_out=scored.left_out,
        **{name: getattr(entry, name) for name in SampleEntry.model_fields},
        pixels=_pixels(scored, verifier, candidates, rates, targets),
        dispersion=None if math.isinf(spread) else spread,
        thresholds=tuple(thresholds),
        unsupported=unsupported,
        **how,
    )


def _pixels(
    scored: Scored, verifier: str, candidates: int, similarities: Rates, targets: Sequence[float]
) -> PixelsEntry | None:
    compared = scored.compared
    if compared is None or len(compared.strength) == 0:
        return None
    # Of references some are compared; none of them is identical to another by its hash.
    identical = scored.identical[: len(compared.strength)]
    strengths, unrefuted = (SampleEntry(**SampleEntry.fields_of(one)) for one in compared.samples(identical))
    rates, entries = strengths.rates(), []
    for target in sorted(set(targets), reverse=True):
        strength = strength_keeping(rates, target * PIXELS_SHARE)
        try:
            similarity = similarities.threshold(left_to_similarity(target, strength)).similarity
        except ConfigError:
            similarity = None
        entries.append(
            WholeEntry(rate=target, similarity=similarity, strength=None if math.isinf(strength) else strength)
        )
    return PixelsEntry(
        verifier=verifier, candidates=candidates, strengths=strengths, unrefuted=unrefuted, thresholds=tuple(entries)
    )  # fmt: skip
