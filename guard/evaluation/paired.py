"""One entrant against another on the same queries: differences of their figures. Knows results; no picture, no table.

All entrants of a plan are resampled with the same draws of sources, so that resample i of one and resample i of the
other saw the same pictures: their difference leaves out what both owe to the draw, and its interval says whether one is
better, which two intervals that overlap do not (Efron and Tibshirani 1993, chapter 8; thresholds are set anew in each
resample, for each entrant by its own negatives).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from guard.errors import ConfigError
from guard.evaluation.intervals import Interval
from guard.evaluation.metrics import Floats
from guard.evaluation.protocol import Figures, Results

__all__ = ["Difference", "difference", "holm", "p_below", "paired"]


@dataclass(frozen=True, slots=True)
class Difference:
    """An entrant's figures minus another's, of one set of queries; above 0 the first is better. Rates: in [-1, 1]."""

    recall_at_1: Interval
    recall_at_fpr: Mapping[float, Interval]
    """FPR -> each at its own threshold, which all negatives of the run set."""
    recall_at_own_fpr: Mapping[float, Interval]
    """FPR -> each at its own threshold, which the group's negatives set."""
    micro_ap: Interval

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, named as the figures are; null where one of the two has nothing to count."""
        return {
            "recall_at_fpr": {str(fpr): _plain(d) for fpr, d in self.recall_at_fpr.items()},
            "recall_at_own_fpr": {str(fpr): _plain(d) for fpr, d in self.recall_at_own_fpr.items()},
            "recall_at_1": _plain(self.recall_at_1),
            "micro_ap": _plain(self.micro_ap),
        }


def paired(results: Results, against: Results) -> dict[str, dict[str, Difference]]:
    """Group -> edit, "family:NAME" or "all_edits" -> figures of `results` minus those of `against`.

    Both must be what `evaluate` made of one plan, with the same edits and number of resamples.
    Raises ConfigError where they show that they are not.
    """
    named = [{group: list(by_edit) for group, by_edit in one.figures.items()} for one in (results, against)]
    if named[0] != named[1] or results.counts != against.counts:
        raise ConfigError("results of different pictures or edits cannot be paired; evaluate both with one plan")
    return {
        group: {key: _of(figures, against.figures[group][key]) for key, figures in by_edit.items()}
        for group, by_edit in results.figures.items()
    }


def difference(a: Floats, b: Floats) -> Interval:
    """a - b of (1 + resamples,) each, the figure itself first, with its 95 % percentile interval; nan: [-1, 1].

    Raises ConfigError if the numbers of resamples differ.
    """
    if a.shape != b.shape:
        raise ConfigError(f"{len(a) - 1} and {len(b) - 1} resamples cannot be paired; evaluate both with one number")
    drawn = a - b
    value, known = float(drawn[0]), drawn[1:][np.isfinite(drawn[1:])]
    if not np.isfinite(value) or len(known) == 0:
        return Interval(float("nan"), -1.0, 1.0)
    low, high = np.quantile(known, [0.025, 0.975])
    return Interval(value, min(float(low), value), max(float(high), value))


def p_below(a: Floats, b: Floats) -> float:
    """One-sided p of "a is not below b", by the bootstrap: the share of resamples in which it is not; nan if unknown.

    (1 + resamples,) each. With n resamples it is at least 1 / (n + 1), so that m tests that are adjusted together need
    more than 20 m of them.
    """
    drawn = (a - b)[1:]
    drawn = drawn[np.isfinite(drawn)]
    if len(drawn) == 0:
        return float("nan")
    return float((1 + np.count_nonzero(drawn >= 0)) / (1 + len(drawn)))


def holm(p: Mapping[str, float]) -> dict[str, float]:
    """Adjusted p of tests that are made together, in [0, 1] (Holm 1979); nan stays out of them."""
    known = sorted((value, name) for name, value in p.items() if np.isfinite(value))
    adjusted: dict[str, float] = dict(p)
    largest = 0.0
    for i, (value, name) in enumerate(known):
        largest = max(largest, min(1.0, value * (len(known) - i)))
        adjusted[name] = largest
    return adjusted


def _of(a: Figures, b: Figures) -> Difference:
    return Difference(
        difference(a.recall_at_1, b.recall_at_1),
        {fpr: difference(rates, b.recall_at_fpr[fpr]) for fpr, rates in a.recall_at_fpr.items()},
        {fpr: difference(rates, b.recall_at_own_fpr[fpr]) for fpr, rates in a.recall_at_own_fpr.items()},
        difference(a.micro_ap, b.micro_ap),
    )


def _plain(interval: Interval) -> dict[str, float | None]:
    known = np.isfinite(interval.value)
    return {
        "value": round(interval.value, 6) if known else None,
        "low": round(interval.low, 6),
        "high": round(interval.high, 6),
    }
