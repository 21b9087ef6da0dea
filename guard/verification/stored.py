"""What was prepared of a reference, as bytes beside its thumbnail. Knows their order; no index and no second picture.

All that a glance at a candidate needs (guard.verification.screening) and its keypoints, so that only those that are
compared in full are decoded. What is restored gives the same evidence as what is prepared anew from the thumbnail.
Numbers are little-endian:

    format 4 bytes | width, height, n: 2 each | plate 48 x 48 | compact n x 32 | places n x 2 x 2 | descriptors n x 64
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable

import numpy as np

from guard.decode import decode
from guard.errors import InputError
from guard.pixels import RGBArray
from guard.verification.dense import WHOLE_PX
from guard.verification.features import KEYPOINTS, KEYPOINTS_PX, PIXELS_PX, PLACE_STEPS, Keypoints, Prepared

__all__ = ["METHOD", "pack", "pack_thumbnail", "restore"]

METHOD = f"sift {KEYPOINTS} at {KEYPOINTS_PX} px of {PIXELS_PX}, plate {WHOLE_PX}, 1"
"""How it was prepared; the last number grows with every other change of what is prepared, or of the order above."""
_FORMAT = hashlib.sha256(METHOD.encode()).digest()[:4]
_HEAD = struct.Struct("<4s3H")
_PLATE = WHOLE_PX * WHOLE_PX
_EACH = 32 + 4 + 64


def pack(prepared: Prepared) -> bytes:
    """Extracts what was not extracted yet: some 10 ms, and 100 bytes a keypoint."""
    keypoints = prepared.keypoints
    places = np.rint(keypoints.points * PLACE_STEPS).astype("<u2")
    return b"".join(
        (
            _HEAD.pack(_FORMAT, prepared.width, prepared.height, len(keypoints)),
            prepared.plate_levels(WHOLE_PX).tobytes(),
            keypoints.compact_steps().tobytes(),
            places.tobytes(),
            keypoints.descriptors.tobytes(),
        )
    )


def pack_thumbnail(encoded: bytes) -> bytes:
    """The same of an encoded picture, as it will be decoded again. Raises InputError for one that cannot be."""
    return pack(Prepared(decode(encoded, where="a thumbnail").rgb))


def restore(data: bytes, load: Callable[[], RGBArray]) -> Prepared:
    """load: the picture that it was made of, asked for when its pixels are; what it raises comes then.

    Raises InputError for bytes that `pack` did not make, or made in another way than METHOD.
    """
    if len(data) < _HEAD.size or data[:4] != _FORMAT:
        raise InputError(f"these keypoints were not made by {METHOD!r}: build the index anew with --keypoints")
    _, width, height, n = _HEAD.unpack_from(data)
    if len(data) != _HEAD.size + _PLATE + n * _EACH or not min(width, height):
        raise InputError("these keypoints are damaged: build the index anew with --keypoints")
    at = _HEAD.size
    plate = np.frombuffer(data, np.uint8, _PLATE, at).reshape(WHOLE_PX, WHOLE_PX)
    at += _PLATE
    compact = np.frombuffer(data, np.int8, n * 32, at).reshape(n, 32)
    at += n * 32
    points = np.frombuffer(data, "<u2", n * 2, at).reshape(n, 2) / np.float32(PLACE_STEPS)
    at += n * 4
    descriptors = np.frombuffer(data, np.uint8, n * 64, at).reshape(n, 64)
    keypoints = Keypoints(points.astype(np.float32), descriptors, compact)
    return Prepared.restored((width, height), keypoints, {WHOLE_PX: plate}, load)
