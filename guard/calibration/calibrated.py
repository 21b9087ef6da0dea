"""The calibration of an index that is open: rates to thresholds and back, at the size that it has now."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime

from guard.calibration.growth import grown, shrunk
from guard.calibration.rates import Rates
from guard.calibration.record import Calibration, read_calibration
from guard.calibration.target import FalsePositiveRate
from guard.embedders.views import ViewKind
from guard.errors import ConfigError
from guard.evaluation.intervals import Interval
from guard.indexes.manifest import Manifest
from guard.indexes.store import OpenIndex

__all__ = ["Calibrated", "threshold_of"]


class Calibrated:
    """Thread-safe; thresholds are computed once."""

    def __init__(self, calibration: Calibration, manifest: Manifest, name: str) -> None:
        """name: of the index, for messages."""
        self.calibration, self.manifest, self.name = calibration, manifest, name
        self._rates: Rates = calibration.rates()
        self._known: dict[tuple[float, ViewKind, bool], float] = {}

    @classmethod
    def of(cls, index: OpenIndex, name: str) -> Calibrated | None:
        """None for an index without a calibration. Raises IndexLoadError for a damaged one."""
        calibration = read_calibration(index.folder, index.manifest)
        return cls(calibration, index.manifest, name) if calibration else None

    def threshold(self, rate: float, *, query_views: ViewKind, hashes: bool) -> float:
        """The similarity that keeps a rate, in (0, 1), with 95 % confidence, inclusive.

        query_views, hashes: of the checks; hashes: whether PDQ's verdict counts. An index that has grown since needs a
        threshold that kept a smaller rate then; one that has shrunk keeps its own.
        Raises ConfigError if the calibration does not fit the index or the checks, or does not support the rate.
        """
        key = (rate, query_views, hashes)
        if key not in self._known:
            misfits = self.calibration.misfits(self.manifest, query_views=query_views, hashes=hashes)
            if misfits:
                raise ConfigError(f"the calibration of {self.name} does not hold: {'; '.join(misfits)}. "
                                  f"Calibrate it anew: {_command(self.name)}")  # fmt: skip
            asked = self._rates.threshold(rate)
            then = shrunk(rate, self.calibration.count, max(self.manifest.count, self.calibration.count))
            try:
                found = self._rates.threshold(then) if then < rate else asked
            except ConfigError as exc:
                raise ConfigError(f"{self.name} has grown from {self.calibration.count} to {self.manifest.count} "
                                  f"references: {exc}. Calibrate it anew: {_command(self.name)}") from exc  # fmt: skip
            # Of a smaller rate a tail may ask for less than counts do for a larger one.
            self._known[key] = max(found.similarity, asked.similarity)
        return self._known[key]

    def expected(self, similarity: float) -> float:
        """Most likely share of clean pictures that match at this threshold, at the size of now; nan if it misfits."""
        if self.calibration.misfits(self.manifest):
            return math.nan
        spread = math.inf if self.calibration.dispersion is None else self.calibration.dispersion
        then = self._rates.point(similarity)
        return grown(then, self.calibration.count, self.manifest.count, dispersion=spread)

    def interval(self, similarity: float) -> Interval | None:
        """As expected, with its 95 % interval; None if it misfits. The ends grow like the value, without a dispersion
        the upper one: then it bounds the growth."""
        if self.calibration.misfits(self.manifest):
            return None
        spread = math.inf if self.calibration.dispersion is None else self.calibration.dispersion
        then = self._rates.rate(similarity)
        ends = ((then.value, spread), (then.low, spread), (then.high, math.inf))
        return Interval(*(grown(r, self.calibration.count, self.manifest.count, dispersion=a) for r, a in ends))

    def stale(self, max_age_days: int, now: datetime | None = None) -> list[str]:
        """See Calibration.stale; now: None for this moment."""
        return self.calibration.stale(self.manifest, now or datetime.now(UTC), max_age_days=max_age_days)


def threshold_of(
    calibrated: Calibrated | None, *, index: str, query_views: ViewKind, hashes: bool
) -> Callable[[FalsePositiveRate], float]:
    """What a policy asks for its rates; ConfigError where there is no calibration."""

    def threshold(target: FalsePositiveRate) -> float:
        if calibrated is None:
            raise ConfigError(f"{index} has no calibration: {_command(index)}")
        return calibrated.threshold(target.rate, query_views=query_views, hashes=hashes)

    return threshold


def _command(name: str) -> str:
    return f"`memguard calibrate {name} --clean DIR`, or --from-references"
