"""The false-positive rate of a decision as a function of its threshold, and back. Knows a sample and its tail.

Where at least TEN matches are expected, counts decide, with Clopper and Pearson's interval; beyond, the tail, down to
a rate at which a TENTH of a match would be expected. What neither supports is refused, with what is missing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from guard.calibration.sample import GRID, Sample
from guard.calibration.tail import Tail
from guard.errors import ConfigError
from guard.evaluation.intervals import Interval, clopper_pearson

__all__ = ["LEAST_EVENTS", "TEN", "Rates", "Threshold"]

TEN = 10.0
LEAST_EVENTS = 0.1  # expected in the sample: how far a tail is extrapolated
LARGEST = 1.0  # similarity that a policy takes
_NONE = -math.log(0.025)  # events that a 97.5 % bound allows where none was seen


@dataclass(frozen=True, slots=True)
class Threshold:
    """The similarity that keeps a rate."""

    rate: float
    similarity: float
    """Inclusive: the upper end of the interval, so that the rate is kept and not only met on average."""
    estimate: float
    """The similarity whose rate is most likely the one asked for."""
    low: float
    """Lower end of the 95 % interval; `similarity` is its upper end."""
    method: Literal["empirical", "tail"]


@dataclass(frozen=True, slots=True, eq=False)
class Rates:
    sample: Sample
    tail: Tail | None
    refused: str = ""
    """Why there is no tail."""

    def rate(self, similarity: float) -> Interval:
        """Share of clean pictures that match at this threshold, with its 95 % interval."""
        sample, hits = self.sample, self.sample.reaching(similarity)
        tail = self.tail
        if tail is None or similarity <= tail.start or hits >= TEN * sample.design_effect:
            return clopper_pearson(hits / sample.design_effect, sample.effective)
        beyond, always = tail.rate(similarity), sample.identical / sample.n
        return Interval(*(min(1.0, always + part) for part in (beyond.value, beyond.low, beyond.high)))

    def point(self, similarity: float) -> float:
        """The rate without its interval, which costs a hundred times as much in the tail."""
        sample, tail = self.sample, self.tail
        hits = sample.reaching(similarity)
        if tail is None or similarity <= tail.start or hits >= TEN * sample.design_effect:
            return hits / sample.n
        beyond = float(tail.gpd.survival(similarity - tail.start))
        return min(1.0, sample.identical / sample.n + tail.share * beyond)

    def threshold(self, rate: float) -> Threshold:
        """The threshold of a rate in (0, 1). Raises ConfigError if data and tail do not support it."""
        sample, expected = self.sample, self.sample.effective * rate
        always = sample.identical / sample.n
        if always >= rate:
            raise ConfigError(
                f"{sample.identical} of {sample.n} clean pictures are identical to a reference by PDQ, which matches "
                f"at any threshold: a rate of {rate:g} cannot be had. Look at them: take copies out of the clean "
                "pictures, or set policy.identical to ignore"
            )
        if expected >= TEN or (self.tail is None and expected >= _NONE):
            return self._within(self._empirical(rate))
        if self.tail is None:
            raise ConfigError(
                f"{sample.n} clean pictures do not support a rate of {rate:g} without a tail ({self.refused}): "
                + self._more(_NONE / rate)
            )
        if expected < LEAST_EVENTS * (1 - 1e-9):
            raise ConfigError(
                f"{sample.n} clean pictures do not support a rate of {rate:g}, which is more than "
                f"{1 / LEAST_EVENTS:g} times rarer than one of them: {self._more(LEAST_EVENTS / rate)}"
            )
        found = self.tail.threshold(rate - always)
        return self._within(Threshold(rate, _up(found.high), found.value, found.low, "tail"))

    def _empirical(self, rate: float) -> Threshold:
        """Of counts: the lowest similarities whose bound, rate and lower bound are within the rate."""
        sample = self.sample

        def most(bound: str) -> int:
            """The largest count whose bound does not exceed the rate; -1 for none."""
            low, high = -1, sample.n
            while low < high:
                middle = (low + high + 1) // 2
                interval = clopper_pearson(middle / sample.design_effect, sample.effective)
                low, high = (middle, high) if getattr(interval, bound) <= rate else (low, middle - 1)
            return low

        allowed = most("high")
        if allowed < sample.identical:
            raise ConfigError(
                f"{sample.identical} of {sample.n} clean pictures are identical to a reference by PDQ: a rate of "
                f"{rate:g} cannot be kept with 95 % confidence. Look at them: are they copies?"
            )
        at, estimate, low = (sample.reached_by(k) for k in (allowed, int(sample.n * rate + 1e-9), most("low")))
        return Threshold(rate, at, estimate, low, "empirical")

    def _within(self, threshold: Threshold) -> Threshold:
        if threshold.similarity > LARGEST:
            raise ConfigError(
                f"no similarity keeps a rate of {threshold.rate:g} with 95 % confidence: {threshold.similarity:.4f} "
                f"would be needed, and {LARGEST:g} is the largest that a policy takes. The estimate is "
                f"{threshold.estimate:.4f}: more clean pictures than {self.sample.n} narrow its interval; or take a "
                "larger rate"
            )
        return threshold

    def _more(self, needed: float) -> str:
        total = math.ceil(needed * self.sample.design_effect)
        return f"give {max(1, total - self.sample.n)} more clean pictures ({total} in all)"


def _up(similarity: float) -> float:
    """The next similarity on the sample's grid."""
    return math.ceil(similarity / GRID - 1e-9) * GRID
