"""Does a calibration predict what happens to pictures that it has not seen? Knows descriptors; no pictures, no files.

In each of some seeded resamples the sources are divided: as many of them as the largest size takes are references, at
most half, and of the others one half calibrates and one is checked; of each clean source one picture takes part, so
that clean pictures are independent. Rates that the first of these predicts are compared with those of the second: at
the same references (`size`), at more of them (`growth`), beyond what a tail was fitted on (`tail`), and with clean
pictures of different groups (`groups`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from guard.calibration.growth import dispersion, drawing_error, grown
from guard.calibration.rates import TEN, Rates
from guard.calibration.sample import Sample
from guard.calibration.tail import TailRefused, fit_tail
from guard.embedders.base import EmbedderSpec
from guard.errors import ConfigError
from guard.evaluation.intervals import Z95, Interval, wilson
from guard.evaluation.nearest import as_indexed, nearest_of

__all__ = ["KINDS", "Point", "Pool", "evaluate_calibration", "predictive"]

Kind = Literal["size", "growth", "tail", "groups"]
KINDS: tuple[Kind, ...] = ("size", "growth", "tail", "groups")
TARGETS = (0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001)
TAIL_STEP = 10.0  # the tail above one share predicts a share that is so many times smaller
TAIL_SHARES = (0.01, 0.02, 0.05, 0.1)  # the smallest whose tail has enough pictures is taken
LEAST_EXCEEDING = 100  # of which a tenth are expected beyond
LEAST_SOURCES = 40

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Pool:
    """Pictures that are no copies of one another, unless they show one source."""

    vectors: Floats
    """(n, d) unit rows."""
    sources: npt.NDArray[np.intp]
    """(n,) pictures with the same number show one source."""
    groups: tuple[str, ...]
    """(n,) of a source's pictures, one."""


@dataclass(frozen=True, slots=True)
class Point:
    """One prediction, and what came of it."""

    resample: int
    kind: Kind
    count: int
    """References when it was calibrated."""
    to: int
    """References when it was checked."""
    rate: float
    """Predicted."""
    low: float
    """Of the 95 % predictive interval of the observed share: the rate's own interval, and chance among the pictures."""
    high: float
    pictures: int
    observed: int
    """Pictures that match."""

    @property
    def judged(self) -> bool:
        """Whether at least ten matches were expected."""
        return self.rate * self.pictures >= TEN

    @property
    def inside(self) -> bool:
        return self.low <= self.observed / self.pictures <= self.high


def evaluate_calibration(
    pool: Pool,
    sizes: Sequence[int],
    *,
    resamples: int = 20,
    targets: Sequence[float] = TARGETS,
    seed: int = 0,
    spec: EmbedderSpec | None = None,
    progress: Callable[[int, int], None] = lambda _done, _all: None,
) -> dict[str, Any]:
    """Plain JSON values: the share of judged points within their interval, by kind and size, and all points.

    sizes: numbers of references; those of which half of the sources have fewer are left out, and named. spec: of the
    embedder, to compare as an index of so many references does by default; None: by cosines.
    Raises ConfigError if the pool has fewer than 40 sources, or no size is left.
    """
    sources = len(set(pool.sources.tolist()))
    if sources < LEAST_SOURCES:
        raise ConfigError(f"{sources} sources are too few to divide; give pictures of at least {LEAST_SOURCES}")
    points: list[Point] = []
    refused = dict.fromkeys(KINDS, 0)
    done: set[int] = set()
    for resample in range(resamples):
        rng = np.random.default_rng([seed, resample])
        for count, kind, point in _resample(pool, sorted(sizes), targets, resample, rng, spec):
            done.add(count)
            if point is None:
                refused[kind] += 1
            else:
                points.append(point)
        progress(resample + 1, resamples)
    if not done:
        raise ConfigError(f"no size of {sorted(sizes)} can be had: half of the sources have fewer pictures")
    return {
        "pictures": len(pool.vectors),
        "sources": sources,
        "groups": sorted(set(pool.groups)),
        "resamples": resamples,
        "seed": seed,
        "as_indexed": spec is not None,
        "sizes": sorted(done),
        "sizes_left_out": sorted(set(sizes) - done),
        "refused": refused,
        "coverage": [_coverage(points, kind, to) for kind in KINDS for to in (None, *sorted(done))],
        "points": [{**asdict(point), "judged": point.judged, "inside": point.inside} for point in points],
    }


def predictive(rate: Interval, pictures: int, *, error: float = 0.0) -> tuple[float, float]:
    """95 % interval of the share that so many independent pictures show, given a rate and its 95 % interval.

    The variances of the square roots add up, that of the rate half by half: the root of a count has nearly the same
    variance whatever it is (Bartlett 1936), from the ten on that are expected where this is used. error: a further
    standard error of the rate's logarithm.
    """
    root = math.sqrt(rate.value)
    chance = (Z95 / 2) ** 2 * ((1 - rate.value) / pictures + error**2 * rate.value)
    below, above = (math.hypot(root - math.sqrt(end), math.sqrt(chance)) for end in (rate.low, rate.high))
    return max(0.0, root - below) ** 2, (root + above) ** 2


def _resample(
    pool: Pool,
    sizes: Sequence[int],
    targets: Sequence[float],
    resample: int,
    rng: np.random.Generator,
    spec: EmbedderSpec | None,
) -> Iterator[tuple[int, Kind, Point | None]]:
    """(references, kind, point); None for a prediction that the calibration refuses."""
    references, first, second = _divided(pool, sizes, rng)
    order = rng.permutation(references)
    known = [size for size in sizes if size <= len(order)]
    if not known:
        return
    queries, n = pool.vectors[np.concatenate([first, second])], len(first)
    if spec is None:
        nearest = dict.fromkeys(known, nearest_of(queries, pool.vectors[order], known))
    else:
        nearest = as_indexed(queries, pool.vectors[order], known, spec)
    halves = _by_group(pool, first, second, rng)
    for count in known:
        top, ids = nearest[count][count]
        seen, fresh = top[:n], top[n:, 0]
        sample = Sample.of(seen[:, 0])
        rates = _rates(sample)
        for target in targets:
            at = _threshold(rates, target)
            if at is None:
                yield count, "size", None
                continue
            there = rates.rate(at)
            if there.value <= 0:
                continue
            yield count, "size", _point(resample, "size", count, count, there, fresh, at)
            error = drawing_error(seen, ids[:n], at)
            spreads = [dispersion(seen, at, high=high) for high in (False, True)]
            for to in (size for size in known if size > count):
                more = Interval(
                    grown(there.value, count, to, dispersion=spreads[0]),
                    grown(there.low, count, to, dispersion=spreads[1]),
                    grown(there.high, count, to),
                )
                fresh_there = nearest[count][to].similarity[n:, 0]
                yield to, "growth", _point(resample, "growth", count, to, more, fresh_there, at, error)
        yield from _tail(resample, count, sample, fresh)
        if halves is not None:
            yield from _across(resample, count, top[:, 0], halves, targets)


def _tail(resample: int, count: int, sample: Sample, fresh: Floats) -> Iterator[tuple[int, Kind, Point | None]]:
    """Of a tail of exactly one share, what it says of a share ten times smaller."""
    share = next((share for share in TAIL_SHARES if share * sample.n >= LEAST_EXCEEDING), None)
    if share is None:
        return
    try:
        tail = fit_tail(sample, exceeding=(round(share * sample.n),))
    except TailRefused:
        yield count, "tail", None
        return
    at = tail.threshold(share / TAIL_STEP).value
    yield count, "tail", _point(resample, "tail", count, count, tail.rate(at), fresh, at)


def _across(
    resample: int,
    count: int,
    nearest: Floats,
    halves: tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]],
    targets: Sequence[float],
) -> Iterator[tuple[int, Kind, Point | None]]:
    """Calibrated on pictures of some groups, checked on those of the others."""
    rates = _rates(Sample.of(nearest[halves[0]]))
    for target in targets:
        at = _threshold(rates, target)
        if at is None:
            yield count, "groups", None
        elif rates.point(at) > 0:
            yield count, "groups", _point(resample, "groups", count, count, rates.rate(at), nearest[halves[1]], at)


def _point(
    resample: int, kind: Kind, count: int, to: int, rate: Interval, fresh: Floats, at: float, error: float = 0.0
) -> Point:
    low, high = predictive(rate, len(fresh), error=error)
    return Point(resample, kind, count, to, rate.value, low, high, len(fresh), int((fresh >= at).sum()))


def _rates(sample: Sample) -> Rates:
    try:
        return Rates(sample, fit_tail(sample))
    except TailRefused as exc:
        return Rates(sample, None, str(exc))


def _threshold(rates: Rates, target: float) -> float | None:
    """The most likely similarity; what the rate is at it, is asked of the same model."""
    try:
        return rates.threshold(target).estimate
    except ConfigError:
        return None


def _divided(pool: Pool, sizes: Sequence[int], rng: np.random.Generator) -> tuple[npt.NDArray[np.intp], ...]:
    """All pictures of the sources that are references; one picture of each source of two halves of the others."""
    numbers, pictures = np.unique(pool.sources, return_counts=True)
    order = rng.permutation(len(numbers))
    numbers, held = numbers[order], np.cumsum(pictures[order])[: len(order) // 2]
    wanted = max((size for size in sizes if size <= held[-1]), default=0)
    start = int(np.searchsorted(held, wanted)) + 1
    middle = start + (len(numbers) - start) // 2
    references = np.flatnonzero(np.isin(pool.sources, numbers[:start]))
    shuffled = rng.permutation(len(pool.sources))
    ones = shuffled[np.unique(pool.sources[shuffled], return_index=True)[1]]  # one picture a source
    first, second = (ones[np.isin(pool.sources[ones], part)] for part in (numbers[start:middle], numbers[middle:]))
    return references, first, second


def _by_group(
    pool: Pool, first: npt.NDArray[np.intp], second: npt.NDArray[np.intp], rng: np.random.Generator
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]] | None:
    """Positions among first and second together, of half of the groups and of the others; None for few groups."""
    names = sorted(set(pool.groups))
    if len(names) < 4:
        return None
    chosen = set(rng.permutation(names)[: len(names) // 2].tolist())
    of = np.array([pool.groups[i] in chosen for i in np.concatenate([first, second])])
    return np.flatnonzero(of), np.flatnonzero(~of)


def _coverage(points: Sequence[Point], kind: Kind, to: int | None) -> dict[str, Any]:
    judged = [point for point in points if point.kind == kind and point.judged and to in (None, point.to)]
    inside = sum(point.inside for point in judged)
    rate = wilson(inside, len(judged))
    above = sum(point.observed / point.pictures > point.high for point in judged)
    return {
        "kind": kind,
        "references": to,
        "judged": len(judged),
        "inside": inside,
        "above": above,
        "share": rate.value if judged else None,
        "low": rate.low,
        "high": rate.high,
    }
