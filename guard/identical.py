"""Which references PDQ calls identical to an image, beside what the descriptor finds. Knows hashes and candidates.

An image is looked up in its eight flips and quarter turns. Where it cannot be hashed, or shows too little detail,
nothing is found: the descriptor's verdict stands as it would without hashes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol, cast, runtime_checkable

import numpy as np
import numpy.typing as npt

from guard.embedders.base import QueryDescriptors
from guard.embedders.pdq import BITS, VIEWS, PdqEmbedder

if TYPE_CHECKING:
    from guard.indexes.base import Index
    from guard.indexes.hashes import HashIndex
    from guard.pixels import ImageBatch
    from guard.types import Descriptors

__all__ = ["Candidate", "Hashed", "SupportsHashes", "hash_batch", "hash_images", "join"]


@runtime_checkable
class SupportsHashes(Protocol):
    """An index that may hold PDQ hashes beside its vectors."""

    @property
    def hashes(self) -> HashIndex | None: ...

    def similarity(self, xq: Descriptors, ids: Sequence[int]) -> npt.NDArray[np.float32]:
        """(nq, len(ids)) similarities of any queries and references, as search gives them."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Hashed:
    """The hashes of a batch, and the index that they are looked up in."""

    index: SupportsHashes
    images: QueryDescriptors
    """vectors (n, 8, 256) of +-1/16; usable: quality enough to be looked up."""
    input_bits: list[int | None]
    """(n,) fewest bits by which any view differs from any of the caller's inputs; None: no input, or not usable."""


class Candidate(NamedTuple):
    id: int
    similarity: float
    bits: int | None
    """Of 256, by which the hashes differ; None: PDQ does not call it identical."""


def hash_batch(index: Index, batch: ImageBatch, own: ImageBatch | None) -> Hashed | None:
    """Hash the images and the caller's inputs; None if the index holds no hashes. Raises nothing for an image."""
    if getattr(index, "hashes", None) is None:
        return None
    images = hash_images(batch)
    near: list[int | None] = [None] * len(batch)
    if own is not None and len(own):
        inputs = hash_images(own).vectors[:, 0]  # of any quality: they are compared, not looked up
        inputs = inputs[inputs.any(axis=1)]
        if len(inputs):
            bits = _bits((images.vectors @ inputs.T).max(axis=(1, 2)))
            near = [int(b) if usable else None for b, usable in zip(bits, images.usable, strict=True)]
    return Hashed(cast("SupportsHashes", index), images, near)


def hash_images(batch: ImageBatch) -> QueryDescriptors:
    """vectors (n, 8, 256) of +-1/16; zeros, and not usable, for an image that PDQ cannot hash, for whatever reason."""
    pdq = PdqEmbedder()
    try:
        return pdq.embed_query(batch)
    except Exception:  # a verdict never depends on it
        if len(batch) < 2:
            return QueryDescriptors(np.zeros((len(batch), VIEWS, BITS), np.float32), np.zeros(len(batch), np.bool_))
    alone = [hash_images(one) for one in batch.singles()]
    return QueryDescriptors(np.concatenate([q.vectors for q in alone]), np.concatenate([q.usable for q in alone]))


def join(
    hashed: Hashed | None,
    query: QueryDescriptors,
    ids: npt.NDArray[np.int64],
    similarity: npt.NDArray[np.float32],
    k: int,
) -> list[list[Candidate]]:
    """Candidates of each image, most similar first; a reference that PDQ alone found joins with its own similarity.

    ids, similarity: (n, k) what the query's views found, id -1 for nothing. k: references asked for each view of a
    hash. hashed: None adds nothing.
    """
    identical = [{}] * len(ids) if hashed is None else _look_up(hashed, k)
    out: list[list[Candidate]] = []
    for views, row, values, same in zip(query.vectors, ids, similarity, identical, strict=True):
        found = {int(i): float(s) for i, s in zip(row, values, strict=True) if i >= 0}
        missing = [reference for reference in same if reference not in found]
        if missing and hashed is not None:
            best = query.counted(hashed.index.similarity(views, missing)).max(axis=0)
            found |= dict(zip(missing, best.tolist(), strict=True))
        nearest_first = sorted(found.items(), key=lambda pair: -pair[1])
        out.append([Candidate(reference, s, same.get(reference)) for reference, s in nearest_first])
    return out


def _look_up(hashed: Hashed, k: int) -> list[dict[int, int]]:
    """Of each image the references that are identical in any of its views: id -> fewest differing bits."""
    images, searched = hashed.images, hashed.index.hashes
    wanted = np.flatnonzero(images.usable)
    out: list[dict[int, int]] = [{} for _ in images.usable]
    if searched is None:
        return out
    for place, found in enumerate(searched.identical(images.vectors[wanted].reshape(-1, BITS), k)):
        of_image = out[wanted[place // VIEWS]]
        for reference, bits in found.items():
            of_image[reference] = min(bits, of_image.get(reference, BITS))
    return out


def _bits(cosine: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
    bits: npt.NDArray[np.int64] = np.rint((1 - cosine) * (BITS / 2)).astype(np.int64)
    return bits
