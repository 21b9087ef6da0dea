"""The rate beyond the data: a generalised Pareto tail above a high similarity, or why there is none.

Knows a sample and its largest values. The tail is the limit that the excesses over a high threshold approach whatever
the distribution (Pickands 1975; Balkema and de Haan 1974); whether this sample is there yet, a test of the fit decides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from guard.calibration.gpd import CHI2_95, Floats, Gpd, Region, fit, goodness_of_fit, likely
from guard.calibration.sample import Sample
from guard.evaluation.intervals import Interval

__all__ = ["EXCEEDING", "LEAST_P", "MOST_SHARE", "Tail", "TailRefused", "fit_tail"]

EXCEEDING = (1000, 600, 350, 200, 120, 70)
"""How many of the largest similarities are tried as the tail, most first; the first that fits is taken."""
MOST_SHARE = 0.1  # of the pictures: more is no tail
LEAST_P = 0.1  # of the goodness of fit; below, nothing is extrapolated


class TailRefused(ValueError):  # noqa: N818 (says what happened; it is caught, and shown as a reason)
    """The largest similarities follow no generalised Pareto distribution, or are too few."""


@dataclass(frozen=True, slots=True, eq=False)
class Tail:
    start: float
    """Similarity; rates of higher ones follow from the tail."""
    excesses: Floats
    """(k,) of the similarities above start."""
    gpd: Gpd
    statistic: float
    """A squared of Anderson and Darling."""
    p: float
    """Of the parametric bootstrap."""
    n: int
    design_effect: float
    _region: list[Region] = field(default_factory=list, repr=False)

    @property
    def share(self) -> float:
        """Of all pictures, above start."""
        return len(self.excesses) / self.n

    def rate(self, similarity: float) -> Interval:
        """Share of pictures that reach a similarity above start, with its profile-likelihood interval."""
        excess = similarity - self.start
        region, low, high = self._shares()
        beyond = region.survival(excess)
        return Interval(
            self.share * float(self.gpd.survival(excess)), float((low * beyond).min()), float((high * beyond).max())
        )

    def threshold(self, rate: float) -> Interval:
        """Similarity that this share of the pictures reaches, below `share`, with its profile-likelihood interval."""
        region, low, high = self._shares()
        value = self.start + float(self.gpd.quantile(rate / self.share))
        ends = [region.quantile(np.minimum(1.0, rate / shares)) for shares in (low, high)]
        return Interval(value, self.start + float(ends[0].min()), self.start + float(ends[1].max()))

    def _shares(self) -> tuple[Region, Floats, Floats]:
        """The region, and at each of its points how low and how high the share above start may be.

        The likelihood of that share is independent of the tail's, so that it may use what the point leaves of the
        region's width.
        """
        if not self._region:
            self._region.append(likely(self.excesses, self.gpd, design_effect=self.design_effect))
        region = self._region[0]
        k, n = len(self.excesses) / self.design_effect, self.n / self.design_effect
        half = np.sqrt(2 * np.minimum(region.spare, CHI2_95 / 2) / (k * (1 - k / n)))  # of the log odds
        odds = k / (n - k)
        low, high = odds * np.exp(-half), odds * np.exp(half)
        return region, low / (1 + low), high / (1 + high)


def fit_tail(sample: Sample, *, exceeding: Sequence[int] = EXCEEDING, seed: int = 0) -> Tail:
    """Fit the tail to as many of the largest similarities as follow it.

    Trying several and taking the first that passes follows Bader, Yan and Zhang 2018 (Automated threshold selection for
    extreme value analysis via ordered goodness-of-fit tests, Annals of Applied Statistics 12(1)), without their control
    over the number of tests. Raises TailRefused with the reason.
    """
    counted = int(sample.counts.sum())
    tried = ""
    for k in exceeding:
        if k > MOST_SHARE * sample.n or k >= counted:
            continue
        start = sample.start_of(k)
        excesses = sample.excesses(start)
        if len(excesses) < k / 2:
            tried += f"; of the {k} largest, too many are equal"
            continue
        gpd = fit(excesses)
        statistic, p = goodness_of_fit(excesses, gpd, design_effect=sample.design_effect, seed=seed)
        if p >= LEAST_P:
            return Tail(start, excesses, gpd, statistic, p, sample.n, sample.design_effect)
        tried += f"; the {len(excesses)} largest do not follow it (p = {p:.3g})"
    if not tried:
        needed = round(min(exceeding) / MOST_SHARE)
        raise TailRefused(f"{sample.n} pictures are too few for a tail: at least {needed} are needed")
    raise TailRefused(f"no generalised Pareto tail{tried}")
