"""Picture -> network input: resize, crop, normalise. Knows pixels; not which network reads them.

Two ways to one answer: Pillow for 8-bit arrays, an antialiased torch resize for tensors, on the
device where they are. Pillow rounds to 8 bits after each of its two passes, so that the two differ
by at most 2/255 a pixel (before the division by std), measured in tests/unit/embedders/test_preprocess.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from guard.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor

    from guard.pixels import RGBArray

__all__ = ["CLIP_MEAN", "CLIP_STD", "IMAGENET_MEAN", "IMAGENET_STD", "Preprocessing"]

Triple = tuple[float, float, float]

IMAGENET_MEAN: Triple = (0.485, 0.456, 0.406)
IMAGENET_STD: Triple = (0.229, 0.224, 0.225)
CLIP_MEAN: Triple = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD: Triple = (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """What happens to a picture before the network sees it; part of an embedder's identity."""

    size: int
    """Side in px of the square that the network sees."""
    resize: Literal["squash", "shorter_side"] = "squash"
    """squash: straight to the square. shorter_side: keep the aspect ratio, then cut the middle out."""
    shorter_side: int | None = None
    """px before the cut; None: as `size`. Only with resize="shorter_side"."""
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"
    mean: Triple = IMAGENET_MEAN
    std: Triple = IMAGENET_STD

    def __post_init__(self) -> None:
        if self.size < 1 or (self.shorter_side or self.size) < self.size:
            raise ConfigError(f"preprocessing: size {self.size} must be positive and at most shorter_side")
        if self.resize not in ("squash", "shorter_side") or self.interpolation not in ("bilinear", "bicubic"):
            raise ConfigError(f"preprocessing: unknown resize {self.resize!r} or interpolation {self.interpolation!r}")
        if self.resize == "squash" and self.shorter_side is not None:
            raise ConfigError("preprocessing: shorter_side needs resize='shorter_side'")
        if min(self.std) <= 0:
            raise ConfigError(f"preprocessing: std {self.std} must be positive")

    def __str__(self) -> str:
        """The canonical form, read back by `parse`: "squash:320;bilinear;mean=0.485,…;std=0.229,…"."""
        way = f"squash:{self.size}"
        if self.resize == "shorter_side":
            way = f"shorter_side:{self.shorter_side or self.size};crop:{self.size}"
        mean, std = (",".join(f"{v:g}" if float(f"{v:g}") == v else repr(v) for v in t) for t in (self.mean, self.std))
        return f"{way};{self.interpolation};mean={mean};std={std}"

    @classmethod
    def parse(cls, text: str) -> Preprocessing:
        """Read the canonical form. Raises ConfigError that shows an example."""
        try:
            *way, interpolation, mean, std = text.split(";")
            sides = {key: int(value) for key, value in (part.split(":") for part in way)}
            triples = [_triple(part, key) for part, key in ((mean, "mean="), (std, "std="))]
            crop = sides.get("crop")
            if sorted(sides) == ["squash"]:
                return cls(sides["squash"], "squash", None, interpolation, *triples)  # type: ignore[arg-type]
            if crop is None or sorted(sides) != ["crop", "shorter_side"]:
                raise ValueError(way)
            wide = sides["shorter_side"] if sides["shorter_side"] != crop else None
            return cls(crop, "shorter_side", wide, interpolation, *triples)  # type: ignore[arg-type]
        except ConfigError:
            raise
        except ValueError as exc:
            raise ConfigError(f"preprocessing {text!r} cannot be read; an example: '{cls(320)}'") from exc

    def arrays(self, images: Sequence[RGBArray]) -> npt.NDArray[np.float32]:
        """n arrays (h, w, 3) uint8 of any sizes -> (n, 3, size, size), normalised."""
        out = np.empty((len(images), 3, self.size, self.size), np.float32)
        mean, std = (np.asarray(t, np.float32).reshape(3, 1, 1) for t in (self.mean, self.std))
        for i, image in enumerate(images):
            out[i] = (self.resized(image).transpose(2, 0, 1).astype(np.float32) / 255 - mean) / std
        return out

    def tensor(self, batch: Tensor) -> Tensor:
        """(n, 3, h, w) in [0, 1] on any device -> (n, 3, size, size) float32 there, normalised."""
        import torch

        if len(batch) == 0:
            return torch.empty((0, 3, self.size, self.size), device=batch.device)
        pixels = batch.detach().float()  # no copy of float32
        height, width = pixels.shape[2:]
        new_h, new_w = self._target(height, width)
        if (new_h, new_w) != (height, width):
            pixels = torch.nn.functional.interpolate(
                pixels, (new_h, new_w), mode=self.interpolation, align_corners=False, antialias=True
            )
        top, left = round((new_h - self.size) / 2), round((new_w - self.size) / 2)
        pixels = pixels[:, :, top : top + self.size, left : left + self.size].clamp(0, 1)  # bicubic overshoots
        mean, std = (torch.tensor(t, device=batch.device).view(1, 3, 1, 1) for t in (self.mean, self.std))
        return ((pixels - mean) / std).contiguous()

    def _target(self, height: int, width: int) -> tuple[int, int]:
        if self.resize == "squash":
            return self.size, self.size
        side, short = self.shorter_side or self.size, min(height, width)
        return max(self.size, int(side * height / short)), max(self.size, int(side * width / short))

    def resized(self, image: RGBArray) -> RGBArray:
        """(h, w, 3) -> (size, size, 3) uint8, resized and cut, not normalised yet."""
        from PIL import Image

        height, width = image.shape[:2]
        new_h, new_w = self._target(height, width)
        if (new_h, new_w) != (height, width):
            how = Image.Resampling.BILINEAR if self.interpolation == "bilinear" else Image.Resampling.BICUBIC
            image = np.asarray(Image.fromarray(image).resize((new_w, new_h), how))
        top, left = round((new_h - self.size) / 2), round((new_w - self.size) / 2)
        return image[top : top + self.size, left : left + self.size]


def _triple(part: str, key: str) -> Triple:
    if not part.startswith(key):
        raise ValueError(part)
    red, green, blue = (float(v) for v in part.removeprefix(key).split(","))
    return red, green, blue
