"""A picture whose channels are equalised: what undoes any edit that keeps the order of levels. Knows pixels only.

Gamma, contrast, casts, and levels lent by another picture change how bright things are, and leave what is brighter than
what. In the equalised copy each level stands for the share of the picture that is darker (the middle of it, so that an
inverted picture becomes the inverted copy), and such edits are gone but for what rounding lost.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from guard.pixels import ImageBatch, RGBArray

__all__ = ["equalised"]

SIDE = 512
"""px: a picture from twice as long a side on is averaged down to no less than this; descriptors need no more."""


def equalised(batch: ImageBatch) -> ImageBatch:
    """The pictures of a batch with equalised channels, each for itself; a tensor stays where it is. A channel of one
    level becomes middle grey."""
    if batch.arrays is not None:
        return ImageBatch(arrays=tuple(_array(array) for array in batch.arrays))
    return ImageBatch(tensor=_tensor(batch.tensor))


def _array(array: RGBArray) -> RGBArray:
    small, factor = array, _factor(array.shape[0], array.shape[1])
    if factor > 1:
        from PIL import Image

        small = np.asarray(Image.fromarray(array).reduce(factor))
    out = np.empty(small.shape, np.uint8)
    for channel in range(3):
        counts = np.bincount(small[..., channel].ravel(), minlength=256)
        shares = (counts.cumsum() - counts / 2) / counts.sum()
        out[..., channel] = (shares * 255 + 0.5).astype(np.uint8)[small[..., channel]]
    return out


def _tensor(tensor: Any) -> Any:
    import torch
    from torch.nn.functional import avg_pool2d

    small = tensor.detach().float()
    factor = _factor(*small.shape[2:])
    if factor > 1:
        small = avg_pool2d(small, factor, ceil_mode=True)
    levels = (small.clamp(0, 1) * 255).round().long().flatten(2).flatten(0, 1)
    rows = torch.arange(len(levels), device=small.device)[:, None]
    # not scatter_add_, which a GPU refuses where torch is asked to be deterministic
    counts = torch.bincount((256 * rows + levels).flatten(), minlength=256 * len(levels)).reshape(len(levels), 256)
    shares = (counts.cumsum(1) - counts / 2) / counts.sum(1, keepdim=True)
    table = (shares * 255 + 0.5).floor() / 255
    return table.gather(1, levels).reshape(small.shape).to(tensor.dtype)


def _factor(height: int, width: int) -> int:
    return max(1, max(height, width) // SIDE)
