"""A real embedder and a real exact index, small enough to reason about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
from PIL import Image

from guard.embedders.base import EmbedderSpec, Thresholds
from guard.embedders.views import CROPS, views_of
from guard.pixels import ImageBatch, to_batch
from guard.types import Candidates, Descriptors, Record

__all__ = ["MemoryIndex", "ToyEmbedder", "Windowed", "picture"]

SIDE = 8


def picture(seed: int, width: int = 64, height: int = 64) -> Image.Image:
    """Smooth coloured noise; two seeds are far apart for ToyEmbedder and for PDQ."""
    coarse = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


@dataclass
class ToyEmbedder:
    """Mean-free 8 x 8 colour thumbnail, normalised: cosine of two pictures is their correlation."""

    name: str = "toy"
    fail_on: tuple[int, ...] = ()
    """Mean 8-bit levels of pictures that the runtime "cannot take" (a real error, raised from within)."""
    thresholds: Thresholds | None = field(default_factory=lambda: Thresholds(0.8, 0.95, "by construction"))

    @property
    def spec(self) -> EmbedderSpec:
        return EmbedderSpec(self.name, SIDE * SIDE * 3, SIDE, "box 8", "", thresholds=self.thresholds)

    def embed(self, batch: ImageBatch) -> Descriptors:
        rows = np.zeros((len(batch), self.spec.dim), np.float32)
        for i, array in enumerate(batch.as_arrays()):
            if round(float(array.mean())) in self.fail_on:
                raise RuntimeError("the runtime cannot take this picture")
            small = np.asarray(Image.fromarray(array).resize((SIDE, SIDE), Image.Resampling.BOX), np.float32).ravel()
            small -= small.mean()
            norm = float(np.linalg.norm(small))
            rows[i] = small / norm if norm > 1e-6 else np.eye(1, self.spec.dim)[0]
        return rows


class Windowed(ToyEmbedder):
    """Describes each part as a picture of its own, seen at a size (px) that nothing else depends on."""

    asked, seen_at = 0, 64

    @property
    def windows(self) -> int:
        return len(CROPS)

    def embed_windows(self, batch: ImageBatch) -> Any:
        self.asked += 1
        squashed = [Image.fromarray(one).resize((self.seen_at, self.seen_at)) for one in batch.as_arrays()]
        return np.stack([self.embed(part) for part in views_of(to_batch(squashed), "crops")[1:]], axis=1)

    def windows_identity(self) -> str:
        return f"squash:{self.seen_at}"


class MemoryIndex:
    """The plain numpy answer to every search."""

    def __init__(self, embedder: Any, pictures: dict[str, Image.Image]) -> None:
        batch = ImageBatch(arrays=tuple(np.asarray(p.convert("RGB")) for p in pictures.values()))
        self._rows = np.asarray(embedder.embed(batch))
        self._records = [Record(i, uri, "") for i, uri in enumerate(pictures)]
        self.manifest: Any = SimpleNamespace(count=len(self._rows), built_timestamp=0.0, embedder=embedder.spec)
        self.version = "0001"
        self.searches = 0

    def __len__(self) -> int:
        return len(self._rows)

    def search(self, xq: Descriptors, k: int) -> Candidates:
        self.searches += 1
        similarity = np.full((len(xq), k), -np.inf, np.float32)
        ids = np.full((len(xq), k), -1, np.int64)
        scores = np.asarray(xq) @ self._rows.T
        order = np.argsort(-scores, axis=1)[:, :k]
        ids[:, : order.shape[1]] = order
        similarity[:, : order.shape[1]] = np.take_along_axis(scores, order, axis=1)
        return Candidates(ids, similarity)

    def records(self, ids: Sequence[int]) -> list[Record]:
        return [self._records[i] for i in ids]
