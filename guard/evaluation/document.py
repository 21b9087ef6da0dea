"""Results of an evaluation -> plain values for JSON. Knows names and rounding; measures nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from guard._version import __version__
from guard.embedders.registry import DEFAULT
from guard.evaluation.edits import VERSION
from guard.evaluation.intervals import Interval, wilson
from guard.evaluation.metrics import FPRS, Floats
from guard.evaluation.paired import paired
from guard.evaluation.pdq_beside import BESIDE, Called
from guard.evaluation.protocol import ALL_EDITS, Figures, Plan, Results, summary

if TYPE_CHECKING:
    from guard.evaluation.run import Settings

__all__ = ["aliased", "called_of", "described", "interval_of", "number", "paired_of", "rare"]


def described(
    drawn: Plan, settings: Settings, results: Mapping[str, Results], skipped: Sequence[str], default: str = DEFAULT
) -> dict[str, Any]:
    any_result = next(iter(results.values()))
    return {
        "memguard": __version__,
        "protocol": {
            "splits": settings.splits,
            "seed": settings.seed,
            "longer_side_px": settings.side,
            "resamples": settings.resamples,
            "edits_version": VERSION,
            "edits": {e.name: {"family": e.family, "parameters": dict(e.parameters)} for e in settings.edits},
            "groups": any_result.counts,
            "carriers": len(drawn.carriers),
            "default": default,
            "thresholds": "exclusive; at most the share FPR of the negative queries lies above",
        },
        "skipped": list(skipped),
        "results": aliased({
            name: {
                group: {key: _figures(figures) for key, figures in by_edit.items()}
                for group, by_edit in result.figures.items()
            }
            for name, result in results.items()
        }, default),
        "thresholds": aliased({
            name: {group: {str(fpr): number(limit[0]) for fpr, limit in limits.items()}
                   for group, limits in result.thresholds.items()}
            for name, result in results.items()
        }, default),
        "false_positive_rates": aliased({
            name: {
                group: {str(fpr): {"untouched": interval_of(plain), "edited": interval_of(edited)}
                        for fpr, (plain, edited) in rates.items()}
                for group, rates in result.false_positives.items()
            }
            for name, result in results.items()
        }, default),
        "look_alikes": aliased({
            name: {group: {str(fpr): interval_of(rate) for fpr, rate in rates.items()}
                   for group, rates in result.look_alikes.items()}
            for name, result in results.items()
        }, default),
    }  # fmt: skip


def paired_of(results: Mapping[str, Results], name: str, against: str, *, every_edit: bool = False) -> dict[str, Any]:
    """By how much an entrant differs from another one, by group and family, or by edit as well."""
    found = paired(results[name], results[against])
    means = {
        group: {
            key: difference.to_dict()
            for key, difference in by_edit.items()
            if every_edit or key == ALL_EDITS or key.startswith("family:")
        }
        for group, by_edit in found.items()
    }
    return {"against": against, "differences": means}


def called_of(one: Called, sources: int) -> dict[str, Any]:
    return {
        "found": {key: interval_of(share) for key, share in one.found.items()},
        "false": {"untouched": rare(one.untouched, sources), "edited": rare(one.edited, sources)},
        "look_alikes": rare(one.look_alikes, sources),
    }


def rare(values: Floats, sources: int) -> dict[str, float | None]:
    """A bootstrap of nothing but zeros says nothing: then the upper bound is Wilson's, of so many sources."""
    found = interval_of(values)
    return {**found, "high": number(wilson(0, sources).high)} if found["value"] == 0 else found


def aliased(by_name: dict[str, Any], default: str = DEFAULT) -> dict[str, Any]:
    """The default embedder's under `default` too, and what is made of it under `default+…`; in the way of a guard.

    default: the entrant that compares as a guard does: the embedder itself, or with windows, whitened, beside rivals
    and PDQ.
    """
    # what is made of a later one takes the place of what is made of an earlier one
    for stem in (DEFAULT, default.removesuffix(BESIDE), default):
        for name in list(by_name):
            if name == stem or name.startswith(f"{stem}+"):
                by_name[name.replace(stem, "default", 1)] = by_name[name]
    return by_name


def _figures(figures: Figures) -> dict[str, Any]:
    return {
        "recall_at_fpr": {str(fpr): interval_of(figures.recall_at_fpr[fpr]) for fpr in FPRS},
        "recall_at_own_fpr": {str(fpr): interval_of(figures.recall_at_own_fpr[fpr]) for fpr in FPRS},
        "recall_at_1": interval_of(figures.recall_at_1),
        "micro_ap": interval_of(figures.micro_ap),
    }


def interval_of(values: Floats) -> dict[str, float | None]:
    found: Interval = summary(values)
    return {"value": number(found.value), "low": number(found.low), "high": number(found.high)}


def number(value: float) -> float | None:
    """None where there is nothing to say: JSON knows no nan."""
    return round(float(value), 6) if math.isfinite(value) else None
