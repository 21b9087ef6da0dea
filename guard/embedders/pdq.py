"""The PDQ perceptual hash as an embedder. Knows bits and dihedral views; no runtime, weights or index.

The 256 bits become a vector of +-1/16, so that cosine = 1 - 2 * hamming / 256 exactly and any
inner-product index serves it. Source: "PDQ & TMK + PDQF", Facebook 2019; package `pdqhash`.

PDQ shrinks a picture to 64 x 64 with a box filter whose windows sit off centre, by an amount that
depends on its size: on 177 real pictures, flips and quarter turns then cost 11 to 22 bits on average
(8 % of them more than 31) and a copy of 128 px 14. Here the picture is brought to 64 x 64 with a centred
triangle filter first, which PDQ's own step then leaves alone: turns cost at most 0.6 bits on average,
that copy 1.5, and a hash of 512 x 512 px a fifth of the time. The price: the bits differ from those of
other PDQ programs by 13 of 256 on average (n = 1,058), so that hash lists made elsewhere do not fit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from guard.embedders.base import EmbedderSpec, QueryDescriptors, Thresholds
from guard.embedders.preprocess import Preprocessing
from guard.errors import CheckError

if TYPE_CHECKING:
    from guard.pixels import ImageBatch, RGBArray
    from guard.types import Descriptors

__all__ = [
    "BITS",
    "BLOCK_BITS",
    "FLAG_BITS",
    "METHOD",
    "MIN_QUALITY",
    "SIDE",
    "VIEWS",
    "PdqEmbedder",
    "bits_to_similarity",
    "packed_hash",
]

BITS = 256
SIDE = 64  # px of the square that is hashed
MIN_QUALITY = 50  # inclusive; the PDQ paper: hashes of quality below 50 should be discarded
BLOCK_BITS = 31  # inclusive; PDQ's published match threshold
FLAG_BITS = 47  # inclusive
METHOD = f"squash:{SIDE};bilinear;pdq"
"""Whatever decides the bits; hashes of another method do not compare."""
VIEWS = 8
"""Of a query, in pdqhash's order: itself, turned left by 90, 180 and 270 degrees, top to bottom,
left to right, along the main diagonal, along the other diagonal."""


def bits_to_similarity(bits: int) -> float:
    """Cosine of two descriptors whose hashes differ in so many bits."""
    return 1 - 2 * bits / BITS


THRESHOLDS = Thresholds(
    flag=bits_to_similarity(FLAG_BITS),
    block=bits_to_similarity(BLOCK_BITS),
    source=(
        "block: PDQ's published match threshold, 31 of 256 bits. flag: 47 bits; of 1,057 real pictures looked up "
        "among each other in 8 views (tests/unit/embedders/test_pdq_real.py, 2026-11-22), 9 had a non-copy within 47 "
        "bits and 2 within 31, all of them screenshots of one page or one emoji in two skin tones; the nearest "
        "non-copy of 868 photographs, paintings and X-rays was 72 bits away. Cropping 1.5 % off each side costs "
        "31 bits on average, 44 at the 95th percentile (n = 177)."
    ),
)
_SQUASH = Preprocessing(SIDE, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))


class PdqEmbedder:
    """PDQ on the CPU; a query is looked up in its eight dihedral views.

    A batch that is a tensor is shrunk on its device; 12 kB a picture come to the host.
    Tensor and array of one picture differ by rounding: on 64 real pictures by 0.4 bits on average, at most 4.
    """

    def __init__(self, device: str | None = None) -> None:
        """device: taken for the sake of callers that set one for every embedder; hashing stays on the CPU."""
        del device
        self._spec = EmbedderSpec(
            name="pdq",
            dim=BITS,
            input_size=SIDE,
            preprocessing=METHOD,
            weights_sha256="",
            metric="hamming",
            thresholds=THRESHOLDS,
        )

    @property
    def spec(self) -> EmbedderSpec:
        return self._spec

    @property
    def provider(self) -> str:
        return "cpu"

    def embed(self, batch: ImageBatch) -> Descriptors:
        """(n, 256) of +-1/16, always an array."""
        pdqhash = _pdqhash()
        rows = [_hashed(pdqhash.compute, image)[0] for image in _small(batch)]
        return _to_vectors(np.array(rows, np.bool_).reshape(-1, BITS))

    def embed_query(self, batch: ImageBatch) -> QueryDescriptors:
        """vectors (n, 8, 256), views in the order of VIEWS; usable where the quality reaches MIN_QUALITY."""
        pdqhash = _pdqhash()
        hashed = [_hashed(pdqhash.compute_dihedral, image) for image in _small(batch)]
        views = np.array([bits for bits, _ in hashed], np.bool_).reshape(-1, VIEWS, BITS)
        usable = np.array([quality >= MIN_QUALITY for _, quality in hashed], np.bool_)
        return QueryDescriptors(_to_vectors(views), usable)


def packed_hash(image: RGBArray) -> bytes | None:
    """Hash of one picture (h, w, 3) uint8: 32 bytes, first bit highest; None if its quality is below MIN_QUALITY.

    Raises CheckError(stage="embed") if pdqhash fails.
    """
    bits, quality = _hashed(_pdqhash().compute, _SQUASH.resized(image))
    return np.packbits(np.asarray(bits, np.bool_)).tobytes() if quality >= MIN_QUALITY else None


def _small(batch: ImageBatch) -> list[RGBArray]:
    """Each picture as (64, 64, 3) uint8."""
    if batch.tensor is not None:
        scaled = (_SQUASH.tensor(batch.tensor) * 255).round()
        return list(scaled.byte().permute(0, 2, 3, 1).contiguous().cpu().numpy())
    return [_SQUASH.resized(image) for image in batch.as_arrays()]


def _hashed(function: Any, image: RGBArray) -> tuple[Any, int]:
    try:
        bits, quality = function(image)
    except Exception as exc:
        raise CheckError(f"PDQ failed: {exc}", stage="embed", reason=type(exc).__name__) from exc
    return bits, int(quality)


def _to_vectors(bits: npt.NDArray[np.bool_]) -> Descriptors:
    side = np.float32(1 / np.sqrt(BITS))
    vectors: Descriptors = np.where(bits, side, -side).astype(np.float32)
    return vectors


def _pdqhash() -> Any:
    import pdqhash

    return pdqhash
