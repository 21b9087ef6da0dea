"""Generations of the demo's pipelines, in batches that are kept: a stopped run goes on. Knows prompts; no guard."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, count, islice
from pathlib import Path
from typing import Any, Literal
from zlib import crc32

import numpy as np
import numpy.typing as npt

from guard.wholefile import whole_file
from guard_diffusers.demo.pipeline import GUIDANCE, STEPS, generate, weights_sha256
from guard_diffusers.demo.procedural import draw
from guard_diffusers.demo.trainingset import training_set
from guard_diffusers.demo.truth import planted_items

__all__ = ["BATCH", "Stage", "fresh_drawings", "generated", "stages"]

BATCH = 50  # generations of one call, and of one file
UNSEEN = 2_000_000  # seeds of drawings that are in no training set; another range than the demo's
FRESH = 3_000_000  # the same


@dataclass(frozen=True, slots=True)
class Stage:
    """Prompts for one model, one generation each."""

    name: str
    model: Literal["memorising", "control"]
    prompts: tuple[str, ...]
    seed: int


def stages(*, calibration: int, controls: int, per_picture: int, seed: int = 0) -> tuple[Stage, ...]:
    """What the evaluation generates. Of a larger one, each stage begins with what a smaller one generates.

    `calibration` and `control`: control prompts of the memorising model, by turns a caption of its procedural training
    pictures, as long as there are some, and one that it never saw. No caption comes twice, in one or the other.
    `planted`: each planted caption per_picture times. `other_model`: the same of the model that memorised nothing, a
    fifth as often.
    """
    captions = (item.caption for item in training_set() if item.name.startswith("procedural/"))
    seen = list(dict.fromkeys(captions))
    halves = controls - controls // 2, calibration - calibration // 2
    first, last = seen[: halves[0]], seen[halves[0] :][::-1][: halves[1]]
    captions_of = [
        _by_turns(some, _unseen(frozenset(seen), half), number)
        for half, (some, number) in enumerate([(last, calibration), (first, controls)])
    ]
    planted = tuple(item.caption for item in planted_items())
    return (
        Stage("calibration", "memorising", captions_of[0], 10 + 4 * seed),
        Stage("control", "memorising", captions_of[1], 11 + 4 * seed),
        Stage("planted", "memorising", planted * per_picture, 12 + 4 * seed),
        Stage("other_model", "control", planted * max(1, per_picture // 5), 13 + 4 * seed),
    )


def _by_turns(seen: Sequence[str], unseen: Iterator[str], number: int) -> tuple[str, ...]:
    mixed = (caption for known in seen for caption in (known, next(unseen)))
    return tuple(islice(chain(mixed, unseen), number))


def _unseen(seen: frozenset[str], half: int) -> Iterator[str]:
    """Captions of drawings that are in no training set, each once, of one half of all that can be."""
    told = set(seen)
    for program in count(UNSEEN):
        caption = draw(program).caption
        if caption not in told and crc32(caption.encode()) % 2 == half:
            told.add(caption)
            yield caption


def fresh_drawings(number: int) -> npt.NDArray[np.uint8]:
    """(number, SIZE, SIZE, 3) procedural pictures of the same families, which no model made or was trained on."""
    return np.stack([draw(FRESH + program).picture for program in range(number)])


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
        seed = stage.seed * 1_000_000 + number
        path = folder / stage.name / f"{number:05d}-{_key(stage.model, prompts, seed)}.npy"
        batch = _kept(path, len(prompts))
        if batch is None:
            pipe = pipe if pipe is not None else load()
            batch = _make(pipe, prompts, seed)
            _keep(path, batch)
        made.append(batch)
        progress(start + len(prompts))
    return np.concatenate(made)


def _key(model: Literal["memorising", "control"], prompts: Sequence[str], seed: int) -> str:
    """Changes with whatever decides the generations of a batch."""
    said = json.dumps([weights_sha256(model), prompts, seed, STEPS, GUIDANCE])
    return hashlib.sha256(said.encode()).hexdigest()[:12]


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
    with whole_file(path) as new, new.open("wb") as file:
        np.save(file, batch, allow_pickle=False)
