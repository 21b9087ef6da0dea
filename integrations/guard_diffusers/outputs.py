"""Where the pictures are in what a pipeline returns, and how to put others there. Knows forms; no policy."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from enum import Enum
from typing import Any

import numpy as np

__all__ = [
    "PICTURE_FIELDS",
    "Kind",
    "attach",
    "beside",
    "count_of",
    "holds_pil",
    "is_tensor",
    "kind_of",
    "put",
    "put_beside",
    "value_of",
]

PICTURE_FIELDS = ("images", "frames", "image", "video", "videos", "rgb", "prediction")


class Kind(Enum):
    """How the pictures of one output are arranged."""

    IMAGES = "images"
    """n PIL images, (n, h, w, c), (n, c, h, w), or a list of (h, w, c) or (c, h, w)."""
    VIDEOS = "videos"
    """n lists of PIL images, (n, f, h, w, c), (n, f, c, h, w), or a list of such without n."""


def value_of(out: Any) -> Any:
    """The pictures of an output: its first picture field, the first of a tuple, or what came back itself."""
    if isinstance(out, tuple):
        return out[0] if out else None
    for field in PICTURE_FIELDS:
        if getattr(out, field, None) is not None:
            return getattr(out, field)
    return out


def put(out: Any, value: Any) -> Any:
    """The same output with other pictures; a tuple or a bare value comes back as a new one."""
    if value is value_of(out):
        return out
    if isinstance(out, tuple):
        return (value, *out[1:])
    for field in PICTURE_FIELDS:
        if getattr(out, field, None) is not None:
            setattr(out, field, value)
            return out
    return value


def beside(out: Any) -> list[tuple[Any, Any]]:
    """(place, item) of what an output object or tuple holds beside its pictures."""
    if isinstance(out, tuple):
        return list(enumerate(out))[1:]
    pictures = value_of(out)
    return [(name, item) for name, item in out.items() if item is not pictures] if hasattr(out, "to_tuple") else []


def put_beside(out: Any, place: Any, item: Any) -> Any:
    """The same output with another item in a place of `beside`; a tuple comes back as a new one."""
    if isinstance(out, tuple):
        return (*out[:place], item, *out[place + 1 :])
    setattr(out, place, item)
    return out


def attach(out: Any, report: Any) -> Any:
    """Give an output object the attribute `guard`; keys, length and tuple form stay as they are."""
    if hasattr(out, "to_tuple"):  # diffusers' BaseOutput; tuples, lists and arrays have no place for it
        out.guard = report
    return out


def kind_of(value: Any) -> Kind | None:
    """How pictures are arranged in a value; None if these are no pictures that a guard can read."""
    if isinstance(value, list | tuple):
        kinds = {_item_kind(item) for item in value}
        return Kind.IMAGES if not kinds else kinds.pop() if len(kinds) == 1 else None
    dims = _picture_dims(value)
    return {4: Kind.IMAGES, 5: Kind.VIDEOS}.get(dims)


def count_of(value: Any) -> int:
    """How many pictures, or videos, a value holds; 1 if that cannot be told."""
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return len(value)
    return int(value.shape[0]) if getattr(value, "ndim", 0) >= 3 else 1


def holds_pil(value: Any) -> bool:
    """True for a list of PIL images, or of lists of them."""
    return isinstance(value, list | tuple) and any(_is_pil(item) or holds_pil(item) for item in value)


def is_tensor(value: Any) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def _item_kind(item: Any) -> Kind | None:
    if _is_pil(item):
        return Kind.IMAGES
    if isinstance(item, list | tuple):
        return Kind.VIDEOS if item and all(_is_pil(frame) or _picture_dims(frame) == 3 for frame in item) else None
    return {3: Kind.IMAGES, 4: Kind.VIDEOS}.get(_picture_dims(item))


def _picture_dims(value: Any) -> int:
    """Number of dimensions of an array (..., h, w, c) or tensor (..., c, h, w) of pictures; 0 for anything else."""
    if isinstance(value, np.ndarray):
        return value.ndim if value.ndim >= 3 and value.shape[-1] in (1, 3, 4) and value.dtype != np.object_ else 0
    if is_tensor(value):
        return int(value.ndim) if value.ndim >= 3 and value.shape[-3] in (1, 3) else 0
    return 0


def _is_pil(value: Any) -> bool:
    pil = sys.modules.get("PIL.Image")
    return pil is not None and isinstance(value, pil.Image)
