"""What one version of an index knows, by which its references can be compared, pair by pair. Decides nothing."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from guard.dedup.neighbours import MIRROR
from guard.embedders.pdq import BITS
from guard.indexes.cluster_rows import Ids
from guard.indexes.faissfile import VECTORS, check_file, map_rows
from guard.indexes.hashes import map_hashes
from guard.indexes.store import OpenIndex
from guard.indexes.transformed_rows import original_rows
from guard.membership import OTHERS, trained_on
from guard.types import Descriptors, Record

__all__ = ["Material"]


class Material:
    """Descriptors before the index's transform, of whole pictures; hashes; thumbnails; records. By id, and mapped."""

    def __init__(self, index: OpenIndex, collection: str | None = None) -> None:
        """collection: the references that are compared; None for training pictures, or all of an index without any.

        Raises IndexLoadError for a damaged file.
        """
        manifest = index.manifest
        chosen = (collection,) if collection is not None else ()
        self._all = not chosen and OTHERS.issuperset(manifest.collections)
        self.index, self._collections, self.count = index, chosen, manifest.count
        self.thumbnail = index.thumbnail
        self.rows: Descriptors | None = None
        """(count, d); None of an index of packed bits, whose descriptors are the hashes."""
        self.hashes: npt.NDArray[np.uint8] | None = None
        """(count, 32) packed; rows of zeros are none. None in an index without hashes."""
        if manifest.vectors == "bits":
            layout = check_file(index.folder / VECTORS, manifest)
            self.hashes = map_rows(index.folder / VECTORS, layout, manifest.count)[:: manifest.regions]
        else:
            self.rows = original_rows(index.folder, manifest)[:: manifest.regions]
            self.hashes = map_hashes(index.folder, manifest) if manifest.hashes else None

    def records(self) -> Iterator[Record]:
        """Those that are compared, by ascending id."""
        for record in self.index.reader.all():
            if self._all or trained_on(record, self._collections):
                yield record

    def similarity(self, first: Ids, second: Ids) -> npt.NDArray[np.float32]:
        """(p,) cosines of pairs of ids."""
        if self.rows is None:
            bits = np.array([BITS if b is None else b for b in self.bits(first, second)], np.float32)
            return 1 - 2 * bits / np.float32(BITS)
        one, other = (np.asarray(self.rows[ids], np.float32) for ids in (first, second))
        cosines: npt.NDArray[np.float32] = np.einsum("ij,ij->i", one, other)
        return cosines

    def bits(self, first: Ids, second: Ids) -> list[int | None]:
        """(p,) by how many bits the hashes of pairs differ, as they are or mirrored; None where either has none."""
        if self.hashes is None:
            return [None] * len(first)
        one, other = np.asarray(self.hashes[first]), np.asarray(self.hashes[second])
        known = np.logical_and(one.any(axis=1), other.any(axis=1)).tolist()
        bits = [np.bitwise_count(one ^ other ^ turn).sum(axis=1, dtype=np.int64) for turn in (np.uint8(0), MIRROR)]
        return [b if k else None for b, k in zip(np.minimum(*bits).tolist(), known, strict=True)]
