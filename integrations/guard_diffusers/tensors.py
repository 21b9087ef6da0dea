"""Pixels before they become PIL images or arrays, and the same conversion afterwards. Knows stock post-processing only.

On an accelerator the base call is asked for `output_type="pt"`: the tensor is checked where it is, and
what leaves the device for the caller is converted by the pipeline's own functions, to the same bits.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from guard_diffusers.arguments import CallArguments

__all__ = ["convert", "package_of", "processor_of", "takes_tensor"]


def takes_tensor(pipe: Any, base_call: Callable[..., Any], call: CallArguments, choice: str) -> bool:
    """True if this call shall, and can, be run with `output_type="pt"` and converted afterwards.

    choice: "auto" wants it on an accelerator only, "tensor" always, "output" never. It can be done
    for stock pipelines that end in VaeImageProcessor.postprocess and treat all output types alike.
    """
    if choice == "output" or (choice == "auto" and not _any_accelerator()):
        return False
    return (
        (choice == "tensor" or _on_accelerator(pipe))
        and call.get("output_type") in ("pil", "np")
        and call.get("padding_mask_crop") is None  # the overlay is laid on PIL images
        and package_of(type(pipe)) is not None
        and processor_of(pipe) is not None
        and _ends_alike(base_call)
    )


def convert(value: Any, output_type: str) -> Any:
    """(n, 3, h, w) or (n, f, 3, h, w) in [0, 1] -> what postprocess and postprocess_video make of it.

    output_type: "np" or "pil".
    """
    from diffusers.image_processor import VaeImageProcessor

    if value.ndim == 5:
        clips = [convert(clip, output_type) for clip in value]
        return np.stack(clips) if output_type == "np" else clips
    array = VaeImageProcessor.pt_to_numpy(value)
    return array if output_type == "np" else VaeImageProcessor.numpy_to_pil(array)


def processor_of(pipe: Any) -> Any:
    """The pipeline's image or video processor; None unless it post-processes as the stock one does."""
    from diffusers.image_processor import VaeImageProcessor

    processor = getattr(pipe, "image_processor", None) or getattr(pipe, "video_processor", None)
    same = isinstance(processor, VaeImageProcessor) and all(
        inspect.getattr_static(type(processor), name) is inspect.getattr_static(VaeImageProcessor, name)
        for name in ("postprocess", "pt_to_numpy", "numpy_to_pil")
    )
    return processor if same else None


def package_of(cls: type[Any]) -> str | None:
    """The folder of diffusers.pipelines that a stock class lives in; None for a class of anyone else's."""
    for base in cls.__mro__:
        if "__call__" in vars(base) and "_memguard_base" not in vars(base):
            parts = base.__module__.split(".")
            return parts[2] if parts[:2] == ["diffusers", "pipelines"] and len(parts) > 3 else None
    return None


@lru_cache(maxsize=1)
def _any_accelerator() -> bool:
    """Does this machine have one at all? Asking each pipeline where it runs takes 0.1 ms."""
    import torch

    return torch.accelerator.is_available()


def _on_accelerator(pipe: Any) -> bool:
    device = getattr(pipe, "_execution_device", None) or getattr(pipe, "device", None)
    return getattr(device, "type", "cpu") not in ("cpu", "meta")


@lru_cache(maxsize=256)
def _ends_alike(base_call: Callable[..., Any]) -> bool:
    """The call ends in postprocess, and nowhere asks whether the output type is "pil"."""
    code = inspect.unwrap(base_call).__code__
    constants = {c for const in code.co_consts for c in (const if isinstance(const, tuple | frozenset) else (const,))}
    return bool({"postprocess", "postprocess_video"} & set(code.co_names)) and "pil" not in constants
