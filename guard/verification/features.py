"""One picture, prepared for comparison: small pixels at once, keypoints when they are first asked for.

Knows no second picture. Keypoints are SIFT (Lowe 2004) with root-SIFT descriptors (Arandjelović and Zisserman 2012).
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from guard.pixels import RGBArray
from guard.verification.opencv import opencv

__all__ = ["DESCRIPTOR_SCALE", "Floats", "Keypoints", "Prepared", "compacted", "longest", "mirrored"]

Floats = npt.NDArray[np.float32]

PIXELS_PX = 320  # longest side that is kept: a picture pasted at 0.4 of a page keeps 128 px
KEYPOINTS_PX = 192  # longest side that SIFT sees; it doubles it itself, and its time grows with the area
KEYPOINTS = 500  # the strongest ones
CONTRAST = 0.02  # SIFT's own default of 0.04 leaves smooth pictures with few keypoints
DESCRIPTOR_SCALE = 510.0  # root-SIFT values are 0.5 at most but for the plainest patches: one byte each


@dataclass(frozen=True, slots=True, eq=False)
class Keypoints:
    """The keypoints of one picture, 136 bytes each, and 128 more once they were screened."""

    points: Floats
    """(n, 2): x and y in px of `Prepared.rgb`."""
    descriptors: npt.NDArray[np.uint8]
    """(n, 128): root-SIFT, times DESCRIPTOR_SCALE."""
    _compact: list[Floats] = field(default_factory=list, repr=False)

    def __len__(self) -> int:
        return len(self.points)

    def compact(self) -> Floats:
        """(n, 32) see `compacted`; computed once."""
        if not self._compact:
            self._compact.append(compacted(self.unit_rows()))
        return self._compact[0]

    def unit_rows(self) -> Floats:
        """(n, 128) of unit L2 norm."""
        rows = self.descriptors.astype(np.float32)
        rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-6)
        return rows


def compacted(unit_rows: Floats) -> Floats:
    """(n, 128) descriptors -> (n, 32) of unit L2 norm: what varies slowly over the 4 x 4 cells.

    The four lowest frequencies of a cosine transform over the cells, of each direction. Neighbouring cells are alike,
    so that this keeps most of what tells descriptors apart, without anything that was fitted.
    """
    rows: Floats = unit_rows @ _SLOW
    rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-6)
    return rows


def _slow() -> Floats:
    """(128, 32)."""
    cells = np.arange(4)
    waves = np.stack([np.full(4, 0.5), np.cos(np.pi * (2 * cells + 1) / 8) / np.sqrt(2)])  # orthonormal
    over = np.einsum("ay,bx->abyx", waves, waves).reshape(4, 16)
    return np.kron(over, np.eye(8)).T.astype(np.float32)


_SLOW = _slow()


class Prepared:
    """A picture as the verifier holds it. Safe for threads; what it computes it keeps.

    rgb: (h, w, 3) uint8 of any size; kept with a longest side of at most PIXELS_PX.
    """

    __slots__ = ("_derived", "_keypoints", "_lock", "_plates", "grey", "rgb")

    def __init__(self, rgb: RGBArray) -> None:
        self.rgb: RGBArray = longest(rgb, PIXELS_PX)
        self.grey: npt.NDArray[np.uint8] = opencv().cvtColor(self.rgb, opencv().COLOR_RGB2GRAY)
        self._keypoints: Keypoints | None = None
        self._plates: dict[int, Floats] = {}
        self._derived: dict[str, Floats] = {}
        self._lock = threading.Lock()

    @property
    def width(self) -> int:
        return int(self.rgb.shape[1])

    @property
    def height(self) -> int:
        return int(self.rgb.shape[0])

    @property
    def keypoints(self) -> Keypoints:
        with self._lock:
            if self._keypoints is None:
                self._keypoints = _extract(self.grey)
            return self._keypoints

    @property
    def has_keypoints(self) -> bool:
        """True if they have been extracted already, and cost nothing any more."""
        return self._keypoints is not None

    def plate(self, side: int) -> Floats:
        """(side, side) luma of the whole picture without regard to its aspect, in levels of 255."""
        with self._lock:
            if side not in self._plates:
                cv2 = opencv()
                small = cv2.resize(self.grey, (side, side), interpolation=cv2.INTER_AREA)
                self._plates[side] = small.astype(np.float32)
            return self._plates[side]

    def derived(self, name: str, make: Callable[[], Floats]) -> Floats:
        """What somebody makes of this picture, made once for each name. make: may ask for plates, not for keypoints."""
        found = self._derived.get(name)
        if found is None:
            found = self._derived[name] = make()  # two threads may both make it; it is the same
        return found


def longest(rgb: RGBArray, side: int) -> RGBArray:
    """(h, w, 3) -> the same, or scaled down so that its longest side is `side` px; averages, so nothing aliases."""
    factor = side / max(rgb.shape[:2])
    if factor >= 1:
        return np.ascontiguousarray(rgb)
    cv2 = opencv()
    size = (max(1, round(rgb.shape[1] * factor)), max(1, round(rgb.shape[0] * factor)))
    scaled: RGBArray = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)
    return scaled


def mirrored(unit_rows: Floats) -> Floats:
    """(n, 128) descriptors -> those of the picture seen in a mirror, without a second extraction.

    A descriptor is a grid of 4 x 4 cells along its own orientation, each with 8 directions relative to it: in the
    mirror the rows of cells change sides and every direction changes its sign.
    """
    cells = unit_rows.reshape(-1, 4, 4, 8)[:, ::-1]
    return np.ascontiguousarray(cells[..., -np.arange(8) % 8]).reshape(-1, 128)


def _extract(grey: npt.NDArray[np.uint8]) -> Keypoints:
    cv2 = opencv()
    factor = min(1.0, KEYPOINTS_PX / max(grey.shape))
    if factor < 1:
        size = (max(1, round(grey.shape[1] * factor)), max(1, round(grey.shape[0] * factor)))
        small = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
    else:
        small = grey
    empty = Keypoints(np.empty((0, 2), np.float32), np.empty((0, 128), np.uint8))
    sift = cv2.SIFT_create(nfeatures=KEYPOINTS, contrastThreshold=CONTRAST, enable_precise_upscale=True)
    found, rows = sift.detectAndCompute(small, None)
    if rows is None or not len(found):
        return empty
    points = cv2.KeyPoint_convert(found)
    scale = np.array([grey.shape[1] / small.shape[1], grey.shape[0] / small.shape[0]], np.float32)
    points = (points + 0.5) * scale - 0.5  # centres of pixels stay centres of pixels
    rooted = np.sqrt(rows / np.maximum(rows.sum(axis=1, keepdims=True), 1e-6))
    bytes_ = np.clip(np.rint(rooted * DESCRIPTOR_SCALE), 0, 255).astype(np.uint8)
    return Keypoints(np.ascontiguousarray(points, np.float32), bytes_)
