"""Which step callbacks see a picture."""

from __future__ import annotations

from typing import Any

import pytest
from diffusers import StableCascadeCombinedPipeline
from diffusers.callbacks import MultiPipelineCallbacks, PipelineCallback, SDCFGCutoffCallback

from guard import Decision, SkippedError
from guard_diffusers.arguments import CallArguments
from guard_diffusers.callbacks import leaking_callback
from tests.pipelines import tiny
from tests.pipelines.planted import decisions, guarded


class Peek(PipelineCallback):
    tensor_inputs = ["latents"]  # noqa: RUF012 - as diffusers declares it

    def callback_fn(self, pipeline: Any, step: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        return tensors


def nothing(*step: Any) -> dict[str, Any]:
    return {}


@pytest.mark.parametrize(
    ("arguments", "leaks"),
    [
        ({"prior_callback_on_step_end": nothing}, "prior_callback_on_step_end"),
        ({"prior_callback_on_step_end": nothing, "prior_callback_on_step_end_tensor_inputs": []}, None),
        ({"callback_on_step_end": nothing}, "callback_on_step_end"),
    ],
)
def test_what_leaks_from_the_first_stage_of_a_combined_pipeline(arguments: dict[str, Any], leaks: str | None) -> None:
    call = CallArguments(StableCascadeCombinedPipeline.__call__, None, ("a cat",), arguments)
    assert leaking_callback(call) == leaks


@pytest.mark.parametrize(
    ("arguments", "leaks"),
    [
        ({}, None),
        ({"callback_on_step_end": nothing}, "callback_on_step_end"),
        ({"callback_on_step_end": nothing, "callback_on_step_end_tensor_inputs": []}, None),
        ({"callback_on_step_end": nothing, "callback_on_step_end_tensor_inputs": ["prompt_embeds"]}, None),
        (
            {"callback_on_step_end": nothing, "callback_on_step_end_tensor_inputs": ["prompt_embeds", "latents"]},
            "callback_on_step_end",
        ),
        ({"callback_on_step_end": nothing, "callback_on_step_end_tensor_inputs": None}, "callback_on_step_end"),
        ({"callback_on_step_end": SDCFGCutoffCallback()}, None),
        ({"callback_on_step_end": Peek(), "callback_on_step_end_tensor_inputs": []}, "callback_on_step_end"),
        (
            {"callback_on_step_end": MultiPipelineCallbacks([SDCFGCutoffCallback(), Peek()])},
            "callback_on_step_end",
        ),
        ({"callback": nothing}, "callback"),  # in **kwargs of StableDiffusionPipeline
    ],
)
def test_what_leaks(pipe: Any, arguments: dict[str, Any], leaks: str | None) -> None:
    call = CallArguments(type(pipe).__call__, pipe, ("a cat",), arguments)
    assert leaking_callback(call) == leaks


def test_the_older_callback_is_refused(planted: Any) -> None:
    pixart = tiny.pixart()
    arguments = {"prompt": "a cat", "height": 64, "width": 64, "use_resolution_binning": False, "clean_caption": False}
    seen: list[Any] = []
    with guarded(pixart, planted.guard()), pytest.raises(SkippedError, match="callback is handed latents"):
        pixart(**arguments, num_inference_steps=2, callback=lambda *step: seen.append(step), callback_steps=1)
    assert not seen


def test_allowed_it_is_counted_once_and_the_picture_is_still_checked(pipe: Any, run: Any, planted: Any) -> None:
    guard = planted.guard(allow_unchecked=["step_callback"])
    seen: list[Any] = []

    def spy(pipe: Any, step: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        seen.append(tensors["latents"])
        return tensors

    with guarded(pipe, guard, name="p"):
        out = run([0, 1], callback_on_step_end=spy)
    assert len(seen) == 2
    assert decisions(out) == [Decision.BLOCK, Decision.ALLOW]
    labels = {"pipeline": "p", "reason": "step_callback"}
    assert guard.metrics.registry.get_sample_value("memguard_skipped_total", labels) == 1
