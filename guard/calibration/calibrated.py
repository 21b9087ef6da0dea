"""The calibration of an index that is open: rates to thresholds and back, at the size that it has now."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from guard.calibration.growth import grown, shrunk
from guard.calibration.rates import Rates
from guard.calibration.record import Calibration, ComparedPixels, read_calibration, windows_seen
from guard.calibration.strength import PIXELS_SHARE, left_to_similarity, strength_keeping
from guard.calibration.target import FalsePositiveRate
from guard.embedders.base import Embedder
from guard.embedders.views import ViewKind
from guard.errors import ConfigError
from guard.evaluation.intervals import Interval
from guard.indexes.manifest import Manifest
from guard.indexes.store import OpenIndex

__all__ = ["Calibrated", "threshold_of"]


class Calibrated:
    """Thread-safe; thresholds are computed once."""

    def __init__(
        self, calibration: Calibration, manifest: Manifest, name: str, embedder: Embedder | None = None
    ) -> None:
        """name: of the index, for messages. embedder: that checks look at windows with, where the calibration knows of
        windows; None: not asked. Raises ConfigError if its windows cannot be opened."""
        self.calibration, self.manifest, self.name = calibration, manifest, name
        self._windows = None if embedder is None or calibration.windows is None else windows_seen(embedder)
        self._rates: Rates = calibration.rates()
        pixels = calibration.pixels
        self._strengths = pixels.strengths.rates() if pixels else None
        self._unrefuted = pixels.unrefuted.rates() if pixels else None
        self._known: dict[tuple[float, ViewKind, bool, ComparedPixels | None], float] = {}
        self._strong: dict[float, float] = {}

    @classmethod
    def of(cls, index: OpenIndex, name: str, embedder: Embedder | None = None) -> Calibrated | None:
        """None for an index without a calibration. Raises IndexLoadError for a damaged one."""
        calibration = read_calibration(index.folder, index.manifest)
        return cls(calibration, index.manifest, name, embedder) if calibration else None

    def threshold(
        self, rate: float, *, query_views: ViewKind, hashes: bool, pixels: ComparedPixels | None = None
    ) -> float:
        """The similarity that keeps a rate, in (0, 1), with 95 % confidence, inclusive.

        query_views, hashes: of the checks; hashes: whether PDQ's verdict counts. pixels: how they compare pixels, which
        may add a part of the rate, unless no strength of evidence is known to keep that; None if they do not. An
        index that has grown since needs a threshold that kept a smaller rate then; one that has shrunk keeps its own.
        Raises ConfigError if the calibration does not fit the index or the checks, or does not support the rate.
        """
        key = (rate, query_views, hashes, pixels)
        if key not in self._known:
            misfits = self._misfits(query_views=query_views, hashes=hashes, pixels=pixels)
            if misfits:
                raise ConfigError(f"the calibration of {self.name} does not hold: {'; '.join(misfits)}. "
                                  f"Calibrate it anew: {_command(self.name)}")  # fmt: skip
            left = rate if pixels is None else left_to_similarity(rate, self.strength(rate))
            asked, then = self._rates.threshold(left), self._then(left)
            try:
                found = self._rates.threshold(then) if then < left else asked
            except ConfigError as exc:
                raise ConfigError(f"{self.name} has grown from {self.calibration.count} to {self.manifest.count} "
                                  f"references: {exc}. Calibrate it anew: {_command(self.name)}") from exc  # fmt: skip
            # Of a smaller rate a tail may ask for less than counts do for a larger one.
            self._known[key] = max(found.similarity, asked.similarity)
        return self._known[key]

    def strength(self, rate: float) -> float:
        """The strength of evidence that keeps the pixels' part of a rate; inf if none is known to.

        It does not ask whether the calibration fits; `threshold` does.
        """
        if self._strengths is None:
            return math.inf
        if rate not in self._strong:
            part = rate * PIXELS_SHARE
            asked, then = (strength_keeping(self._strengths, r) for r in (part, self._then(part)))
            self._strong[rate] = max(asked, then)
        return self._strong[rate]

    def expected(
        self, flag: float, *, strength: float = 0.0, pixels: ComparedPixels | None = None, count: int | None = None
    ) -> float:
        """Most likely share of clean pictures that match at these thresholds, at the size of now; nan if it misfits.

        flag: similarity. strength: of evidence, where pixels are compared. count: of references; None: the version's.
        """
        if self._misfits(pixels=pixels):
            return math.nan
        spread = math.inf if self.calibration.dispersion is None else self.calibration.dispersion
        then = self._rates.point(flag)
        if pixels is not None and self._strengths is not None and self._unrefuted is not None:
            by_pixels = 0.0 if math.isinf(strength) else self._strengths.point(strength)
            then = min(1.0, self._unrefuted.point(flag) + by_pixels)
        return grown(then, self.calibration.count, self.manifest.count if count is None else count, dispersion=spread)

    def interval(self, similarity: float) -> Interval | None:
        """As expected, with its 95 % interval; None if it misfits. The ends grow like the value, without a dispersion
        the upper one: then it bounds the growth."""
        if self._misfits():
            return None
        spread = math.inf if self.calibration.dispersion is None else self.calibration.dispersion
        then = self._rates.rate(similarity)
        ends = ((then.value, spread), (then.low, spread), (then.high, math.inf))
        return Interval(*(grown(r, self.calibration.count, self.manifest.count, dispersion=a) for r, a in ends))

    def whole_rate(self, flag: float, *, strength: float = 0.0, pixels: ComparedPixels | None = None) -> Interval:
        """As expected, at the size that was measured, with 95 % intervals of its parts added up."""
        if pixels is None or self._strengths is None or self._unrefuted is None:
            return self._rates.rate(flag)
        parts = [self._unrefuted.rate(flag)] + ([] if math.isinf(strength) else [self._strengths.rate(strength)])
        value, low, high = (min(1.0, sum(getattr(part, end) for part in parts)) for end in ("value", "low", "high"))
        return Interval(value, low, high)

    def _then(self, rate: float) -> float:
        """The rate at the calibration's size that grows to this one at the size of now."""
        return shrunk(rate, self.calibration.count, max(self.manifest.count, self.calibration.count))

    def stale(self, max_age_days: int, now: datetime | None = None, *, count: int | None = None) -> list[str]:
        """See Calibration.stale; now: None for this moment."""
        now = now or datetime.now(UTC)
        return self.calibration.stale(self.manifest, now, max_age_days=max_age_days, count=count, windows=self._windows)

    def _misfits(self, **checks: Any) -> list[str]:
        return self.calibration.misfits(self.manifest, windows=self._windows, **checks)


def threshold_of(
    calibrated: Calibrated | None,
    *,
    index: str,
    query_views: ViewKind,
    hashes: bool,
    pixels: ComparedPixels | None = None,
) -> Callable[[FalsePositiveRate], float]:
    """What a policy asks for its rates; ConfigError where there is no calibration."""

    def threshold(target: FalsePositiveRate) -> float:
        if calibrated is None:
            raise ConfigError(f"{index} has no calibration: {_command(index)}")
        return calibrated.threshold(target.rate, query_views=query_views, hashes=hashes, pixels=pixels)

    return threshold


def _command(name: str) -> str:
    return f"`memguard calibrate {name} --clean DIR`, or --from-references"
