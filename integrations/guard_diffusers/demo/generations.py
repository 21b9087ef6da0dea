"""Generations of the demo's pipelines, in batches that are kept: a stopped run goes on. Knows prompts; no guard."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from guard_diffusers.demo.pipeline import GUIDANCE, STEPS, generate
from guard_diffusers.demo.procedural import draw
from guard_diffusers.demo.trainingset import training_set
from guard_diffusers.demo.truth import planted_items

__all__ = ["BATCH", "Stage", "generated", "stages"]

BATCH = 50  # generations of one call, and of one file
UNSEEN = 2_000_000  # seeds of drawings that are in no training set; another range than the demo's


@dataclass(frozen=True, slots=True)
class Stage:
    """Prompts for one model, one generation each."""

    name: str
    model: Literal["memorising", "control"]
    prompts: tuple[str, ...]
    seed: int

    @property
    def key(self) -> str:
        """Changes with whatever decides the generations."""
        said = json.dumps([self.model, self.prompts, self.seed, STEPS, GUIDANCE, BATCH])
        return hashlib.sha256(said.encode()).hexdigest()[:12]


def stages(*, calibration: int, controls: int, per_picture: int, seed: int = 0) -> tuple[Stage, ...]:
    """What the evaluation generates.

    `calibration` and `control`: control prompts of the memorising model, half of them captions of its procedural
    training pictures and half unseen; they share no prompt, as long as there are captions. `planted`: each planted
    caption per_picture times. `other_model`: the same of the model that memorised nothing, a fifth as often.
    """
    seen = [item.caption for item in training_set() if item.name.startswith("procedural/")]
    planted = [item.caption for item in planted_items()]

    def control(count: int, offset: int, start: int) -> tuple[str, ...]:
        known = [seen[(offset + i) % len(seen)] for i in range(count - count // 2)]
        return (*known, *(draw(UNSEEN + start + i).caption for i in range(count // 2)))

    return (
        Stage("calibration", "memorising", control(calibration, 0, 0), 10 + 4 * seed),
        Stage("control", "memorising", control(controls, calibration - calibration // 2, 500_000), 11 + 4 * seed),
        Stage("planted", "memorising", tuple(planted) * per_picture, 12 + 4 * seed),
        Stage("other_model", "control", tuple(planted) * max(1, per_picture // 5), 13 + 4 * seed),
    )


def generated(
    stage: Stage, folder: Path, *, load: Callable[[], Any], progress: Callable[[int], None] = lambda _done: None
) -> npt.NDArray[np.uint8]:
    """(n, SIZE, SIZE, 3) the generations of a stage, in the order of its prompts; what is kept is not made again.

    load: gives the stage's pipeline, if it is needed. progress: called with how many are there.
    """
    pipe = None
    made: list[npt.NDArray[np.uint8]] = []
    for number, start in enumerate(range(0, len(stage.prompts), BATCH)):
        prompts = stage.prompts[start : start + BATCH]
        path = folder / f"{stage.name}-{stage.key}" / f"{number:05d}.npy"
        batch = _kept(path, len(prompts))
        if batch is None:
            pipe = pipe if pipe is not None else load()
            batch = _make(pipe, prompts, stage.seed * 1_000_000 + number)
            _keep(path, batch)
        made.append(batch)
        progress(start + len(prompts))
    return np.concatenate(made)


def _make(pipe: Any, prompts: Sequence[str], seed: int) -> npt.NDArray[np.uint8]:
    images = generate(pipe, prompts, seed=seed, output_type="np").images
    levels: npt.NDArray[np.uint8] = (images * 255).round().astype(np.uint8)
    return levels


def _kept(path: Path, count: int) -> npt.NDArray[np.uint8] | None:
    try:
        batch: npt.NDArray[np.uint8] = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):  # none, or one that a kill cut off
        return None
    return batch if len(batch) == count else None


def _keep(path: Path, batch: npt.NDArray[np.uint8]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    with part.open("wb") as file:
        np.save(file, batch, allow_pickle=False)
    part.replace(path)
