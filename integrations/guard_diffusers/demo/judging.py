"""Verdicts of a guard against what pixels say of the same generations -> counts. Decides nothing and generates nothing.

A generation copies a training picture if pixel_search says so, whichever picture it is; it is an original if it lies
within the bound of none. Copies must be blocked, whatever they were prompted with, and originals must not.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from guard import Guard
from guard.evaluation.calibrated import predictive
from guard.evaluation.intervals import clopper_pearson
from guard.thresholds import compared_pixels
from guard.types import Decision, Verdict
from guard_diffusers.demo.generations import Stage
from guard_diffusers.demo.pixel_search import Nearest, PixelSearch

__all__ = ["judged", "stage_counts"]

LISTED = 100  # wrong decisions that are listed one by one


def stage_counts(stage: Stage, truth: Nearest, search: PixelSearch) -> dict[str, int]:
    """own_caption: of the copies, those of the very picture whose caption was the prompt."""
    planted = search.planted[truth.item]
    asked = np.array([search.items[i].caption for i in truth.item]) == np.array(stage.prompts)
    return {
        "generations": len(stage.prompts),
        "prompts": len(set(stage.prompts)),
        "copies_of_planted": int((truth.copied & planted).sum()),
        "copies_of_others": int((truth.copied & ~planted).sum()),
        "own_caption": int((truth.copied & asked).sum()),
        "unclear": int(truth.unclear.sum()),
    }


def judged(
    guard: Guard, search: PixelSearch, truth: Mapping[str, Nearest], verdicts: Mapping[str, Sequence[Verdict]]
) -> dict[str, Any]:
    """verdicts: by stage. Originals count in all but `planted`: who asks for a planted picture is no control."""
    missed: list[dict[str, Any]] = []
    false: list[dict[str, Any]] = []
    by_stage: dict[str, dict[str, int]] = {}
    for name, of_stage in verdicts.items():
        near = truth[name]
        planted = search.planted[near.item]
        original = ~near.copied & ~near.unclear
        blocked = np.array([v.decision is Decision.BLOCK for v in of_stage])
        flagged = blocked | np.array([v.decision is Decision.FLAG for v in of_stage])
        missed += [_line(search, name, i, near, of_stage[i]) for i in np.flatnonzero(near.copied & ~blocked).tolist()]
        if name != "planted":
            false += [_line(search, name, i, near, of_stage[i]) for i in np.flatnonzero(original & blocked).tolist()]
        parts = {"planted": near.copied & planted, "others": near.copied & ~planted, "unclear": near.unclear,
                 "originals": original}  # fmt: skip
        by_stage[name] = {
            key: int(count.sum())
            for part, which in parts.items()
            for key, count in (
                (part, which), (f"{part}_flagged", which & flagged), (f"{part}_blocked", which & blocked)
            )
        }  # fmt: skip
    copies = {
        part: {
            "generations": sum(one[part] for one in by_stage.values()),
            "flagged": sum(one[f"{part}_flagged"] for one in by_stage.values()),
            "blocked": sum(one[f"{part}_blocked"] for one in by_stage.values()),
        }
        for part in ("planted", "others")
    }
    originals = sum(one["originals"] for name, one in by_stage.items() if name != "planted")
    return {
        "thresholds": _thresholds(guard),
        "copies": {**copies, "missed": len(missed), "listed": missed[:LISTED]},
        "originals": {
            "generations": originals,
            "blocked": len(false),
            "upper_bound": clopper_pearson(len(false), originals, confidence=0.9).high,  # one-sided, 95 %
            "listed": false[:LISTED],
        },
        "flag_rate": _flag_rate(guard, by_stage["control"]),
        "by_stage": by_stage,
    }


def _flag_rate(guard: Guard, control: Mapping[str, int]) -> dict[str, Any]:
    """Of the control generations, which are drawn like the calibration's; predicted is what the calibration says."""
    assert guard.calibration is not None
    rule = guard.rules.others
    rate = guard.calibration.whole_rate(rule.flag, strength=rule.flag_strength, pixels=compared_pixels(guard.config))
    low, high = predictive(rate, control["originals"])
    observed = control["originals_flagged"] / control["originals"]
    return {
        "observed": observed,
        "predicted": rate.value,
        "low": low,
        "high": high,
        "inside": low <= observed <= high,
    }


def _thresholds(guard: Guard) -> dict[str, Any]:
    rule = guard.rules.others
    strengths = (("flag_strength", rule.flag_strength), ("block_strength", rule.block_strength))
    return {
        "flag": rule.flag,
        "block": rule.block,
        **{name: None if math.isinf(value) else value for name, value in strengths},
    }


def _line(search: PixelSearch, stage: str, i: int, near: Nearest, verdict: Verdict) -> dict[str, Any]:
    item = near.item[i]
    return {
        "stage": stage,
        "generation": i,
        "nearest_by_pixels": search.items[item].name,
        "rms": round(float(near.distance[i]), 4),
        "bound": round(float(search.bounds[item]), 4),
        "decision": verdict.decision.value if verdict.decision else verdict.status.value,
        "reasons": list(verdict.reasons),
    }
