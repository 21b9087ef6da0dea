"""One view of each picture of a batch: which edits, in which order. Knows the edits of this package; no network."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from guard.training.device.dice import BatchDice
from guard.training.device.frames import Frames, mild_frames, placed, places, sampled, strong_frames
from guard.training.device.looks import blended, compressed, grained, overlaid, redrawn, softened, toned

__all__ = ["strong_views", "weak_views"]

GENTLE = 0.7
"""A picture that takes less of the view's side is cropped less: it would hardly be seen."""


def weak_views(pictures: Tensor, size: int, generator: torch.Generator) -> Tensor:
    """As references are: (n, 3, s, s) in [0, 1] -> (n, 3, size, size), whole or nearly."""
    dice = BatchDice(generator, len(pictures))
    whole = torch.eye(3, device=pictures.device).expand(len(pictures), 3, 3)
    mild = mild_frames(dice)
    frames = Frames(torch.where(dice.chance(0.6)[:, None, None], whole, mild.matrix), mild.bend)
    slight = 0.35 * dice.chance(0.4).float()
    x = toned(sampled(pictures, frames, size, dice), slight, dice)
    return compressed(x, slight, dice)


def strong_views(
    pictures: Tensor, others: Tensor, size: int, strength: Tensor, windows: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """As copies may look, (n, 3, size, size), and windows (n, 3) over which the network is to average.

    pictures, others: (n, 3, s, s) in [0, 1], row for row different; strength (n,) in [0, 1]; windows: the share of
    insets and collages that are seen through one.
    """
    dice = BatchDice(generator, len(pictures))
    where = places(dice, strength, insets=0.22, collages=0.07, windows=windows)
    gentle = torch.minimum(where.width, where.height) < GENTLE
    strong = strong_frames(dice, torch.where(gentle, 0.5 * strength, strength), smallest=torch.where(gentle, 0.6, 0.25))
    whole = torch.eye(3, device=pictures.device).expand_as(strong.matrix)
    as_it_is = dice.chance(torch.where(gentle, 0.6, 0.15))[:, None, None]
    frames = Frames(torch.where(as_it_is, whole, strong.matrix), strong.bend)
    x = sampled(pictures, placed(frames, where), size, dice)
    beside = functional.interpolate(others, size=(size, size), mode="bilinear", antialias=True)
    x = toned(x, dice.uniform(0.2, 0.3 + strength), dice)
    x = softened(redrawn(x, strength, dice), torch.where(gentle, 0.4 * strength, strength), dice)
    x = blended(x, beside.roll(1, 0), strength, dice)
    line = (2 * torch.arange(size, device=x.device) + 1) / size - 1
    across = (line - where.x[:, None]).abs() < where.width[:, None]
    down = (line - where.y[:, None]).abs() < where.height[:, None]
    own = (across[:, None, :] & down[:, :, None]) | ~where.inside[:, None, None]
    plain = (dice.chance(0.2)[:, None] * dice.draws(len(x), 3).round())[:, :, None, None]
    ground = torch.where(dice.chance(0.2)[:, None, None, None], plain, beside)
    x = torch.where(own[:, None], x, ground)
    x = overlaid(x, beside.roll(2, 0), strength, dice)
    return compressed(grained(x, strength, dice), strength, dice), where.window
