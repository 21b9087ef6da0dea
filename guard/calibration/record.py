"""A calibration as it is kept: calibration.json of an index's version. Knows fields, checks and when it is stale."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Self

import numpy as np
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, model_validator

from guard.calibration.gpd import Gpd
from guard.calibration.rates import Rates, Threshold
from guard.calibration.sample import GRID, Sample
from guard.calibration.tail import Tail, TailRefused, fit_tail
from guard.embedders.base import Embedder
from guard.embedders.views import WINDOW_HANDICAP, ViewKind, looks_at_windows, windows_identity
from guard.errors import IndexLoadError
from guard.indexes.manifest import CALIBRATION, EmbedderEntry, Manifest

__all__ = [
    "FORMAT_VERSION",
    "MAX_AGE_DAYS",
    "Calibration",
    "ComparedPixels",
    "PixelsEntry",
    "SampleEntry",
    "TailEntry",
    "ThresholdEntry",
    "WholeEntry",
    "read_calibration",
    "windows_seen",
]

FORMAT_VERSION = 1
MAX_AGE_DAYS = 180
GROWN = 2.0  # times as many references, or as few: stale

Count = Annotated[int, Field(ge=0)]


class ComparedPixels(NamedTuple):
    """How checks compare pixels."""

    verifier: str
    candidates: int


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TailEntry(_Model):
    """The generalised Pareto tail, as it was fitted."""

    start: float
    exceeding: int = Field(ge=1)
    """Pictures above start."""
    shape: float
    scale: float = Field(gt=0)
    anderson_darling: float
    p: float = Field(ge=0, le=1)
    """Of the goodness of fit, by parametric bootstrap."""

    @classmethod
    def of(cls, tail: Tail) -> TailEntry:
        return cls(
            start=tail.start,
            exceeding=len(tail.excesses),
            shape=tail.gpd.shape,
            scale=tail.gpd.scale,
            anderson_darling=tail.statistic,
            p=tail.p,
        )


class ThresholdEntry(_Model):
    """See guard.calibration.rates.Threshold."""

    rate: float = Field(gt=0, lt=1)
    similarity: float
    estimate: float
    low: float
    method: Literal["empirical", "tail"]

    @classmethod
    def of(cls, threshold: Threshold) -> ThresholdEntry:
        return cls(
            rate=threshold.rate,
            similarity=threshold.similarity,
            estimate=threshold.estimate,
            low=threshold.low,
            method=threshold.method,
        )


class SampleEntry(_Model):
    """A sample on its grid, and the tail above it."""

    pictures: int = Field(ge=1)
    identical: Count = 0
    """Of them, PDQ-identical to a reference."""
    design_effect: float = Field(1.0, ge=1)
    grid: float = GRID
    levels: tuple[int, ...]
    """In units of grid, rounded up, ascending."""
    counts: tuple[Annotated[int, Field(ge=1)], ...]
    tail: TailEntry | None
    tail_refused: str = ""

    @classmethod
    def fields_of(cls, sample: Sample) -> dict[str, Any]:
        """The fields that say it, with its tail if there is one."""
        try:
            tail, refused = fit_tail(sample), ""
        except TailRefused as exc:
            tail, refused = None, str(exc)
        return {
            "pictures": sample.n,
            "identical": sample.identical,
            "design_effect": sample.design_effect,
            "levels": tuple(sample.levels.tolist()),
            "counts": tuple(sample.counts.tolist()),
            "tail": None if tail is None else TailEntry.of(tail),
            "tail_refused": refused,
        }

    @model_validator(mode="after")
    def _sample_fits(self) -> Self:
        if self.grid != GRID or len(self.levels) != len(self.counts):
            raise ValueError("levels and counts are no sample on a grid of 1e-5")
        if (np.diff(self.levels) <= 0).any() or sum(self.counts) + self.identical > self.pictures:
            raise ValueError("levels must ascend, and counts must not exceed the pictures")
        if self.tail is not None and len(self.sample.excesses(self.tail.start)) != self.tail.exceeding:
            raise ValueError("the tail is not that of the sample")
        return self

    @property
    def sample(self) -> Sample:
        levels, counts = np.array(self.levels, np.int64), np.array(self.counts, np.int64)
        return Sample(levels, counts, self.pictures, self.identical, self.design_effect)

    def rates(self) -> Rates:
        """The rate as a function of the threshold, at the size that was measured."""
        sample, entry = self.sample, self.tail
        if entry is None:
            return Rates(sample, None, self.tail_refused)
        gpd, excesses = Gpd(entry.shape, entry.scale), sample.excesses(entry.start)
        tail = Tail(entry.start, excesses, gpd, entry.anderson_darling, entry.p, sample.n, sample.design_effect)
        return Rates(sample, tail)


class WholeEntry(_Model):
    """What keeps a rate of the whole decision, where pixels are compared too."""

    rate: float = Field(gt=0, lt=1)
    similarity: float | None
    """None: no similarity is known to."""
    strength: float | None
    """From which evidence counts by itself; None: no strength is known to keep its part of the rate."""


class PixelsEntry(_Model):
    """What compared pixels say of the clean pictures, or of some of them."""

    verifier: str
    """See guard.verification.verifier.identity_of."""
    candidates: int = Field(ge=1)
    """References that were compared with each picture."""
    strengths: SampleEntry
    """Of the strongest evidence of each picture; from 0 on it is a copy."""
    unrefuted: SampleEntry
    """Similarities of the nearest candidate that the pixels do not refute."""
    thresholds: tuple[WholeEntry, ...] = ()
    """For the targets that were asked for."""


class Calibration(SampleEntry):
    """Nearest similarities of clean pictures, the tail above them, and for what index and settings they hold."""

    format_version: int
    created_at: AwareDatetime
    """UTC."""
    tool_version: str
    source: Literal["clean", "references"]
    described: str
    """Where the clean pictures came from, in words."""
    index_version: str
    count: int = Field(ge=1)
    """References in the index."""
    embedder: EmbedderEntry
    transform_sha256: str | None
    regions: int = Field(ge=1)
    query_views: ViewKind
    windows: str | None = None
    """Of query views that are windows: how they were looked at, see `windows_seen`. None: other views, or a calibration
    from before this was recorded."""
    hashes: bool
    """Whether PDQ's verdict counted as a match."""
    duplicate: float | None = None
    """Of references: the cosine above which two of them were taken for one picture."""
    left_out: dict[str, int] = Field(default_factory=dict)
    pixels: PixelsEntry | None = None
    """None: none were compared."""
    dispersion: float | None = Field(None, gt=0)
    """How far matches cluster, see guard.calibration.growth; None: not noticeably."""
    thresholds: tuple[ThresholdEntry, ...] = ()
    """For the targets that were asked for, of similarity alone."""
    unsupported: dict[str, str] = Field(default_factory=dict)
    """Targets that data and tail do not support, with the reason."""

    def misfits(
        self,
        manifest: Manifest,
        *,
        query_views: ViewKind | None = None,
        windows: str | None = None,
        hashes: bool = False,
        pixels: ComparedPixels | None = None,
    ) -> list[str]:
        """What makes it useless for this index, in words; [] if it fits.

        query_views: of the checks, None for whatever was calibrated. windows: their windows_seen, None if nobody asked;
        they are taken to fit where the calibration does not know (`unknown`). hashes: whether PDQ's verdict counts in
        them; a calibration without hashes misses the matches that PDQ adds. pixels: how they compare pixels, None if
        they do not, or for whatever was calibrated.
        """
        found = []
        for field, value in self.embedder.model_dump().items():
            now = manifest.embedder.model_dump()[field]
            if now != value:
                found.append(f"the embedder's {field} is {now!r}, and was {value!r}")
        if (manifest.transform.sha256 if manifest.transform else None) != self.transform_sha256:
            found.append("the index's transform is another one")
        if manifest.regions != self.regions:
            found.append(f"the index has {manifest.regions} vectors a picture, and had {self.regions}")
        if query_views is not None and query_views != self.query_views:
            found.append(f"query_views is {query_views!r}, and was {self.query_views!r}")
        if None not in (windows, self.windows) and windows != self.windows:
            found.append("the windows of pictures are seen at another size, are other parts or count in another way")
        if hashes and manifest.hashes is not None and not self.hashes:
            found.append("PDQ's verdict counts now, and did not")
        if pixels is not None:
            found += self.pixels_misfits(pixels)
        return found

    @property
    def unknown(self) -> list[str]:
        """What it does not say and might misfit by, in words; [] if it says all."""
        if looks_at_windows(self.query_views) and self.windows is None:
            return ["at what size windows of the pictures were seen was not recorded, and is taken to be that of now"]
        return []

    def pixels_misfits(self, now: ComparedPixels) -> list[str]:
        """What it does not know of pixels that are compared like this, in words; [] if it does."""
        if self.pixels is None:
            return ["pixels are compared now, and were not"]
        found = []
        if now.verifier != self.pixels.verifier:
            found.append("the verifier is another one")
        if now.candidates > self.pixels.candidates:
            found.append(f"{now.candidates} candidates are compared, and {self.pixels.candidates} were")
        return found

    def stale(
        self,
        manifest: Manifest,
        now: datetime,
        *,
        max_age_days: int = MAX_AGE_DAYS,
        count: int | None = None,
        windows: str | None = None,
    ) -> list[str]:
        """Why it should be made anew, in words; [] while it is fresh. Misfits are among them.

        count: of the references, with what the overlay adds and buries; None: those of the version. windows: see
        misfits.
        """
        found, held = self.misfits(manifest, windows=windows), manifest.count if count is None else count
        if not self.count / GROWN < held < self.count * GROWN:
            found.append(f"the index holds {held} references, and held {self.count}")
        age = (now - self.created_at).days
        if age > max_age_days:
            found.append(f"it is {age} days old, more than {max_age_days}")
        return found

    def to_json(self) -> str:
        return json.dumps(self.model_dump(mode="json")) + "\n"


def windows_seen(embedder: Embedder) -> str:
    """What similarities of a picture's windows depend on beside the embedder's identity, in one line."""
    return f"{windows_identity(embedder)} less {WINDOW_HANDICAP:g}"


def read_calibration(folder: Path, manifest: Manifest) -> Calibration | None:
    """The calibration of a version, None if it has none. Raises IndexLoadError, naming the file, for a damaged one."""
    if CALIBRATION not in manifest.files:
        return None
    path, anew = folder / CALIBRATION, "calibrate the index anew"
    try:
        fields: Any = json.loads(path.read_text(encoding="utf-8"))
    except OSError as exc:
        raise IndexLoadError(f"{path} cannot be read ({exc.strerror}); {anew}") from exc
    except ValueError as exc:
        raise IndexLoadError(f"{path} is damaged (not JSON: {exc}); {anew}") from exc
    found = fields.get("format_version") if isinstance(fields, dict) else None
    if found != FORMAT_VERSION:
        raise IndexLoadError(
            f"{path}: format_version {found!r} is unknown, this version reads {FORMAT_VERSION}; {anew}"
        )
    try:
        return Calibration.model_validate(fields)
    except ValidationError as exc:
        first = exc.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the whole"
        raise IndexLoadError(f"{path} is damaged: {where}: {first['msg']}; {anew}") from exc
