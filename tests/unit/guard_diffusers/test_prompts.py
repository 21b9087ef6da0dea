"""Which prompt belongs to which picture, alone and in the log of a guarded pipeline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from guard import Action, SkippedError
from guard.events import EventLog
from guard_diffusers.prompts import own_prompts
from tests.pipelines import tiny
from tests.pipelines.planted import guarded


@pytest.mark.parametrize(
    ("prompt", "count", "expected"),
    [
        ("a", 1, ["a"]),
        ("a", 3, ["a", "a", "a"]),
        (["a", "b"], 2, ["a", "b"]),
        (("a", "b"), 4, ["a", "a", "b", "b"]),
        (["a", "b"], 3, None),
        (["a", "b"], 1, None),
        (["a", 3], 2, None),
        ([], 2, None),
        (None, 2, None),
        ({"text": "a"}, 1, None),
        (["a"], 0, []),
    ],
)
def test_prompts_are_laid_over_the_pictures_in_order(prompt: Any, count: int, expected: list[str] | None) -> None:
    assert own_prompts({"prompt": prompt}, count) == expected


def test_the_pictures_of_a_call_carry_their_prompts(pipe: Any, run: Any, planted: Any, tmp_path: Path) -> None:
    guard = planted.guard(events={"path": tmp_path / "e.sqlite", "prompts": "plain", "allow_sample": 1})
    calls: list[dict[str, Any]] = [
        {"prompt": ["a cat", "a dog"]},
        {"prompt": "a cat", "num_images_per_prompt": 2},
        {"prompt": ["a cat", "a dog"], "output_type": "latent"},
    ]
    generators = [tiny.seeded(0), tiny.seeded(1)]
    with guarded(pipe, guard, name="sd"):
        for arguments in calls:
            out = pipe(num_inference_steps=2, height=64, width=64, generator=generators, **arguments)
            assert len(out.guard) == 2
        with pytest.raises(SkippedError):
            pipe("a cow", num_inference_steps=2, callback_on_step_end=lambda pipe, i, t, tensors: tensors)
        with guard.disable():
            pipe("a hen", num_inference_steps=2, height=64, width=64)
    assert guard.events.close(30)
    events = EventLog(tmp_path / "e.sqlite").read()[::-1]
    assert [e.prompt for e in events] == ["a cat", "a dog", "a cat", "a cat", "a cat", "a dog", "a cow", "a hen"]
    assert {e.pipeline for e in events} == {"sd"}
    assert [e.action for e in events[-2:]] == [Action.RAISED, Action.RELEASED]


def test_embeddings_in_place_of_a_prompt_are_no_prompt(planted: Any, tmp_path: Path) -> None:
    guard = planted.guard(events={"path": tmp_path / "e.sqlite", "allow_sample": 1})
    with guarded(tiny.unconditional(), guard) as pipe:
        pipe(num_inference_steps=2)
    assert guard.events.close(30)
    assert [e.prompt_hash for e in EventLog(tmp_path / "e.sqlite").read()] == [None]
