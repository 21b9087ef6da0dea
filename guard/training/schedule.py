"""What changes over a run: learning rate, input size, strength of the edits. Knows progress in [0, 1]; no clock."""

from __future__ import annotations

import math
from dataclasses import dataclass

from guard.training.config import TrainingConfig

__all__ = ["Moment", "moment"]


@dataclass(frozen=True, slots=True)
class Moment:
    learning_rate: float
    size: int
    """px"""
    strength: float
    """Of the edits, in [0, 1]."""


def moment(config: TrainingConfig, progress: float, step: int, *, continued: bool = False) -> Moment:
    """At this share of the budget (0 at the start, 1 at the end) and this step.

    Cosine from the learning rate to its final share, with a linear warm-up counted in steps (Loshchilov & Hutter
    2016). continued: the run began from trained weights, and the edits are at full strength from the start.
    """
    progress = min(max(progress, 0.0), 1.0)
    warm = min(1.0, (step + 1) / max(config.warm_up_steps, 1))
    cosine = 0.5 * (1 + math.cos(math.pi * progress))
    rate = config.learning_rate * warm * (config.final_rate + (1 - config.final_rate) * cosine)
    size = next((phase.size for phase in config.phases if progress < phase.until), config.phases[-1].size)
    ramp = 1.0 if continued or not config.strength_full_at else min(1.0, progress / config.strength_full_at)
    return Moment(rate, size, config.strength_from + (config.strength_to - config.strength_from) * ramp)
