"""A false-positive rate where a threshold may stand. Knows numbers and their spelling; no calibration."""

from __future__ import annotations

from dataclasses import dataclass

from guard.errors import ConfigError

__all__ = ["PREFIX", "FalsePositiveRate", "fpr"]

PREFIX = "fpr:"


@dataclass(frozen=True, slots=True)
class FalsePositiveRate:
    """Share of pictures that are no copies and match all the same, in (0, 1)."""

    rate: float

    def __post_init__(self) -> None:
        if not 0 < self.rate < 1:
            raise ConfigError(f"a false-positive rate of {self.rate!r} is none: it lies between 0 and 1, e.g. 1e-5")

    def __str__(self) -> str:
        """As files and the environment spell it: "fpr:1e-05"."""
        return f"{PREFIX}{self.rate!r}"

    @classmethod
    def parse(cls, text: str) -> FalsePositiveRate:
        """Read "fpr:1e-5". Raises ConfigError for anything else."""
        name, _, number = text.strip().lower().partition(":")
        try:
            if f"{name}:" != PREFIX:
                raise ValueError
            rate = float(number)
        except ValueError:
            raise ConfigError(f"{text!r} is no false-positive rate; write fpr:1e-5") from None
        return cls(rate)


def fpr(rate: float) -> FalsePositiveRate:
    """The threshold that keeps a false-positive rate, by the index's calibration: `Policy(block=fpr(1e-5))`.

    Raises ConfigError unless 0 < rate < 1.
    """
    return FalsePositiveRate(float(rate))
