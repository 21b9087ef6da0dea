"""The PDQ perceptual hash as an embedder. Knows bits and dihedral views; no runtime, weights or index.

The 256 bits become a vector of +-1/16, so that cosine = 1 - 2 * hamming / 256 exactly and any
inner-product index serves it. Source: "PDQ & TMK + PDQF", Facebook 2019; package `pdqhash`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from guard.embedders.base import EmbedderSpec, QueryDescriptors, Thresholds
from guard.errors import CheckError
from guard.types import Descriptors

if TYPE_CHECKING:
    from guard.pixels import ImageBatch, RGBArray

__all__ = ["BITS", "MAX_INPUT", "MIN_QUALITY", "VIEWS", "PdqEmbedder", "bits_to_similarity"]

BITS = 256
MAX_INPUT = 512  # px, longer side; larger pictures are box-filtered down to it first
MIN_QUALITY = 50  # inclusive; the PDQ paper: hashes of quality below 50 should be discarded
VIEWS = 8


def bits_to_similarity(bits: int) -> float:
    """Cosine of two descriptors whose hashes differ in so many bits."""
    return 1 - 2 * bits / BITS


class PdqEmbedder:
    """PDQ on the CPU: 256 bits as a unit vector; a query is looked up in its eight dihedral views."""

    def __init__(self, threads: int = 2) -> None:
        self._threads = threads
        self._spec = EmbedderSpec(
            name="pdq",
            dim=BITS,
            input_size=MAX_INPUT,
            preprocessing=f"box<={MAX_INPUT};pdq",
            weights_sha256="",
            metric="hamming",
            thresholds=Thresholds(
                flag=bits_to_similarity(47),
                block=bits_to_similarity(31),
                source="block: PDQ's published match threshold of 31 bits; flag: provisional",
            ),
        )

    @property
    def spec(self) -> EmbedderSpec:
        return self._spec

    def embed(self, batch: ImageBatch) -> Descriptors:
        """(n, 256) of +-1/16, always a numpy array."""
        rows = [bits for bits, _ in self._map(_hash_one, batch.as_arrays())]
        return _to_vectors(np.array(rows, np.bool_).reshape(-1, BITS))

    def embed_query(self, batch: ImageBatch) -> QueryDescriptors:
        """(n, 8, 256): view 0 is the image itself, the others its flips and quarter turns."""
        hashed = list(self._map(_hash_dihedral, batch.as_arrays()))
        views = np.array([bits for bits, _ in hashed], np.bool_).reshape(-1, VIEWS, BITS)
        usable = np.array([quality >= MIN_QUALITY for _, quality in hashed], np.bool_)
        return QueryDescriptors(_to_vectors(views), usable)

    def _map(self, hash_fn: Callable[[RGBArray], tuple[Any, int]],
             arrays: tuple[RGBArray, ...]) -> Iterable[tuple[Any, int]]:  # fmt: skip
        if len(arrays) < 2 or self._threads < 2:
            return map(hash_fn, arrays)
        with ThreadPoolExecutor(min(self._threads, len(arrays))) as pool:
            return list(pool.map(hash_fn, arrays))


def _to_vectors(bits: npt.NDArray[np.bool_]) -> Descriptors:
    side = np.float32(1 / np.sqrt(BITS))
    return np.where(bits, side, -side).astype(np.float32)


def _hash_one(image: RGBArray) -> tuple[Any, int]:
    import pdqhash

    try:
        bits, quality = pdqhash.compute(_shrink(image))
    except Exception as exc:
        raise CheckError(f"PDQ failed: {exc}", stage="embed", reason=type(exc).__name__) from exc
    return bits, int(quality)


def _hash_dihedral(image: RGBArray) -> tuple[Any, int]:
    import pdqhash

    try:
        views, quality = pdqhash.compute_dihedral(_shrink(image))
    except Exception as exc:
        raise CheckError(f"PDQ failed: {exc}", stage="embed", reason=type(exc).__name__) from exc
    return views, int(quality)


def _shrink(image: RGBArray) -> RGBArray:
    height, width = image.shape[:2]
    if max(height, width) <= MAX_INPUT:
        return image
    from PIL import Image

    scale = MAX_INPUT / max(height, width)
    size = (max(round(width * scale), min(width, 64)), max(round(height * scale), min(height, 64)))
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BOX))
