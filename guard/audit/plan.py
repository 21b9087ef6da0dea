"""What an audit does, as settings, and what it tells on the way. Knows numbers; no model and no training set."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from guard.audit.confirm import Rule
from guard.audit.density import LEAST_CLIQUE, THRESHOLD
from guard.audit.generate import BATCH
from guard.audit.schedule import FIRST
from guard.errors import ConfigError

__all__ = ["GENERATIONS", "Plan", "Progress", "Told"]

GENERATIONS = 500  # of one prompt; Carlini et al. 2023, section 4.2


@dataclass(frozen=True, slots=True)
class Told:
    """How far an audit is."""

    stage: Literal["generating", "confirming", "judging"]
    done: int
    """Generations that are there, likely prompts whose training picture was looked up, or pictures of the demo that
    were judged for the truth."""
    total: int | None
    """None under a budget."""
    likely: int
    """Prompts so far."""


Progress = Callable[[Told], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do; the defaults are the paper's."""

    generations: int = GENERATIONS
    """Of one prompt at most."""
    threshold: float = THRESHOLD
    least_clique: int = LEAST_CLIQUE
    rule: Rule = field(default_factory=Rule)
    seed: int = 0
    batch: int = BATCH
    budget_s: float | None = None
    """Of this run, everything included; None: all generations of all prompts."""
    first: int = FIRST
    """Generations of a first look under a budget."""
    each: bool = False
    """Confirm every generation and not only cliques: what a model without prompts needs."""
    collections: tuple[str, ...] = ()
    """Of the training set; see guard.membership.trained_on."""
    buried: bool = False
    """With what a tombstone hides in the version; see guard.audit.members.audited."""

    def __post_init__(self) -> None:
        if self.generations < 1 or self.least_clique < 2 or self.batch < 1 or self.first < 1:
            raise ConfigError("generations, batch and first look must be at least 1, and a clique at least 2")
        if not 0 < self.threshold <= 1 or not 0 < self.rule.delta <= 1 or self.rule.alpha <= 0:
            raise ConfigError("threshold and delta are distances in (0, 1], and alpha is positive")
        if self.budget_s is not None and self.budget_s <= 0:
            raise ConfigError("a budget must be longer than nothing")
