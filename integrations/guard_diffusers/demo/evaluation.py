"""The guard on the demo's pipelines, held against pixels: copies blocked, originals let through at the calibrated rate.

Generates (resumable), finds by pixels alone which generations copy which training picture, calibrates an index on clean
generations, and checks the others. A document of plain values comes back; nothing is printed.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from guard import Guard, Policy, fpr
from guard.calibration.calibrate import calibrate_index
from guard.embedders.registry import load_embedder
from guard.evaluation.calibrated import predictive
from guard.evaluation.intervals import clopper_pearson
from guard.indexes.builder import build_index
from guard.sources import open_source
from guard.sources.base import Item as SourceItem
from guard.sources.base import Skip, Survey
from guard.thresholds import compared_pixels
from guard.types import Decision, Verdict
from guard_diffusers.demo.generations import Stage, generated, stages
from guard_diffusers.demo.pixel_search import Nearest, PixelSearch
from guard_diffusers.demo.run import write_training_set

__all__ = ["PipelineSettings", "evaluate_pipeline"]

LISTED = 50  # wrong decisions that are listed one by one
CHECKED = 50  # images of one check

Pictures = npt.NDArray[np.uint8]
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class PipelineSettings:
    calibration: int = 2000
    """Control generations that the index is calibrated on."""
    controls: int = 2000
    """Others, which must pass."""
    per_picture: int = 50
    """Generations of each planted caption."""
    flag: float = 1e-2
    """Target false-positive rates."""
    block: float = 1e-3
    seed: int = 0


def evaluate_pipeline(
    folder: Path,
    settings: PipelineSettings | None = None,
    *,
    weights: Path | None = None,
    progress: Progress = lambda _what, _done, _all: None,
) -> dict[str, Any]:
    """folder: where training set, index and generations are kept; a stopped run goes on from it.

    Raises ConfigError where so few generations do not support the rates.
    """
    settings = settings or PipelineSettings()
    source = write_training_set(folder / "training", lambda done, total: progress("training set", done, total))
    search = PixelSearch()
    planned = stages(
        calibration=settings.calibration,
        controls=settings.controls,
        per_picture=settings.per_picture,
        seed=settings.seed,
    )
    made: dict[str, Pictures] = {}
    truth: dict[str, Nearest] = {}
    for stage in planned:
        made[stage.name] = _generate(stage, folder / "generations", weights, progress)
        truth[stage.name] = search(made[stage.name])
    index = folder / "training.index"
    progress("building the index", 0, 1)
    build_index(open_source(source), index, load_embedder(), restart=True)
    progress("building the index", 1, 1)
    clean = made["calibration"][~truth["calibration"].copied & ~truth["calibration"].unclear]
    document: dict[str, Any] = {
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "settings": {name: getattr(settings, name) for name in settings.__slots__},
        "training_pictures": len(search.items),
        "judged_training_pictures": int(search.judged.sum()),
        "stages": {stage.name: _counts(stage, truth[stage.name], search) for stage in planned},
        "guards": {},
    }
    calibrate_index(
        index, clean=_Clean(clean), embedder=load_embedder(), targets=(settings.flag, settings.block), verify=True,
        on_progress=lambda done, total: progress("calibrating", done, total or done),
    )  # fmt: skip
    policy = Policy(flag=fpr(settings.flag), block=fpr(settings.block))
    for verify in (True, False):
        guard = Guard.open(index, policy=policy, verify=verify, deadline_s=None, verify_budget_ms=60_000)
        name = "descriptor+pdq+verifier" if verify else "descriptor+pdq"
        verdicts = {
            stage.name: list(_checked(guard, made[stage.name], stage.name, progress))
            for stage in planned
            if stage.name != "calibration"
        }
        document["guards"][name] = _judged(guard, search, truth, verdicts)
    return document


def _generate(stage: Stage, folder: Path, weights: Path | None, progress: Progress) -> Pictures:
    from guard_diffusers.demo.pipeline import load_pipeline

    return generated(
        stage,
        folder,
        load=lambda: load_pipeline(stage.model, folder=weights),
        progress=lambda done: progress(f"generating: {stage.name}", done, len(stage.prompts)),
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Clean:
    """Generations as a source of clean pictures."""

    pictures: Pictures

    def survey(self) -> Survey:
        return Survey("clean generations of the demo's pipeline", "", len(self.pictures))

    def items(self, start: int = 0) -> Iterator[SourceItem | Skip]:
        for i, picture in enumerate(self.pictures[start:], start=start):
            buffer = io.BytesIO()
            Image.fromarray(picture).save(buffer, "PNG")
            yield SourceItem(f"generation/{i:05d}", data=buffer.getvalue())


def _checked(guard: Guard, pictures: Pictures, what: str, progress: Progress) -> Iterator[Verdict]:
    for start in range(0, len(pictures), CHECKED):
        yield from guard.check(list(pictures[start : start + CHECKED]), pipeline="evaluation")
        progress(f"checking: {what}", min(start + CHECKED, len(pictures)), len(pictures))


def _counts(stage: Stage, truth: Nearest, search: PixelSearch) -> dict[str, int]:
    planted = np.array([search.items[i].name.startswith("planted/") for i in truth.item])
    return {
        "generations": len(stage.prompts),
        "prompts": len(set(stage.prompts)),
        "copies_of_planted": int((truth.copied & planted).sum()),
        "near_others": int((truth.copied & ~planted).sum()),
        "unclear": int(truth.unclear.sum()),
    }


def _judged(
    guard: Guard, search: PixelSearch, truth: Mapping[str, Nearest], verdicts: Mapping[str, Sequence[Verdict]]
) -> dict[str, Any]:
    """Copies of planted pictures must be blocked, whichever stage they come from; originals of no stage may be.

    What lies within the bound of another training picture counts as neither: only the planted ones are known to be far
    from all others, and a smooth picture in the colours of a smooth one is near it without being a copy.
    """
    copies, originals, found = 0, 0, 0
    planted = np.array([item.name.startswith("planted/") for item in search.items])
    missed: list[dict[str, Any]] = []
    false: list[dict[str, Any]] = []
    by_stage: dict[str, dict[str, int]] = {}
    for name, of_stage in verdicts.items():
        near = truth[name]
        copied = near.copied & planted[near.item]
        clear = ~near.copied & ~near.unclear
        blocked = np.array([v.decision is Decision.BLOCK for v in of_stage])
        flagged = np.array([v.decision in (Decision.FLAG, Decision.BLOCK) for v in of_stage])
        copies, found = copies + int(copied.sum()), found + int((copied & blocked).sum())
        missed += [_line(search, name, i, near, of_stage[i]) for i in np.flatnonzero(copied & ~blocked)]
        false += [_line(search, name, i, near, of_stage[i]) for i in np.flatnonzero(clear & blocked)]
        # A planted prompt asks for a copy: what comes out is near one, and no control.
        originals += int(clear.sum()) if name != "planted" else 0
        by_stage[name] = {
            "copies": int(copied.sum()),
            "copies_blocked": int((copied & blocked).sum()),
            "near_others": int((near.copied & ~copied).sum()),
            "near_others_blocked": int((near.copied & ~copied & blocked).sum()),
            "originals": int(clear.sum()),
            "originals_blocked": int((clear & blocked).sum()),
            "originals_flagged": int((clear & flagged).sum()),
        }
    controls = [line for line in false if line["stage"] != "planted"]
    return {
        "thresholds": _thresholds(guard),
        "copies": {"generations": copies, "blocked": found, "missed": missed[:LISTED]},
        "originals": {
            "generations": originals,
            "blocked": len(controls),
            "upper_bound": clopper_pearson(len(controls), originals).high,
            "listed": controls[:LISTED],
        },
        "flag_rate": _flag_rate(guard, by_stage["control"]),
        "by_stage": by_stage,
    }


def _flag_rate(guard: Guard, control: Mapping[str, int]) -> dict[str, Any]:
    """Of the control generations, which are drawn like the calibration's; predicted is what the calibration says."""
    assert guard.calibration is not None
    rule = guard.rules.others
    rate = guard.calibration.whole_rate(
        rule.flag, strength=rule.flag_strength, pixels=compared_pixels(guard.config)
    )  # fmt: skip
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
    return {
        "stage": stage,
        "generation": int(i),
        "nearest_by_pixels": search.items[near.item[i]].name,
        "rms": round(float(near.distance[i]), 4),
        "decision": verdict.decision.value if verdict.decision else verdict.status.value,
        "reasons": list(verdict.reasons),
    }
