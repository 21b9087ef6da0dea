"""The guard on the demo's pipelines, held against pixels: copies blocked, originals let through at the calibrated rate.

Generates (resumable), finds by pixels alone which generations copy which training picture, calibrates an index on clean
generations, and checks the others. A document of plain values comes back; nothing is printed.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from guard import Guard, Policy, fpr
from guard.calibration.calibrate import calibrate_index
from guard.embedders.registry import load_embedder
from guard.evaluation.remembering import Remembering
from guard.indexes.builder import build_index
from guard.sources import open_source
from guard.sources.base import Item as SourceItem
from guard.sources.base import Skip, Survey
from guard.types import Verdict
from guard_diffusers.demo.generations import Stage, fresh_drawings, generated, stages
from guard_diffusers.demo.judging import judged, stage_counts
from guard_diffusers.demo.pipeline import load_pipeline
from guard_diffusers.demo.pixel_search import PixelSearch
from guard_diffusers.demo.run import write_training_set

__all__ = ["DECIDES", "PipelineSettings", "evaluate_pipeline"]

CHECKED = 50  # images of one check
DECIDES = "calibrated+verifier"  # the guard that the evaluation is about; the others stand beside it

Pictures = npt.NDArray[np.uint8]
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class PipelineSettings:
    calibration: int = 2000
    """Control generations that the index is calibrated on."""
    controls: int = 2050
    """Others, which must pass; some turn out to be copies."""
    per_picture: int = 50
    """Generations of each planted caption."""
    flag: float = 1e-2
    """Target false-positive rate, as the next."""
    block: float = 2e-4
    """Of 2050 controls 1e-3 would block two."""
    seed: int = 0


def evaluate_pipeline(
    folder: Path,
    settings: PipelineSettings | None = None,
    *,
    progress: Progress = lambda _what, _done, _all: None,
) -> dict[str, Any]:
    """folder: where training set, index and generations are kept; a stopped run goes on from its generations.

    Raises ConfigError for rates that are none, and where so few generations do not support them.
    """
    settings = settings or PipelineSettings()
    rates = Policy(flag=fpr(settings.flag), block=fpr(settings.block))
    source = write_training_set(folder / "training", lambda done, total: progress("training set", done, total))
    planned = stages(
        calibration=settings.calibration,
        controls=settings.controls,
        per_picture=settings.per_picture,
        seed=settings.seed,
    )
    made = {stage.name: _generate(stage, folder / "generations", progress) for stage in planned}
    search = PixelSearch()
    truth = {name: search(pictures) for name, pictures in made.items()}
    document: dict[str, Any] = {
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "settings": asdict(settings),
        "training_pictures": len(search.items),
        "judged_training_pictures": int(search.judged.sum()),
        "stages": {stage.name: stage_counts(stage, truth[stage.name], search) for stage in planned},
        "fresh_drawings": {
            "pictures": settings.controls,
            "copies": int(search(fresh_drawings(settings.controls)).copied.sum()),
        },
        "guards": {},
    }
    embedder = load_embedder()
    document["embedder"] = embedder.spec.identity()
    index = folder / "training.index"
    progress("building the index", 0, 1)
    build_index(open_source(source), index, embedder, restart=True)
    progress("building the index", 1, 1)
    clean = made["calibration"][~truth["calibration"].copied & ~truth["calibration"].unclear]
    calibrate_index(
        index, clean=_Clean(clean), embedder=embedder, targets=(settings.flag, settings.block), verify=True,
        on_progress=lambda done, total: progress("calibrating", done, total or done),
    )  # fmt: skip
    shared = Remembering(embedder)
    # Without a limit of time, so that a slow machine decides as a fast one.
    guards = {
        name: Guard.open(index, policy=policy, verify=verify, embedder=shared, deadline_s=None, verify_budget_ms=60_000)
        for name, policy, verify in (
            (DECIDES, rates, True),
            ("calibrated", rates, False),
            ("advised+verifier", Policy(), True),
        )
    }
    asked = [stage.name for stage in planned if stage.name != "calibration"]
    verdicts = {name: _checked(guards, made[name], f"checking: {name}", progress) for name in asked}
    for name, guard in guards.items():
        found = {stage: of_stage[name] for stage, of_stage in verdicts.items()}
        document["guards"][name] = judged(guard, search, truth, found)
    return document


def _generate(stage: Stage, folder: Path, progress: Progress) -> Pictures:
    return generated(
        stage,
        folder,
        load=lambda: load_pipeline(stage.model),
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


def _checked(
    guards: Mapping[str, Guard], pictures: Pictures, what: str, progress: Progress
) -> dict[str, list[Verdict]]:
    """Verdicts by guard, all guards batch by batch, so that a batch is embedded once."""
    verdicts: dict[str, list[Verdict]] = {name: [] for name in guards}
    for start in range(0, len(pictures), CHECKED):
        some = list(pictures[start : start + CHECKED])
        for name, guard in guards.items():
            verdicts[name] += guard.check(some, pipeline="evaluation")
        progress(what, min(start + CHECKED, len(pictures)), len(pictures))
    return verdicts
