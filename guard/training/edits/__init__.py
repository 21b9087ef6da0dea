"""One training view of a picture: which edits, in which order, how strong. Knows the edits; not the evaluation's.

The evaluation has a module of its own, and shares no function with this package (tests/unit/training/test_edits.py).
"""

from __future__ import annotations

import cv2
import numpy as np

from guard.embedders.views import Box
from guard.training.edits.geometric import Frame, bend, mild_frame, random_frame, reframe
from guard.training.edits.overlays import Place, blend, collage, decorate, inset, inset_size
from guard.training.edits.photometric import Picture, add_noise, compress, recolour, soften
from guard.training.edits.regeneration import regenerate
from guard.training.generators.base import Dice

__all__ = ["WHOLE_VIEW", "Picture", "strong_view", "weak_view"]

WHOLE_VIEW: Box = (0.0, 0.0, 1.0)
SMALLEST_INSET = 0.28
WINDOW_INSET, WHOLE_INSET = 0.45, 0.55
"""The smallest insets beside windows: seen through one, and seen whole. A smaller one teaches that a corner will do."""
WINDOW_SIDES, WINDOW_CHANCE = (0.6, 0.9), 0.1
"""Of a window on a view that the picture fills, as a share of the view, and of windows elsewhere."""

WHOLE = Frame(np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float64))


def weak_view(dice: Dice, picture: Picture, size: int) -> Picture:
    """As a reference is: whole, or nearly; recompressed, perhaps toned. (size, size, 3)."""
    if dice.chance(0.6):  # averaged, as preprocessing does
        view = np.asarray(cv2.resize(picture, (size, size), interpolation=cv2.INTER_AREA), np.uint8)
    else:
        view = reframe(picture, mild_frame(dice), size, size)
    if dice.chance(0.3):
        view = recolour(dice, view, 0.35)
    return compress(dice, view, 0.5) if dice.chance(0.3) else view


def strong_view(
    dice: Dice, picture: Picture, others: list[Picture], size: int, strength: float, *, windows: float = 0.0
) -> tuple[Picture, Box]:
    """As a copy may look, (size, size, 3), and the window over which the network is to average it.

    others: at least one other picture, for blends, insets and collages. strength in [0, 1] sets how far each edit
    goes and how many come together; at 1 a view may be a quarter of the picture, or the picture a third of a view.
    windows: the share of insets and collages that are seen through a window that fits them about. Elsewhere it is the
    whole view, but for a few; 0: everywhere.
    """
    windowed = windows > 0 and dice.chance(windows)
    smallest = (WINDOW_INSET if windowed else WHOLE_INSET) if windows > 0 else SMALLEST_INSET
    part = dice.uniform(0, 1)  # a view is a piece of the picture, or the picture a piece of the view; seldom both
    share = 0.22 * (0.4 + 0.6 * strength)
    width, height = inset_size(dice, size, strength, smallest) if part < share else (size, size)
    tiled = share <= part < share + 0.07 * strength
    gentle = tiled or min(width, height) < 0.7 * size
    source = bend(dice, picture, strength) if dice.chance(0.12) else picture
    if gentle:
        frame = mild_frame(dice) if dice.chance(0.4) else WHOLE
        frame = random_frame(dice, 0.5 * strength, smallest=0.6) if dice.chance(0.25) else frame
    else:
        frame = random_frame(dice, strength) if dice.chance(0.85) else WHOLE
    view = reframe(source, frame, width, height)
    if dice.chance(0.75):
        view = recolour(dice, view, dice.uniform(0.2, 0.3 + strength))
    if dice.chance(0.22):
        view = regenerate(dice, view, strength * (0.5 if gentle else 1))
    if dice.chance(0.3):
        view = soften(dice, view, strength * (0.4 if gentle else 1))
    if dice.chance(0.12) and not gentle:
        view = blend(dice, view, others[0], strength)
    window = WHOLE_VIEW
    if part < share or tiled:
        view, place = inset(dice, view, others[0], size) if part < share else collage(dice, view, others, size)
        window = _about(dice, place, size) if windowed else window
    elif windowed and dice.chance(WINDOW_CHANCE):
        side = dice.uniform(*WINDOW_SIDES)
        window = (dice.uniform(0, 1 - side), dice.uniform(0, 1 - side), side)
    if dice.chance(0.35):
        view = decorate(dice, view, strength)
    if dice.chance(0.18):
        view = add_noise(dice, view, strength)
    return (compress(dice, view, strength) if dice.chance(0.4) else view), window


def _about(dice: Dice, place: Place, size: int) -> Box:
    """A window that fits the place as well as one of a grid would: some larger, some aside."""
    left, top, width, height = (value / size for value in place)
    side = min(1.0, (width * height) ** 0.5 * dice.uniform(0.95, 1.35))
    x, y = (
        middle + 0.07 * side * move - side / 2
        for middle, move in zip((left + width / 2, top + height / 2), dice.normals(2).tolist(), strict=True)
    )
    return min(max(y, 0.0), 1 - side), min(max(x, 0.0), 1 - side), side
