"""A training set on disk, and a model that repeats some of it: plain arrays, so that an audit takes a second."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from guard.audit.prompts import Prompt
from guard.indexes.builder import build_index
from guard.indexes.sealing import SealingKey
from guard.pixels import RGBArray
from tests.support.toys import ToyEmbedder, picture

__all__ = ["SIDE", "CopyingModel", "training_pictures", "write_training_index"]

SIDE = 64


def training_pictures(n: int, side: int = SIDE) -> dict[str, RGBArray]:
    """Caption -> picture."""
    return {f"caption {i}": np.array(picture(i, side, side)) for i in range(n)}


def write_training_index(
    folder: Path,
    pictures: dict[str, RGBArray],
    copies: dict[str, int] | None = None,
    *,
    key: SealingKey | None = None,
) -> Path:
    """An index of them, each as often as copies says (once otherwise). key: of its thumbnails."""
    source = folder / "training"
    source.mkdir(parents=True)
    lines = []
    for i, (caption, pixels) in enumerate(pictures.items()):
        for copy in range((copies or {}).get(caption, 1)):
            name = f"{i:03d}.{copy:03d}.png"
            Image.fromarray(pixels).save(source / name)
            lines.append(json.dumps({"file_name": name, "text": caption}))
    (source / "metadata.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    build_index(source, folder / "training.index", ToyEmbedder(), hashes=False, key=key)
    return folder / "training.index"


class CopyingModel:
    """Draws the training picture of a memorised caption in a share of its generations, and else something new.

    memorised: caption -> share. Everything follows from the seed alone.
    """

    def __init__(self, pictures: dict[str, RGBArray], memorised: dict[str, float]) -> None:
        self.pictures, self.memorised = pictures, memorised
        self.calls: list[tuple[str, int]] = []

    def __call__(self, prompt: Prompt, seeds: Sequence[int]) -> Sequence[RGBArray]:
        self.calls.append((prompt.text, len(seeds)))
        return [self._draw(prompt.text, seed) for seed in seeds]

    def _draw(self, text: str, seed: int) -> RGBArray:
        rng = np.random.default_rng(seed)
        if rng.random() < self.memorised.get(text, 0.0):
            noise = rng.normal(0, 6, self.pictures[text].shape)
            return (self.pictures[text] + noise).clip(0, 255).round().astype(np.uint8)
        return np.array(picture(int(rng.integers(1_000, 1 << 31)), SIDE, SIDE))
