"""What a step callback of a call would see of the picture before anything checks it. Runs nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from guard_diffusers.arguments import CallArguments

__all__ = ["leaking_callback"]

_HARMLESS = ("_embeds", "_ids", "_mask")  # endings of tensors that hold a prompt or a size, and no picture


def leaking_callback(call: CallArguments) -> str | None:
    """Name of the callback parameter that hands out latents while they are made; None if nothing leaks.

    `callback_on_step_end` sees the tensors that `callback_on_step_end_tensor_inputs` names (or that a
    PipelineCallback names itself); without any, or with prompt embeddings alone, it sees no picture.
    The older `callback` always gets the latents. `prior_callback_on_step_end` of combined pipelines gets
    those of the first stage.
    """
    if call.get("callback") is not None:
        return "callback"
    for name in ("callback_on_step_end", "prior_callback_on_step_end"):
        callback = call.get(name)
        if callback is None:
            continue
        official = {c.__name__ for c in type(callback).__mro__} & {"PipelineCallback", "MultiPipelineCallbacks"}
        asked = callback.tensor_inputs if official else call.get(f"{name}_tensor_inputs")
        if asked is None or not all(tensor.endswith(_HARMLESS) for tensor in asked):
            return name
    return None
