"""The caller's own pictures in the arguments of a call, in a form that any guard reads. Knows no decision."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np

from guard.errors import InputError
from guard.pixels import RGBArray, to_batch
from guard_diffusers.outputs import is_tensor

__all__ = ["OWN_INPUTS", "own_pictures"]

OWN_INPUTS = (
    "image",
    "images",
    "init_image",
    "original_image",
    "mask_image",
    "control_image",
    "conditioning_image",
    "conditioning_frames",
    "reference_image",
    "ip_adapter_image",
    "last_image",
    "video",
    "control_video",
)
"""Parameters of the stock pipelines that hold pictures of the caller's own."""


class _Arguments(Protocol):
    """The arguments of a call, or the state of a modular pipeline."""

    def get(self, name: str, /) -> Any: ...


def own_pictures(call: _Arguments, names: Sequence[str], *, stride: int = 1) -> list[RGBArray] | None:
    """Every picture that the caller handed in, as 8-bit arrays; None if there is none.

    Any form that diffusers takes: PIL images, arrays and tensors, in [0, 1] or [-1, 1], alone, in
    batches or in (nested) lists. What is no picture, such as latents or a path, is left out:
    it can then excuse no output. stride: of a clip, one frame in so many counts.
    """
    found: list[RGBArray] = []
    for name in names:
        pictures = list(_pictures(call.get(name)))
        found.extend(array for one in pictures[:: stride if "video" in name else 1] for array in _readable(one))
    return found or None


def _pictures(value: Any) -> Iterator[Any]:
    """Single pictures of a possibly nested or batched value."""
    if isinstance(value, list | tuple) or getattr(value, "ndim", 0) > 3:
        for item in value:
            yield from _pictures(item)
    elif value is not None:
        yield value


def _readable(picture: Any) -> tuple[RGBArray, ...]:
    try:
        return to_batch([_unit_range(picture)]).as_arrays()
    except InputError:
        return ()


def _unit_range(picture: Any) -> Any:
    """Bring an array or tensor from [-1, 1] to [0, 1]; give a plane (h, w) the shape that is read."""
    if is_tensor(picture):
        picture = picture.detach()
        if picture.ndim == 2:
            picture = picture[None]
        if picture.is_floating_point() and picture.numel() and -1.001 <= float(picture.min()) < 0:
            picture = (picture / 2 + 0.5).clamp(0, 1)
    elif isinstance(picture, np.ndarray) and picture.dtype.kind == "f" and -1.001 <= picture.min(initial=0) < 0:
        picture = np.clip(picture / 2 + 0.5, 0, 1)
    return picture
