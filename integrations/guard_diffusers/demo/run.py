"""The demo's main job: index the training set, guard the pipeline, generate, and hold the decisions against the truth.

Knows files and pipelines; prints nothing (see verb.py).
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from guard.actions import placeholder
from guard.indexes.layout import share
from guard.types import Decision, Verdict
from guard_diffusers.demo.pipeline import generate
from guard_diffusers.demo.procedural import draw
from guard_diffusers.demo.trainingset import Item, rms, training_set
from guard_diffusers.demo.truth import copy_bound, is_copy, planted_items

__all__ = ["Judgement", "Outcome", "Prompt", "prompts", "run_pipeline", "write_training_set"]

UNSEEN_SEED = 1_000_000  # of drawings that are in no training set


@dataclass(frozen=True, slots=True, eq=False)
class Prompt:
    text: str
    planted: Item | None
    """None for a control prompt: nothing that it makes may be withheld."""


class Judgement(StrEnum):
    """The decision against the truth that pixels alone establish (see truth.py)."""

    CAUGHT = "copy caught"
    MISSED = "copy missed"
    PASSED = "original passed"
    FALSE_ALARM = "original stopped"
    BETWEEN = "not judged"
    """A planted prompt whose image is neither within the pixel bound nor a control."""

    @property
    def wrong(self) -> bool:
        return self in (Judgement.MISSED, Judgement.FALSE_ALARM)


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    prompt: Prompt
    generated: Image.Image
    """What the pipeline made, also where the caller got a placeholder."""
    verdict: Verdict
    rms: float | None
    """To the planted picture, pixels in [0, 1]; None for a control prompt."""
    judgement: Judgement
    generate_s: float
    check_s: float


def write_training_set(
    folder: Path, progress: Callable[[int, int], None] | None = None, *, copies: bool = False
) -> Path:
    """Write every distinct picture as a PNG, with its captions in metadata.jsonl; keeps what is there already.

    copies: each as often as the memorising model saw it in an epoch, as planted/coffee.png, planted/coffee.0001.png, ….
    """
    items = training_set(progress)
    lines = []
    for item in items:
        first = folder / f"{item.name}.png"
        if not first.exists():
            first.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(item.picture).save(first)
        names = [f"{item.name}.png", *(f"{item.name}.{i:04d}.png" for i in range(1, item.copies if copies else 1))]
        for name in names[1:]:
            if not (folder / name).exists():
                share(first, folder / name)
        lines += [json.dumps({"file_name": name, "text": item.caption}) for name in names]
    table, text = folder / "metadata.jsonl", "\n".join(lines) + "\n"
    if not table.exists() or table.read_text(encoding="utf-8") != text:
        table.write_text(text, encoding="utf-8")  # a new time would be a new source to an index of it
    return folder


def prompts(controls: int) -> list[Prompt]:
    """Every planted caption, and as many control captions: half from the training set, half unseen."""
    planted = [Prompt(item.caption, item) for item in planted_items()]
    seen = [item.caption for item in training_set() if item.name.startswith("procedural/")][: controls - controls // 2]
    unseen = [draw(UNSEEN_SEED + i).caption for i in range(controls // 2)]
    return planted + [Prompt(text, None) for text in seen + unseen]


def run_pipeline(pipe: Any, batch: Sequence[Prompt], *, seed: int) -> Iterator[Outcome]:
    """Call a guarded pipeline in mode enforce on a batch of prompts; yields one outcome each."""
    made: dict[int, Any] = {}

    def withhold(image: Any, verdict: Verdict) -> Any:
        """Keep what was made for the contact sheet; the caller gets the placeholder."""
        made[id(verdict)] = image
        return placeholder(*image.size)

    started = time.perf_counter()
    out = generate(pipe, [p.text for p in batch], seed=seed, guard_options={"mode": "enforce", "on_block": withhold})
    elapsed = time.perf_counter() - started
    check_s = sum(out.guard.seconds.values()) / len(batch)
    for prompt, image, verdict in zip(batch, out.images, out.guard, strict=True):
        generated = made.get(id(verdict), image)
        distance, judgement = _judge(prompt, np.asarray(generated), verdict)
        yield Outcome(prompt, generated, verdict, distance, judgement, elapsed / len(batch) - check_s, check_s)


def _judge(prompt: Prompt, pixels: Any, verdict: Verdict) -> tuple[float | None, Judgement]:
    stopped = verdict.decision in (Decision.FLAG, Decision.BLOCK)
    if prompt.planted is None:
        return None, Judgement.FALSE_ALARM if stopped else Judgement.PASSED
    distance = float(rms(pixels, prompt.planted.picture))
    if not is_copy(pixels[None], prompt.planted, copy_bound(prompt.planted))[0]:
        return distance, Judgement.BETWEEN
    nearest = verdict.nearest.record.uri if verdict.nearest else ""
    right = stopped and nearest == f"{prompt.planted.name}.png"
    return distance, Judgement.CAUGHT if right else Judgement.MISSED
