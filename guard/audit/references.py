"""Training pictures as an audit compares them: cut and scaled like generations, and the nearest of them by pixels.

Knows an index's thumbnails; no descriptors and no thresholds. A search over all pictures looks at small plates of
them first: block means can only lie closer together than the pictures they were made of, so that what they rule out
stays out, and the answer is that of the full size.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from guard.audit.distance import Pictures, rms_between
from guard.decode import decode
from guard.errors import ConfigError, IndexLoadError, InputError
from guard.indexes.base import Index, SupportsThumbnails
from guard.pixels import RGBArray

__all__ = ["Nearest", "References", "fitted", "plate", "thumbnails_of"]

LARGEST_PX = 256  # longer side at which pictures are compared: that of the thumbnails
PLATE_PX = 16
KEPT_BYTES = 256 << 20  # of fitted references
AT_ONCE = 64  # references that one step of a search adds
SLACK = 1 / 255 + 1e-3  # of a plate's distance: its values are rounded to whole levels, and float32 rounds as well

Shape = tuple[int, int]


@dataclass(frozen=True, slots=True, eq=False)
class Nearest:
    """References by their distance from one picture, nearest first."""

    ids: npt.NDArray[np.int64]
    distances: npt.NDArray[np.float32]


class References:
    """Pictures of an index's references, for generations of one size.

    index: one with thumbnails. ids: the references to look at. size: (height, width) of the generations; both are
    compared at most at LARGEST_PX.
    Raises ConfigError if the index has no thumbnails. A reference whose thumbnail cannot be read is left out.
    """

    def __init__(self, index: Index, ids: Sequence[int], size: Shape) -> None:
        self._thumbnail = thumbnails_of(index).thumbnail
        self._ids = list(ids)
        factor = min(1.0, LARGEST_PX / max(size))
        self.size: Shape = (max(1, round(size[0] * factor)), max(1, round(size[1] * factor)))
        """(height, width) at which pictures are compared."""
        self._kept: OrderedDict[int, RGBArray | None] = OrderedDict()
        self._most = max(AT_ONCE, KEPT_BYTES // (3 * self.size[0] * self.size[1]))
        self._plates: tuple[npt.NDArray[np.int64], Pictures] | None = None

    def scaled(self, pictures: Pictures) -> Pictures:
        """Generations at the size of the comparison."""
        if pictures.shape[1:3] == self.size:
            return pictures
        return np.stack([fitted(picture, self.size) for picture in pictures])

    def pixels(self, ids: Sequence[int]) -> tuple[npt.NDArray[np.int64], Pictures]:
        """Those of the ids that can be read, and their pictures, (n, height, width, 3)."""
        found = [(i, picture) for i in ids if (picture := self._one(int(i))) is not None]
        known = np.asarray([i for i, _ in found], np.int64)
        return known, np.stack([p for _, p in found]) if found else np.zeros((0, *self.size, 3), np.uint8)

    def whole(self, i: int) -> RGBArray | None:
        """The picture uncut, as its thumbnail shows it; None if it cannot be read."""
        encoded = self._thumbnail(i)
        try:
            return decode(encoded, where=f"thumbnail {i}").rgb if encoded else None
        except InputError:
            return None

    def nearest(self, picture: RGBArray, k: int) -> Nearest:
        """The k nearest references of all by RMS distance. picture: (height, width, 3) of the comparison's size."""
        ids, plates = self._all_plates()
        below = _plate_bound(rms_between(plate(picture)[None], plates)[0], self.size)
        order = np.argsort(below, kind="stable")
        best = Nearest(np.zeros(0, np.int64), np.zeros(0, np.float32))
        for start in range(0, len(order), AT_ONCE):
            some = order[start : start + AT_ONCE]
            if len(best.ids) >= k and below[some[0]] > best.distances[k - 1]:
                break
            known, pictures = self.pixels(ids[some].tolist())
            best = _merged(best, Nearest(known, rms_between(picture[None], pictures)[0]), k)
        return best

    def prepare(self, progress: Callable[[int, int], None] | None = None) -> None:
        """Read every thumbnail once, which the first search does otherwise."""
        self._all_plates(progress)

    def _all_plates(self, progress: Callable[[int, int], None] | None = None) -> tuple[npt.NDArray[np.int64], Pictures]:
        if self._plates is None:
            ids, plates = [], []
            for done, i in enumerate(self._ids, 1):
                picture = self._one(i)
                if picture is not None:
                    ids.append(i)
                    plates.append(plate(picture))
                if progress is not None and done % 256 == 0:
                    progress(done, len(self._ids))
            if not ids:
                raise IndexLoadError("no thumbnail of the index can be read; rebuild it")
            self._plates = np.asarray(ids, np.int64), np.stack(plates)
        return self._plates

    def _one(self, i: int) -> RGBArray | None:
        if i in self._kept:
            self._kept.move_to_end(i)
            return self._kept[i]
        whole = self.whole(i)
        picture = self._kept[i] = None if whole is None else fitted(whole, self.size)
        while len(self._kept) > self._most:
            self._kept.popitem(last=False)
        return picture


def thumbnails_of(index: Index) -> SupportsThumbnails:
    """The index itself. Raises ConfigError if it has none."""
    if not isinstance(index, SupportsThumbnails) or not getattr(index, "has_thumbnails", True):
        if index.manifest.sealed is not None:
            raise ConfigError("the thumbnails of the index are sealed, and pixels must be compared: give the --key")
        raise ConfigError("the index has no thumbnails, so that no pixels can be compared; build it with --thumbnails")
    return index


def fitted(picture: RGBArray, size: Shape) -> RGBArray:
    """Cut around the centre to the ratio of size = (height, width) and scale, as training does with its pictures."""
    from PIL import Image

    height, width = picture.shape[:2]
    if (height, width) == size:
        return picture
    factor = min(height / size[0], width / size[1])
    high, wide = size[0] * factor, size[1] * factor
    top, left = max(0.0, (height - high) / 2), max(0.0, (width - wide) / 2)  # one of both is 0, but for rounding
    box = (left, top, min(left + wide, width), min(top + high, height))
    image = Image.fromarray(np.ascontiguousarray(picture))
    return np.asarray(image.resize((size[1], size[0]), Image.Resampling.LANCZOS, box=box))


def plate(picture: RGBArray) -> RGBArray:
    """(PLATE_PX, PLATE_PX, 3) means of blocks, each weighing as much as every other.

    Rows and columns that PLATE_PX does not divide are left out at the borders.
    """
    height, width = picture.shape[:2]
    if min(height, width) < PLATE_PX:
        raise InputError(f"pictures of {width} x {height} px cannot be compared; sides from {PLATE_PX} px can")
    rows, columns = height // PLATE_PX, width // PLATE_PX
    high, wide = rows * PLATE_PX, columns * PLATE_PX
    top, left = (height - high) // 2, (width - wide) // 2
    inner = picture[top : top + high, left : left + wide].reshape(PLATE_PX, rows, PLATE_PX, columns, 3)
    means: RGBArray = inner.mean(axis=(1, 3)).round().astype(np.uint8)
    return means


def _plate_bound(distances: npt.NDArray[np.float32], size: Shape) -> npt.NDArray[np.float64]:
    """What the whole pictures differ by at least, given the distances of their plates.

    Jensen: the mean square of block means' differences is at most that of the pixels, of which the plate saw a share.
    """
    seen = np.prod([side // PLATE_PX * PLATE_PX / side for side in size])
    bound: npt.NDArray[np.float64] = (distances.astype(np.float64) - SLACK).clip(0) * np.sqrt(seen)
    return bound


def _merged(a: Nearest, b: Nearest, k: int) -> Nearest:
    ids, distances = np.concatenate([a.ids, b.ids]), np.concatenate([a.distances, b.distances])
    order = np.argsort(distances, kind="stable")[:k]
    return Nearest(ids[order], distances[order])
