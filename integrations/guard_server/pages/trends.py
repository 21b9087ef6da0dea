"""What the metrics said of late: a bounded ring of samples, and what happened between them. Draws nothing.

Everything comes from the guard's own registry, so that the page and the dashboards cannot tell different stories.
"""

from __future__ import annotations

import bisect
import math
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prometheus_client import Metric

__all__ = ["EVERY_S", "Counts", "Interval", "Trends", "counts_of"]

EVERY_S = 10.0
KEPT = 360
"""Samples: an hour."""
POINTS = 60
"""Intervals at most that are told of; samples in between are left out."""


@dataclass(frozen=True, slots=True)
class Counts:
    """The counters at one moment, over all pipelines."""

    at: float
    """Seconds since the epoch."""
    decisions: dict[str, float] = field(default_factory=dict)
    failures: float = 0.0
    seconds: tuple[tuple[float, float], ...] = ()
    """Upper bounds of the buckets of a check's duration, ascending, and how many checks took at most so long."""

    @property
    def images(self) -> float:
        return sum(self.decisions.values())


@dataclass(frozen=True, slots=True)
class Interval:
    """What happened between two moments."""

    start: float
    end: float
    images: float
    marked: float
    """Flagged or blocked."""
    failures: float
    p50_s: float | None
    p95_s: float | None
    """Of a check, from the histogram's buckets; None without one."""

    @property
    def per_minute(self) -> float:
        return 60 * self.images / (self.end - self.start)

    @property
    def marked_share(self) -> float | None:
        return self.marked / self.images if self.images else None


class Trends:
    """The last hour of counters, oldest first. For one thread at a time."""

    def __init__(self, kept: int = KEPT) -> None:
        self._samples: deque[Counts] = deque(maxlen=kept)

    def add(self, counts: Counts) -> None:
        """Counters that went back (another registry, a clock that was set) begin a new story."""
        last = self._samples[-1] if self._samples else None
        if last is not None and (counts.at <= last.at or counts.images < last.images):
            self._samples.clear()
        self._samples.append(counts)

    def intervals(self, now: Counts | None = None) -> list[Interval]:
        """At most POINTS of about equal length, oldest first; now: the newest moment, which is not kept."""
        moments = [*self._samples]
        if now is not None and (not moments or now.at > moments[-1].at):
            moments.append(now)
        step = max(1, math.ceil((len(moments) - 1) / POINTS))
        chosen = moments[::-1][::step][::-1]
        return [between(first, second) for first, second in pairwise(chosen)]

    def whole(self, now: Counts) -> Interval | None:
        """All that is known as one interval."""
        return between(self._samples[0], now) if self._samples and now.at > self._samples[0].at else None


def between(first: Counts, second: Counts) -> Interval:
    def grown(name: str) -> float:
        return second.decisions.get(name, 0) - first.decisions.get(name, 0)

    before = dict(first.seconds)
    buckets = [(bound, count - before.get(bound, 0)) for bound, count in second.seconds]
    return Interval(
        first.at,
        second.at,
        images=second.images - first.images,
        marked=grown("flag") + grown("block"),
        failures=second.failures - first.failures,
        p50_s=quantile(buckets, 0.5),
        p95_s=quantile(buckets, 0.95),
    )


def quantile(buckets: Sequence[tuple[float, float]], q: float) -> float | None:
    """As PromQL's histogram_quantile: linear within a bucket; beyond the last bound, that bound."""
    if not buckets or buckets[-1][1] <= 0:
        return None
    wanted = q * buckets[-1][1]
    place = bisect.bisect_left([count for _, count in buckets], wanted)
    bound, count = buckets[place]
    low, under = buckets[place - 1] if place else (0.0, 0.0)
    if not math.isfinite(bound):
        return low
    return low + (bound - low) * (wanted - under) / (count - under) if count > under else bound


def counts_of(families: Iterable[Metric], at: float) -> Counts:
    """The counters of a registry at a moment."""
    decisions: dict[str, float] = {}
    buckets: dict[float, float] = {}
    failures = 0.0
    for family in families:
        for sample in family.samples:
            if sample.name == "memguard_images_total":
                decision = sample.labels["decision"]
                decisions[decision] = decisions.get(decision, 0) + sample.value
            elif sample.name == "memguard_failures_total":
                failures += sample.value
            elif sample.name == "memguard_check_duration_seconds_bucket":
                bound = float(sample.labels["le"])
                buckets[bound] = buckets.get(bound, 0) + sample.value
    return Counts(at, decisions, failures, tuple(sorted(buckets.items())))
