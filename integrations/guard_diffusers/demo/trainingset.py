"""The demo's training set: planted real pictures, one template, and procedural pictures.

Knows which picture stands in the set how often; not how it is trained on or searched.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from guard_diffusers.demo.pictures import PLANTED, load_planted
from guard_diffusers.demo.procedural import card, draw

__all__ = ["MIN_RMS", "PROCEDURAL", "VARIANTS", "Item", "copies_of", "item_name", "rms", "training_set"]

PROCEDURAL = 2048
VARIANTS = 12  # of the one template
MIN_RMS = 0.2  # of a planted picture from every other training image, pixels in [0, 1]

_drawn: list[Item] = []  # the set, once it was drawn


@dataclass(frozen=True, slots=True, eq=False)
class Item:
    name: str
    """"planted/astronaut", "card/03" or "procedural/0123": also its file name in the index."""
    caption: str
    picture: npt.NDArray[np.uint8]
    """(SIZE, SIZE, 3) RGB."""
    copies: int


def rms(a: npt.NDArray[np.uint8], b: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """RMS distance of pictures (..., h, w, 3) with values taken to [0, 1] (Carlini et al. 2023, section 4.1)."""
    difference = a.astype(np.float32) - b.astype(np.float32)
    return np.asarray(np.sqrt(np.square(difference, out=difference).mean(axis=(-3, -2, -1), dtype=np.float64)) / 255)


def copies_of(uris: Iterable[str]) -> dict[str, int]:
    """Item name -> how many of its copies a list of files holds; see guard_diffusers.demo.run.write_training_set."""
    return dict(Counter(item_name(uri) for uri in uris))


def item_name(uri: str) -> str:
    """Of a file of the training set: planted/coffee.0017.png -> planted/coffee."""
    return uri.split(".", 1)[0]


def training_set(progress: Callable[[int, int], None] | None = None) -> tuple[Item, ...]:
    """Draw the whole set, each distinct picture once, with the number of copies that are trained on.

    progress: called with (drawn, total) now and then. Drawn once a process (some seconds).

    Procedural pictures that come within MIN_RMS of a planted one are left out and the
    next seed takes their place, so that "close to a planted picture" can only mean a copy.
    """
    if _drawn:
        return tuple(_drawn)
    items = [Item(f"planted/{p.name}", p.caption, load_planted(p), p.copies) for p in PLANTED]
    planted = np.stack([item.picture for item in items])
    for variant in range(VARIANTS):
        drawing = card(variant)
        items.append(Item(f"card/{variant:02d}", drawing.caption, drawing.picture, 1))
    seed = 0
    total = len(PLANTED) + VARIANTS + PROCEDURAL
    while len(items) < total:
        drawing = draw(seed)
        if rms(planted, drawing.picture).min() > MIN_RMS:
            items.append(Item(f"procedural/{seed:04d}", drawing.caption, drawing.picture, 1))
        seed += 1
        if progress is not None and seed % 32 == 0:
            progress(len(items), total)
    _drawn[:] = items
    return tuple(items)
