"""One picture, prepared for comparison: small pixels and keypoints, each when it is first asked for.

Knows no second picture, and no form to store them in.
Keypoints are SIFT (Lowe 2004) with root-SIFT descriptors (Arandjelović and Zisserman 2012).
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from guard.errors import InputError
from guard.pixels import RGBArray
from guard.verification.opencv import opencv

__all__ = [
    "KEYPOINTS",
    "KEYPOINTS_PX",
    "PIXELS_PX",
    "PLACE_STEPS",
    "Floats",
    "Keypoints",
    "Prepared",
    "compacted",
    "longest",
    "mirrored",
    "quantised",
]

Floats = npt.NDArray[np.float32]

PIXELS_PX = 320  # longest side that is kept: a picture pasted at 0.4 of a page keeps 128 px
KEYPOINTS_PX = 192  # longest side that SIFT sees; it doubles it itself, and its time grows with the area
KEYPOINTS = 500  # the strongest ones
CONTRAST = 0.02  # SIFT's own default of 0.04 leaves smooth pictures with few keypoints
DESCRIPTOR_STEPS = 30.0  # of 1: root-SIFT values are 0.5 at most but for the plainest patches, so half a byte holds one
COMPACT_STEPS = 127.0
PLACE_STEPS = 128.0  # of a px


@dataclass(frozen=True, slots=True, eq=False)
class Keypoints:
    """The keypoints of one picture, 72 bytes each, and 160 more once they were screened.

    All in steps that a file keeps (guard.verification.stored), so that it makes no difference whether they come from
    one or were extracted.
    """

    points: Floats
    """(n, 2): x and y in px of `Prepared.rgb`, in steps of 1 / PLACE_STEPS."""
    descriptors: npt.NDArray[np.uint8]
    """(n, 64): root-SIFT as `quantised` packs it."""
    stored_compact: npt.NDArray[np.int8] | None = None
    """(n, 32): what compact_steps gives, where it is known already."""
    _compact: list[Floats] = field(default_factory=list, repr=False)

    def __len__(self) -> int:
        return len(self.points)

    def compact(self) -> Floats:
        """(n, 32) of unit L2 norm, see `compacted`; computed once."""
        if not self._compact:
            self._compact.append(_unit_rows(self.compact_steps().astype(np.float32)))
        return self._compact[0]

    def compact_steps(self) -> npt.NDArray[np.int8]:
        """(n, 32): `compacted` in steps of 1 / COMPACT_STEPS."""
        if self.stored_compact is not None:
            return self.stored_compact
        steps: npt.NDArray[np.int8] = np.rint(compacted(self.unit_rows()) * COMPACT_STEPS).astype(np.int8)
        return steps

    def unit_rows(self) -> Floats:
        """(n, 128) of unit L2 norm."""
        rows = np.empty((len(self.descriptors), 128), np.float32)
        rows[:, ::2], rows[:, 1::2] = self.descriptors & 15, self.descriptors >> 4
        return _unit_rows(rows)


def quantised(unit_rows: Floats) -> npt.NDArray[np.uint8]:
    """(n, 128) root-SIFT descriptors, values >= 0 -> (n, 64): in DESCRIPTOR_STEPS, two a byte, at most 0.5."""
    steps = np.minimum(np.rint(unit_rows * DESCRIPTOR_STEPS), 15).astype(np.uint8)
    packed: npt.NDArray[np.uint8] = steps[:, ::2] | steps[:, 1::2] << 4
    return packed


def compacted(unit_rows: Floats) -> Floats:
    """(n, 128) descriptors -> (n, 32) of unit L2 norm: what varies slowly over the 4 x 4 cells.

    The four lowest frequencies of a cosine transform over the cells, of each direction. Neighbouring cells are alike,
    so that this keeps most of what tells descriptors apart, without anything that was fitted.
    """
    return _unit_rows(unit_rows @ _SLOW)


def _unit_rows(rows: Floats) -> Floats:
    """Changes and returns them."""
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

    __slots__ = ("_derived", "_grey", "_keypoints", "_load", "_lock", "_plates", "_rgb", "height", "width")

    def __init__(self, rgb: RGBArray) -> None:
        self._rgb: RGBArray | None = longest(rgb, PIXELS_PX)
        self._load: Callable[[], RGBArray] | None = None
        self._grey: npt.NDArray[np.uint8] | None = None
        self._keypoints: Keypoints | None = None
        self._plates: dict[int, npt.NDArray[np.uint8]] = {}
        self._derived: dict[str, Floats] = {}
        self._lock = threading.RLock()
        self.width, self.height = int(self._rgb.shape[1]), int(self._rgb.shape[0])

    @classmethod
    def restored(
        cls,
        size: tuple[int, int],
        keypoints: Keypoints,
        plates: dict[int, npt.NDArray[np.uint8]],
        load: Callable[[], RGBArray],
    ) -> Prepared:
        """One that was prepared before: its width and height, what it had computed, and where its pixels are.

        load: called when pixels are first asked for; may raise. It gives a picture of which `rgb` is of this size.
        """
        made = cls.__new__(cls)
        made._rgb, made._load, made._grey = None, load, None
        made._keypoints, made._plates, made._derived = keypoints, plates, {}
        made._lock = threading.RLock()
        made.width, made.height = size
        return made

    @property
    def rgb(self) -> RGBArray:
        """(height, width, 3). Raises what `load` raises, or InputError if that is a picture of another size."""
        with self._lock:
            if self._rgb is None:
                assert self._load is not None
                rgb = longest(self._load(), PIXELS_PX)
                if rgb.shape[:2] != (self.height, self.width):
                    raise InputError(
                        f"it has {rgb.shape[1]} x {rgb.shape[0]} px, and keypoints of {self.width} x {self.height} px"
                    )
                self._rgb, self._load = rgb, None
            return self._rgb

    @property
    def grey(self) -> npt.NDArray[np.uint8]:
        """(height, width) luma."""
        with self._lock:
            if self._grey is None:
                cv2 = opencv()
                self._grey = cv2.cvtColor(self.rgb, cv2.COLOR_RGB2GRAY)
            return self._grey

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
        return self.plate_levels(side).astype(np.float32)

    def plate_levels(self, side: int) -> npt.NDArray[np.uint8]:
        """The same as it is stored."""
        with self._lock:
            if side not in self._plates:
                cv2 = opencv()
                self._plates[side] = cv2.resize(self.grey, (side, side), interpolation=cv2.INTER_AREA)
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
    sift = cv2.SIFT_create(nfeatures=KEYPOINTS, contrastThreshold=CONTRAST, enable_precise_upscale=True)
    found, rows = sift.detectAndCompute(small, None)
    if rows is None or not len(found):
        return Keypoints(np.empty((0, 2), np.float32), np.empty((0, 64), np.uint8))
    points = cv2.KeyPoint_convert(found)
    scale = np.array([grey.shape[1] / small.shape[1], grey.shape[0] / small.shape[0]], np.float32)
    points = np.maximum((points + 0.5) * scale - 0.5, 0)  # centres of pixels stay centres of pixels
    points = np.rint(points * PLACE_STEPS) / PLACE_STEPS
    rooted = np.sqrt(rows / np.maximum(rows.sum(axis=1, keepdims=True), 1e-6))
    return Keypoints(np.ascontiguousarray(points, np.float32), quantised(rooted))
