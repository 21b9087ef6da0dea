"""A few photographs that scikit-image ships, at the size a test needs."""

from __future__ import annotations

from functools import cache

import numpy as np
from PIL import Image
from skimage import data

from guard.pixels import RGBArray

__all__ = ["photograph"]


@cache
def photograph(name: str, side: int = 256) -> RGBArray:
    """(h, w, 3) uint8, its longer side at most `side`; not to be written to. name: of a function of skimage.data."""
    picture = getattr(data, name)()
    image = Image.fromarray(picture).convert("RGB")
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    array = np.array(image)
    array.setflags(write=False)
    return array
