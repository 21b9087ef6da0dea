"""What an operator asks for: thresholds and actions, for the whole index and for collections. Decides nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal, get_args

from guard.calibration.target import FalsePositiveRate
from guard.embedders.base import Thresholds
from guard.errors import ConfigError
from guard.types import Collection, Decision

__all__ = ["IDENTICAL", "SEVERITY", "CollectionPolicy", "Identical", "Policy", "contradiction", "known"]

SEVERITY = (Decision.ALLOW, Decision.FLAG, Decision.BLOCK)
Identical = Literal["block", "flag", "ignore"]
IDENTICAL: Identical = "block"


@dataclass(frozen=True, slots=True)
class CollectionPolicy:
    """How matches with one collection are judged; None: as guard.rules says."""

    flag: float | FalsePositiveRate | None = None
    block: float | FalsePositiveRate | None = None
    identical: Identical | None = None
    at_most: Decision | None = None
    """The most severe decision that this collection alone can bring about."""


@dataclass(frozen=True, slots=True)
class Policy:
    """From which similarity an image is flagged and blocked. None: what the index's embedder recommends."""

    flag: float | FalsePositiveRate | None = None
    """Cosine after the index's transform, in [-1, 1], inclusive; or the rate that it shall keep: `fpr(1e-3)`."""
    block: float | FalsePositiveRate | None = None
    """As flag, and not below it."""
    identical: Identical | None = None
    """What a PDQ hash within 31 of 256 bits of a reference's counts as, whatever the similarity; None: IDENTICAL."""
    collections: Mapping[str, CollectionPolicy] = field(default_factory=lambda: MappingProxyType({}))
    """What differs for a collection, by its name."""

    def __post_init__(self) -> None:
        _require("policy", self.flag, self.block, self.identical)
        for name, own in self.collections.items():
            _require(f"policy.collections.{name}", own.flag, own.block, own.identical)
            if own.at_most not in (None, *Decision):
                raise ConfigError(f"policy.collections.{name}.at_most = {own.at_most!r} is unknown; known: "
                                  f"{', '.join(Decision)}")  # fmt: skip
            if name == Collection.ALLOW and (own.block, own.identical, own.at_most) != (None, None, None):
                raise ConfigError("policy.collections.allow blocks nothing: flag is all that can be set")

    def resolve(
        self,
        advice: Thresholds | None,
        *,
        without: str = "and the index's embedder comes with no thresholds of its own",
        threshold_of: Callable[[FalsePositiveRate], float] | None = None,
    ) -> tuple[float, float]:
        """Return (flag, block), with what is unset taken from the embedder's advice.

        An unset value never contradicts one that is set: flag is at most block. without: why there is no advice,
        for the error. threshold_of: what the index's calibration says of a rate.
        Raises ConfigError if a value is neither set nor advised, or is a rate that has no threshold.
        """
        set_flag, set_block = known("flag", self.flag, threshold_of), known("block", self.block, threshold_of)
        flag = set_flag if set_flag is not None else advice.flag if advice else None
        block = set_block if set_block is not None else advice.block if advice else None
        if flag is None or block is None:
            missing = "policy.flag" if flag is None else "policy.block"
            raise ConfigError(f"{missing} is not set, {without}")
        if self.flag is None:
            flag = min(flag, block)
        if self.block is None or (
            isinstance(self.flag, FalsePositiveRate) and isinstance(self.block, FalsePositiveRate)
        ):
            block = max(flag, block)  # of two rates, the rarer one's bound may come out lower: it rests on a tail
        if flag > block:
            raise ConfigError(
                f"policy.flag = {self.flag} is a threshold of {flag:.4f} and lies above policy.block = {self.block} "
                f"({block:.4f})"
            )
        return flag, block


def contradiction(
    flag: float | FalsePositiveRate | None, block: float | FalsePositiveRate | None, where: str = "policy"
) -> str:
    """Why the two cannot stand together, "" if they can; a rate and a similarity compare when the index is known."""
    if isinstance(flag, FalsePositiveRate) or isinstance(block, FalsePositiveRate):
        rarer = isinstance(flag, FalsePositiveRate) and isinstance(block, FalsePositiveRate) and flag.rate < block.rate
        return f"{where}.flag = {flag} is rarer than {where}.block = {block}: flag more than you block" if rarer else ""
    if flag is not None and block is not None and flag > block:
        return f"{where}.flag = {flag:g} lies above {where}.block = {block:g}"
    return ""


def known(
    name: str, value: float | FalsePositiveRate | None, threshold_of: Callable[[FalsePositiveRate], float] | None
) -> float | None:
    """The similarity of a threshold: itself, or what keeps the rate. Raises ConfigError, naming policy.NAME."""
    if not isinstance(value, FalsePositiveRate):
        return value
    if threshold_of is None:
        raise ConfigError(f"policy.{name} = {value} needs an index with a calibration: `memguard calibrate`")
    try:
        return threshold_of(value)
    except ConfigError as exc:
        raise ConfigError(f"policy.{name} = {value}: {exc}") from exc


def _require(
    where: str,
    flag: float | FalsePositiveRate | None,
    block: float | FalsePositiveRate | None,
    identical: Identical | None,
) -> None:
    for name, value in (("flag", flag), ("block", block)):
        if isinstance(value, int | float) and not -1 <= value <= 1:
            raise ConfigError(f"{where}.{name} = {value!r} is no cosine: it must lie in [-1, 1]")
    if identical not in (None, *get_args(Identical)):
        raise ConfigError(f"{where}.identical = {identical!r} is unknown; known: block, flag, ignore")
    problem = contradiction(flag, block, where)
    if problem:
        raise ConfigError(problem)
