"""Several edits in a row, as pictures meet them on their way round the web. Knows the other families."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from guard.evaluation.edits.base import Edit, Rng, applied
from guard.evaluation.edits.generation import colour_transfer, elastic, new_detail
from guard.evaluation.edits.geometric import aspect, crop, flip, perspective, rotate
from guard.evaluation.edits.overlays import blend, caption, frame, inset
from guard.evaluation.edits.photometric import blur, cast, gamma, jpeg, noise
from guard.pixels import RGBArray

__all__ = ["COMBINATIONS"]

STEPS: dict[str, Callable[..., RGBArray]] = {
    step.__name__: step
    for step in (aspect, blend, blur, caption, cast, colour_transfer, crop, elastic, flip, frame, gamma, inset, jpeg,
                 new_detail, noise, perspective, rotate)
}  # fmt: skip


def _in_turn(picture: RGBArray, rng: Rng, others: Sequence[RGBArray], **steps: dict[str, object]) -> RGBArray:
    """One step a parameter, in order."""
    for name, parameters in steps.items():
        picture = applied(STEPS[name], picture, rng, others, parameters)
    return picture


COMBINATIONS = (
    Edit(
        "repost",
        "combination",
        _in_turn,
        {"crop": {"area": 0.85}, "caption": {"lines": 1, "size": 0.08}, "jpeg": {"quality": 30}},
    ),
    Edit(
        "mirrored_frame",
        "combination",
        _in_turn,
        {"flip": {"axis": "horizontal"}, "gamma": {"exponent": 1.5}, "frame": {"width": 0.05}},
    ),
    Edit(
        "photographed_screen",
        "combination",
        _in_turn,
        {"perspective": {"shift": 0.1}, "blur": {"sigma": 0.004}, "cast": {"strength": 0.15}, "noise": {"levels": 10}},
    ),
    Edit(
        "regenerated_crop",
        "combination",
        _in_turn,
        {"crop": {"area": 0.7}, "elastic": {"shift": 0.01, "knots": 6}, "new_detail": {"sigma": 0.008}},
    ),
    Edit(
        "recoloured_page",
        "combination",
        _in_turn,
        {"colour_transfer": {"share": 0.6}, "aspect": {"ratio": 1.2}, "inset": {"scale": 0.75}},
    ),
    Edit(
        "strong",
        "combination",
        _in_turn,
        {
            "crop": {"area": 0.6},
            "rotate": {"degrees": 10.0, "corners": "black"},
            "cast": {"strength": 0.25},
            "blend": {"other": 0.2},
            "caption": {"lines": 1, "size": 0.12},
            "noise": {"levels": 12},
            "jpeg": {"quality": 20},
        },
    ),
)
