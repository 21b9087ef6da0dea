"""What a family of procedural pictures promises, and the dice it draws with. Knows seeds; no shapes and no colours.

A picture has three sources of chance: the *program* (which parameters and which palette), the *layout* (what lies
where) and the *content* (which textures and colours fill it). Another layout gives a sibling, another content a
template variant; nudged dice repeat every discrete choice and move every continuous one a little, which gives a
near-identical sibling of any family, with no code of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
import numpy.typing as npt

__all__ = ["Canvas", "Dice", "Draw", "Family", "Floats", "Sources", "as_canvas"]

Canvas = npt.NDArray[np.float32]
"""(size, size, 3) in [0, 1]; (size, size) where a function says that it is one plane."""
Floats = npt.NDArray[np.float64]
T = TypeVar("T")


def as_canvas(values: npt.ArrayLike) -> Canvas:
    """float32; not clipped."""
    return np.asarray(values, np.float32)


class Dice:
    """Seeded draws. nudge = 0 repeats them; above, it moves the continuous ones by about that share of a range."""

    def __init__(self, *seed: int, nudge: float = 0.0, nudge_seed: int = 0) -> None:
        self._rng = np.random.default_rng(seed)
        self._nudge = nudge
        self._jitter = np.random.default_rng((*seed, nudge_seed, 0x7A)) if nudge else None

    def uniform(self, low: float, high: float) -> float:
        if self._jitter is None:  # most draws of the edits: numpy's shaped draws take three times as long
            return float(self._rng.uniform(low, high))
        return float(self.uniforms(low, high, 1)[0])

    def uniforms(self, low: float, high: float, *shape: int) -> Floats:
        drawn = self._rng.uniform(low, high, shape)
        if self._jitter is None:
            return drawn
        moved = drawn + self._nudge * (high - low) * 0.35 * self._jitter.standard_normal(shape)
        return np.clip(moved, low, high)

    def normals(self, *shape: int) -> Floats:
        drawn = self._rng.standard_normal(shape)
        if self._jitter is None:
            return drawn
        keep = float(np.sqrt(1 - self._nudge**2))
        return keep * drawn + self._nudge * self._jitter.standard_normal(shape)

    def normal(self) -> float:
        return float(self.normals(1)[0])

    def integer(self, low: int, high: int) -> int:
        """From [low, high); not nudged."""
        return int(self._rng.integers(low, high))

    def integers(self, low: int, high: int, *shape: int) -> npt.NDArray[np.int64]:
        return self._rng.integers(low, high, shape)

    def chance(self, probability: float) -> bool:
        """Not nudged."""
        return bool(self._rng.random() < probability)

    def pick(self, options: Sequence[T], weights: Sequence[float] | None = None) -> T:
        """Not nudged."""
        if weights is None:
            return options[self.integer(0, len(options))]
        place = float(self._rng.random()) * sum(weights)
        for option, weight in zip(options, weights, strict=True):
            place -= weight
            if place < 0:
                return option
        return options[-1]

    def log_uniform(self, low: float, high: float) -> float:
        return float(np.exp(self.uniform(float(np.log(low)), float(np.log(high)))))

    def order(self, n: int) -> npt.NDArray[np.int64]:
        """A permutation; not nudged."""
        return self._rng.permutation(n)


@dataclass(frozen=True, slots=True)
class Sources:
    """The three dice of one picture."""

    program: Dice
    layout: Dice
    content: Dice


class Draw(Protocol):
    def __call__(self, dice: Sources, size: int) -> Canvas:
        """Draw one picture: (size, size, 3) float32, clipped to [0, 1] by the caller. Uses no other randomness."""
        ...


@dataclass(frozen=True, slots=True)
class Family:
    """One way to draw pictures."""

    name: str
    draw: Draw
    weight: float
    """Share of programs, relative to the other families."""
    near: tuple[float, float] = (0.15, 0.4)
    """Range of the nudge for near-identical siblings."""
    recolours: bool = True
    """Other content is mostly other colours, which an edit could have done: a variant must then be nudged as well."""
