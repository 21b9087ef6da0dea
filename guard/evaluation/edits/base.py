"""What an edit of the evaluation is, and the few tools its families share. Knows pixels; no protocol."""

from __future__ import annotations

import inspect
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from guard.errors import ConfigError
from guard.pixels import RGBArray

__all__ = [
    "FAMILIES",
    "LEAST_SIDE",
    "Edit",
    "Floats",
    "Rng",
    "applied",
    "cover",
    "remapped",
    "scaled",
    "smooth_field",
    "to_bytes",
]

FAMILIES = ("photometric", "geometric", "overlay", "generation", "combination")
LEAST_SIDE = 32  # px that an edit leaves at least, where the picture had them

Rng = np.random.Generator
Floats = npt.NDArray[np.float32]
Function = Callable[..., RGBArray]


@dataclass(frozen=True, slots=True)
class Edit:
    """One way to alter a picture, with its parameters fixed and its chance from a seed."""

    name: str
    family: str
    """One of FAMILIES."""
    function: Function = field(repr=False)
    """(picture, **parameters) -> picture; where it names them, it is also given `rng` and `others`."""
    parameters: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))

    def __call__(self, picture: RGBArray, others: Sequence[RGBArray], *, seed: Sequence[int] = (0,)) -> RGBArray:
        """(h, w, 3) uint8 -> a new (h', w', 3) uint8; the picture is not written to.

        others: pictures that may be laid under or beside it; at least one. seed: with the edit's name
        it determines the outcome, so that the order of edits and pictures does not matter.
        """
        if not others:
            raise ConfigError(f"edit {self.name}: at least one other picture is needed")
        rng = np.random.default_rng([zlib.crc32(self.name.encode()), *seed])
        return np.ascontiguousarray(applied(self.function, picture, rng, others, self.parameters))

    @property
    def described(self) -> str:
        """Its parameters as the documentation lists them: "area=0.4"."""
        return ", ".join(f"{key}={value}" for key, value in self.parameters.items())


def applied(
    function: Function, picture: RGBArray, rng: Rng, others: Sequence[RGBArray], parameters: Mapping[str, Any]
) -> RGBArray:
    """Call an edit's function with its parameters and with what it names of rng and others."""
    named = inspect.signature(function).parameters
    chance = {name: value for name, value in (("rng", rng), ("others", others)) if name in named}
    edited: RGBArray = function(picture, **chance, **parameters)
    return edited


def scaled(picture: RGBArray, width: int, height: int, how: Image.Resampling = Image.Resampling.BICUBIC) -> RGBArray:
    """(h, w, 3) -> (height, width, 3); always a copy."""
    return np.array(Image.fromarray(picture).resize((max(1, width), max(1, height)), how))


def cover(picture: RGBArray, width: int, height: int) -> RGBArray:
    """The middle of a picture, at this size, without a change of aspect."""
    h, w = picture.shape[:2]
    factor = max(width / w, height / h)
    big = scaled(picture, max(width, round(w * factor)), max(height, round(h * factor)))
    top, left = (big.shape[0] - height) // 2, (big.shape[1] - width) // 2
    return big[top : top + height, left : left + width]


def to_bytes(values: npt.NDArray[Any]) -> RGBArray:
    """Levels of any float type -> uint8, rounded and clipped."""
    levels: RGBArray = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    return levels


def smooth_field(rng: Rng, height: int, width: int, knots: int) -> Floats:
    """(height, width) smooth noise of about unit spread, from a grid of knots x knots."""
    coarse = Image.fromarray(rng.standard_normal((knots, knots)).astype(np.float32))
    return np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC), np.float32)


def remapped(picture: RGBArray, x: Floats, y: Floats) -> RGBArray:
    """Look up each pixel at (x, y) px of the source, bilinear; what lies outside repeats the border."""
    h, w = picture.shape[:2]
    x, y = np.clip(x, 0, w - 1), np.clip(y, 0, h - 1)
    left, top = np.minimum(x.astype(np.int32), w - 2), np.minimum(y.astype(np.int32), h - 2)
    fx, fy = (x - left)[..., None], (y - top)[..., None]
    flat = picture.reshape(-1, 3).astype(np.float32)
    at = top * w + left
    upper = flat[at] * (1 - fx) + flat[at + 1] * fx
    lower = flat[at + w] * (1 - fx) + flat[at + w + 1] * fx
    return to_bytes(upper * (1 - fy) + lower * fy)
