"""A small JPEG of a logged image. Knows pixels and a bound on bytes."""

from __future__ import annotations

import io
from typing import Any

from guard.pixels import to_batch

__all__ = ["MAX_BYTES", "thumbnail_of"]

MAX_BYTES = 128 * 1024


def thumbnail_of(image: Any, side: int) -> bytes | None:
    """One image, in a form that `guard.pixels.to_batch` takes -> a JPEG whose longer side is at most `side` px.

    None if even the lowest quality is larger than MAX_BYTES. Raises InputError for what is no image.
    """
    from PIL import Image

    picture = Image.fromarray(to_batch([image]).as_arrays()[0])
    picture.thumbnail((side, side), Image.Resampling.BICUBIC, reducing_gap=1.0)
    for quality in (80, 50, 20):
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=quality)
        if buffer.tell() <= MAX_BYTES:
            return buffer.getvalue()
    return None
