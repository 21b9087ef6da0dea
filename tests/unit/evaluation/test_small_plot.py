"""The picture of an evaluation of small sets: every row and bar is there, as long as its figure."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import ImageColor

from guard.evaluation.small_plot import COLOURS, PANEL, draw


def figures(value: float) -> dict[str, Any]:
    return {"flagged": {"value": value, "low": value, "high": value}}


def test_bars_are_as_long_as_their_shares() -> None:
    ways = {
        "small": {"copies": figures(0.75), "copies: overlay": figures(0.5), "strangers": figures(0.25)},
        "usual": {"copies": figures(1.0), "copies: overlay": figures(0.0), "strangers: as_it_is": figures(0.5)},
    }
    pixels = np.asarray(draw({"pictures": 8, "sources": 6, "ways": ways}))
    longest = []
    for colour in COLOURS[:2]:
        of_colour = (pixels == np.array(ImageColor.getrgb(colour), np.uint8)).all(axis=2)
        lengths = of_colour[60:].sum(axis=1) / PANEL  # below the legend
        longest.append(sorted({5 * round(20 * length) for length in lengths if length > 0.1}))
    assert longest == [[50, 100], [50, 100]]  # a row of both panels together; 75 and 25 of the first guard


def test_another_set_of_guards_is_drawn_as_well() -> None:
    ways = {"small": {"copies": figures(1.0)}}
    assert (
        draw({"pictures": 1, "sources": 1, "ways": ways}).height
        < draw(
            {
                "pictures": 1,
                "sources": 1,
                "ways": {**ways, "usual": {"copies": figures(1.0), "strangers": figures(0.0)}},
            }
        ).height
    )
