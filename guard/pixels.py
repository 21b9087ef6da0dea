"""Any in-memory image form -> one canonical batch. Knows shapes and value ranges; no files and no embedder.

PIL images, arrays and tensors, alone or in lists, become an `ImageBatch`: either 8-bit
arrays, or one float tensor that stays on its device. Each is converted once; an 8-bit RGB
array is taken as it is.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from guard.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["MAX_SIDE", "MIN_SIDE", "ImageBatch", "RGBArray", "pil_to_rgb", "settle", "to_batch"]

RGBArray = npt.NDArray[np.uint8]
"""(h, w, 3) RGB."""

MIN_SIDE = 16  # px; below, no descriptor means anything
MAX_SIDE = 32_768  # px
RANGE_SLACK = 1e-3  # floats may leave [0, 1] by this much (rounding), not more


@dataclass(frozen=True, slots=True, eq=False)
class ImageBatch:
    """n pictures in RGB. Exactly one of both fields is set."""

    arrays: tuple[RGBArray, ...] | None = None
    """n arrays (h, w, 3) uint8; their sizes may differ."""
    tensor: Tensor | None = None
    """(n, 3, h, w) floating point in [0, 1], on any device."""

    def __post_init__(self) -> None:
        if (self.arrays is None) == (self.tensor is None):
            raise TypeError("an ImageBatch holds either arrays or a tensor")

    def __len__(self) -> int:
        return len(self.arrays) if self.arrays is not None else len(self.tensor)  # type: ignore[arg-type]

    def singles(self) -> Iterator[ImageBatch]:
        """Each picture as a batch of its own; pixels are shared."""
        for i in range(len(self)):
            if self.arrays is not None:
                yield ImageBatch(arrays=self.arrays[i : i + 1])
            else:
                assert self.tensor is not None
                yield ImageBatch(tensor=self.tensor[i : i + 1])

    def as_arrays(self) -> tuple[RGBArray, ...]:
        """The pictures as 8-bit arrays: rounded and copied off the device if they are a tensor."""
        if self.arrays is not None:
            return self.arrays
        assert self.tensor is not None
        scaled = (self.tensor.detach().clamp(0, 1).float() * 255).round_()
        import torch

        return tuple(scaled.to(torch.uint8).permute(0, 2, 3, 1).contiguous().cpu().numpy())


def to_batch(images: Any) -> ImageBatch:
    """Turn what a pipeline or a caller holds into a batch.

    images: a PIL image; an array (h, w), (h, w, 1 | 3 | 4) or (n, h, w, 1 | 3 | 4), uint8 or
    float in [0, 1]; a tensor (3, h, w) or (n, 3, h, w), uint8 or float in [0, 1]; or a
    sequence of these, where each element is one picture. Transparency is laid on white. An empty
    sequence gives an empty batch. A batch of n pictures never comes from other than n elements.
    Raises InputError for any other form, for sides outside [MIN_SIDE, MAX_SIDE], for values
    that are not finite or leave [0, 1]; the text names the position.
    """
    if _is_tensor(images):
        return _tensor_batch(images)
    if isinstance(images, np.ndarray) and images.ndim == 4:
        return ImageBatch(arrays=tuple(_array(a, f"image {i}") for i, a in enumerate(images)))
    if isinstance(images, Sequence) and not isinstance(images, str | bytes):
        if images and all(_is_tensor(i) for i in images):
            return _tensor_list(images)
        return ImageBatch(arrays=tuple(_one(image, f"image {i}") for i, image in enumerate(images)))
    return ImageBatch(arrays=(_one(images, "image"),))


def settle(images: Any) -> None:
    """Wait until the values of CUDA tensors are there, before another thread looks at them.

    A check runs on a thread of its own, whose CUDA stream does not wait for one that the caller works on.
    """
    first: Any = images if not isinstance(images, list | tuple) else images[0] if images else None
    if _is_tensor(first) and first.device.type == "cuda":
        import torch

        torch.cuda.current_stream(first.device).synchronize()


def _is_tensor(value: Any) -> bool:
    torch = sys.modules.get("torch")  # a tensor cannot exist before torch was imported
    return torch is not None and isinstance(value, torch.Tensor)


def _one(image: Any, where: str) -> RGBArray:
    if _is_tensor(image):
        return _single_tensor(image, where).as_arrays()[0]
    if isinstance(image, np.ndarray):
        return _array(image, where)
    pil = sys.modules.get("PIL.Image")
    if pil is not None and isinstance(image, pil.Image):
        if not _size_fits(image.height, image.width):  # before the pixels are touched
            raise InputError(_size_text(where, image.width, image.height))
        try:
            return pil_to_rgb(image, where)
        except (InputError, MemoryError):
            raise
        except Exception as exc:  # a lazily opened file is decoded here, and its plugin raises what it likes
            raise InputError(f"{where} cannot be decoded: {type(exc).__name__}: {exc}") from exc
    raise InputError(f"{where} is a {type(image).__name__}; give a PIL image, a numpy array or a torch tensor")


def pil_to_rgb(image: Any, where: str = "image") -> RGBArray:
    """Any PIL mode -> (h, w, 3) uint8: transparency on white, 16 bits and floats scaled to 8.

    A float picture counts as [0, 1], [0, 255] or [0, 65535], the narrowest that holds its values.
    Raises InputError if a float is not finite.
    """
    if image.mode == "RGB":
        return np.asarray(image)
    from PIL import Image

    if image.mode in ("I;16", "I;16B", "I;16L", "I"):
        wide = np.asarray(image).astype(np.float64)
        return _grey(wide, 65_535.0 if image.mode != "I" or wide.max(initial=0) > 255 else 255.0)
    if image.mode == "F":
        wide = np.asarray(image).astype(np.float64)
        high = float(wide.max(initial=0))
        if not np.isfinite(wide).all():
            raise InputError(f"{where} holds values that are not finite (NaN or infinity)")
        return _grey(wide, 1.0 if high <= 1 + RANGE_SLACK else 255.0 if high <= 255 else 65_535.0)
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        return np.asarray(Image.alpha_composite(white, rgba).convert("RGB"))
    return np.asarray(image.convert("RGB"))


def _grey(plane: npt.NDArray[np.float64], top: float) -> RGBArray:
    grey = np.clip(plane / top * 255, 0, 255).round().astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)


def _array(array: npt.NDArray[Any], where: str) -> RGBArray:
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4):
        raise InputError(f"{where} has shape {array.shape}; expected (h, w), (h, w, 1), (h, w, 3) or (h, w, 4)")
    if not _size_fits(*array.shape[:2]):
        raise InputError(_size_text(where, array.shape[1], array.shape[0]))
    if array.dtype != np.uint8:
        if not np.issubdtype(array.dtype, np.floating):
            raise InputError(f"{where} has dtype {array.dtype}; expected uint8, or floating point in [0, 1]")
        _check_range(float(array.min()), float(array.max()), where)
        scaled = np.multiply(array, 255, dtype=np.float32)
        np.rint(scaled, out=scaled)  # in place: each fresh array of this size costs more than the arithmetic
        array = np.clip(scaled, 0, 255, out=scaled).astype(np.uint8)
    if array.shape[2] == 1:
        return np.repeat(array, 3, axis=2)
    if array.shape[2] == 4:
        alpha = array[..., 3:].astype(np.float32) / 255
        return (array[..., :3] * alpha + 255 * (1 - alpha)).round().astype(np.uint8)
    return array


def _tensor_batch(tensor: Tensor, where: str = "tensor") -> ImageBatch:
    import torch

    tensor = tensor.detach()
    if tensor.ndim == 3:
        tensor = tensor[None]
    if tensor.ndim != 4 or tensor.shape[1] not in (1, 3):
        latent = " (a latent must be decoded first)" if tensor.ndim == 4 else ""
        raise InputError(f"{where} has shape {tuple(tensor.shape)}; expected (3, h, w) or (n, 3, h, w){latent}")
    if len(tensor) == 0:
        return ImageBatch(arrays=())
    if not _size_fits(tensor.shape[2], tensor.shape[3]):
        raise InputError(_size_text(where, tensor.shape[3], tensor.shape[2]))
    if tensor.dtype == torch.uint8:
        tensor = tensor.float() / 255
    elif not tensor.is_floating_point():
        raise InputError(f"{where} has dtype {tensor.dtype}; expected uint8, or floating point in [0, 1]")
    else:
        low, high = torch.stack(tensor.aminmax()).tolist()  # one synchronisation for the whole batch
        if not _in_range(low, high):
            for i, row in enumerate(tensor):
                low, high = torch.stack(row.aminmax()).tolist()
                _check_range(low, high, where if len(tensor) == 1 else f"image {i} of {where}")
    if tensor.shape[1] == 1:
        tensor = tensor.expand(-1, 3, -1, -1)
    return ImageBatch(tensor=tensor)


def _tensor_list(tensors: Sequence[Tensor]) -> ImageBatch:
    batches = [_single_tensor(t, f"image {i}") for i, t in enumerate(tensors)]
    rows = [b.tensor for b in batches if b.tensor is not None]
    if any(t.shape[2:] != rows[0].shape[2:] or t.device != rows[0].device for t in rows):
        return ImageBatch(arrays=tuple(a for b in batches for a in b.as_arrays()))
    import torch

    return ImageBatch(tensor=torch.cat(rows))


def _single_tensor(tensor: Tensor, where: str) -> ImageBatch:
    """One element of a sequence: more rows would be pictures that nobody asked about, and none a picture lost."""
    if tensor.ndim == 4 and len(tensor) != 1:
        raise InputError(f"{where} is a batch of {len(tensor)} pictures; in a sequence each element is one picture")
    return _tensor_batch(tensor, where)


def _size_fits(height: int, width: int) -> bool:
    return min(height, width) >= MIN_SIDE and max(height, width) <= MAX_SIDE


def _size_text(where: str, width: int, height: int) -> str:
    return f"{where} is {width} x {height} px; sides from {MIN_SIDE} to {MAX_SIDE} px can be checked"


def _in_range(low: float, high: float) -> bool:
    return low >= -RANGE_SLACK and high <= 1 + RANGE_SLACK  # false for NaN too


def _check_range(low: float, high: float, where: str) -> None:
    if not (np.isfinite(low) and np.isfinite(high)):
        raise InputError(f"{where} holds values that are not finite (NaN or infinity)")
    if not _in_range(low, high):
        raise InputError(
            f"{where} has values in [{low:g}, {high:g}]; floating point images must lie in [0, 1] "
            "(a diffusers tensor in [-1, 1] needs x / 2 + 0.5)"
        )
