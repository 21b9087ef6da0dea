"""Which prompt is asked next, and for how many pictures, while time is short: successive halving. Knows no pictures.

Jamieson and Talwalkar 2016 (arXiv:1502.07943): every prompt gets a few generations, the more promising half of them
twice as many, and so on; each round gets an equal part of the time that is left. A prompt whose clique is large enough
is decided and costs nothing more.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from guard.audit.density import Density
from guard.audit.prompts import Prompt

__all__ = ["FIRST", "Look", "budgeted", "targets"]

FIRST = 8  # generations of a first look


@dataclass(frozen=True, slots=True)
class Look:
    """What is known of one prompt after some generations."""

    prompt: Prompt
    density: Density

    @property
    def decided(self) -> bool:
        return self.density.likely

    @property
    def order(self) -> tuple[int, float]:
        """Sorts the most promising first: by the largest clique, then by the closest pair."""
        closest = self.density.closest
        return -self.density.largest, math.inf if closest is None else closest


class Looking(Protocol):
    def __call__(self, prompts: Sequence[Prompt], generations: int, until: float, /) -> Iterator[Look]:
        """Bring each prompt to so many generations, in order, and look at it; stops at the time `until`.

        One that the time did not suffice for may come with fewer generations, or not at all.
        """
        ...


def targets(generations: int, first: int = FIRST) -> list[int]:
    """Generations after each round: doubled from `first` up to `generations`."""
    rounds = max(0, math.ceil(math.log2(generations / first))) if generations > first else 0
    return [min(generations, first << r) for r in range(rounds + 1)]


def budgeted(
    prompts: Sequence[Prompt],
    generations: int,
    look: Looking,
    *,
    deadline: float,
    clock: Callable[[], float],
    first: int = FIRST,
) -> dict[str, Look]:
    """Spend the time until the deadline where something is likeliest to be found.

    prompts: the likeliest first, as far as is known before anything was generated. generations: of one prompt at most.
    Returns the last look at each prompt that was looked at, by its key.
    """
    looks: dict[str, Look] = {}
    while clock() < deadline:
        made = _made(looks)
        _bracket(prompts, generations, looks, look, deadline, clock, first)
        if _made(looks) == made:
            # A part of the time was too short for a single call, or nothing is left to do.
            for prompt in _undecided(prompts, looks, generations):
                before = looks.get(prompt.key)
                target = first if before is None else 2 * before.density.generations
                looks |= {s.prompt.key: s for s in look([prompt], min(target, generations), deadline)}
        if _made(looks) == made:
            break
    return looks


def _bracket(
    prompts: Sequence[Prompt],
    generations: int,
    looks: dict[str, Look],
    look: Looking,
    deadline: float,
    clock: Callable[[], float],
    first: int,
) -> None:
    """From a first look at all that are undecided to all generations of the last few; adds to looks."""
    contenders, rounds = _undecided(prompts, looks, generations), targets(generations, first)
    for number, target in enumerate(rounds):
        until = clock() + (deadline - clock()) / (len(rounds) - number)
        seen = {found.prompt.key: found for found in look(contenders, target, until)}
        looks |= seen
        left = sorted((found for found in seen.values() if not found.decided), key=lambda found: found.order)
        contenders = [found.prompt for found in left[: math.ceil(len(left) / 2)]]
        if not contenders or clock() >= deadline:
            return


def _made(looks: dict[str, Look]) -> int:
    return sum(seen.density.generations for seen in looks.values())


def _undecided(prompts: Sequence[Prompt], looks: dict[str, Look], generations: int) -> list[Prompt]:
    """Those never looked at first, in their order, then the others by promise."""
    fresh = [prompt for prompt in prompts if prompt.key not in looks]
    begun = [s for s in looks.values() if not s.decided and s.density.generations < generations]
    return fresh + [seen.prompt for seen in sorted(begun, key=lambda seen: seen.order)]
