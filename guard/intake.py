"""What a caller hands to a check -> pictures, and what is wrong with others. A broken one costs only itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from guard.errors import InputError
from guard.pixels import ImageBatch, RGBArray, to_batch

__all__ = ["convert", "count_images", "image_at", "readable"]


def count_images(images: Any) -> int:
    """How many images a form holds, before anything is converted."""
    if isinstance(images, Sequence) and not isinstance(images, str | bytes):
        return len(images)
    return int(images.shape[0]) if getattr(images, "ndim", 0) == 4 else 1


def image_at(images: Any, i: int) -> Any:
    """One image of a form whose images `count_images` counts."""
    many = isinstance(images, Sequence) or getattr(images, "ndim", 0) == 4
    return images[i] if many else images


def convert(images: Any) -> tuple[ImageBatch, dict[int, InputError]]:
    """Convert all, or, if one does not convert, each alone: position -> what was wrong with it.

    Where an image could not even be decoded, the sequence may hold the InputError that says why.
    Raises InputError if there is one image only, and it does not convert.
    """
    try:
        return to_batch(images), {}
    except InputError:
        if count_images(images) < 2 and not (isinstance(images, Sequence) and isinstance(images[0], InputError)):
            raise
    arrays: list[RGBArray] = []
    broken: dict[int, InputError] = {}
    for i, image in enumerate(images):
        if isinstance(image, InputError):
            broken[i] = image
            continue
        try:
            arrays.extend(to_batch([image]).as_arrays())
        except InputError as exc:
            broken[i] = InputError(str(exc).replace("image 0", f"image {i}", 1))
    return ImageBatch(arrays=tuple(arrays)), broken


def readable(inputs: Any) -> ImageBatch | None:
    """The caller's own pictures; one that cannot be read excuses nothing, and costs no verdict."""
    try:
        return convert(inputs)[0]
    except InputError:
        return None
