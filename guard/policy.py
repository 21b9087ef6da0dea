"""Candidates and thresholds -> a decision with its reasons. Knows no pixels, index or host."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from guard.embedders.base import Thresholds
from guard.errors import ConfigError
from guard.types import Decision, Match, Status, Verdict

__all__ = ["ECHO_SLACK", "Policy", "decide"]

ECHO_SLACK = 0.01  # cosine by which the caller's input may lie further away and still be the source


@dataclass(frozen=True, slots=True)
class Policy:
    """From which similarity an image is flagged and blocked. None: what the index's embedder recommends."""

    flag: float | None = None
    """Cosine after the index's transform, in [-1, 1], inclusive."""
    block: float | None = None
    """As flag, and not below it."""

    def __post_init__(self) -> None:
        for name, value in (("flag", self.flag), ("block", self.block)):
            if value is not None and not -1 <= value <= 1:
                raise ConfigError(f"policy.{name} = {value!r} is no cosine: it must lie in [-1, 1]")
        if self.flag is not None and self.block is not None and self.flag > self.block:
            raise ConfigError(f"policy.flag = {self.flag:g} lies above policy.block = {self.block:g}")

    def resolve(self, advice: Thresholds | None) -> tuple[float, float]:
        """Return (flag, block), with what is unset taken from the embedder's advice.

        An unset value never contradicts one that is set: flag is at most block.
        Raises ConfigError if a value is neither set nor advised.
        """
        flag = self.flag if self.flag is not None else advice.flag if advice else None
        block = self.block if self.block is not None else advice.block if advice else None
        if flag is None or block is None:
            missing = "policy.flag" if flag is None else "policy.block"
            raise ConfigError(f"{missing} is not set, and the index's embedder comes with no thresholds of its own")
        if self.flag is None:
            flag = min(flag, block)
        if self.block is None:
            block = max(flag, block)
        return flag, block


def decide(
    candidates: Sequence[Match],
    *,
    flag: float,
    block: float,
    usable: bool = True,
    input_similarity: float | None = None,
    own_input: Literal["allow", "flag", "ignore"] = "allow",
) -> Verdict:
    """Decide about one image.

    candidates: nearest first. flag <= block: inclusive. usable: False if the embedder says that the
    image carries too little detail to be told apart. input_similarity: to the nearest of the
    caller's own inputs; an output at least that close to its input (within ECHO_SLACK) echoes it.
    """
    matches = tuple(m for m in candidates if m.similarity >= flag)
    nearest = tuple(candidates[:1])
    if not usable:
        reason = "too little detail for this embedder: nothing that it finds can count"
        return Verdict(Status.SUCCESS, Decision.ALLOW, nearest, (reason,), input_similarity=input_similarity)
    if not matches:
        found = f"nearest reference has similarity {nearest[0].similarity:.3f}" if nearest else "the index is empty"
        return Verdict(Status.SUCCESS, Decision.ALLOW, nearest, (f"{found}, below flag {flag:.3f}",),
                       input_similarity=input_similarity)  # fmt: skip
    top = matches[0]
    decision = Decision.BLOCK if top.similarity >= block else Decision.FLAG
    bound = ("block", block) if decision is Decision.BLOCK else ("flag", flag)
    reasons = [f"similarity {top.similarity:.3f} to {top.record.uri} reaches {bound[0]} {bound[1]:.3f}"]
    if len(matches) > 1:
        reasons.append(f"{len(matches)} references match")
    if top.record.cluster_size > 1:
        reasons.append(f"the reference stands {top.record.cluster_size} times in the reference set")
    echo = input_similarity is not None and input_similarity >= max(flag, top.similarity - ECHO_SLACK)
    if echo and own_input != "ignore":
        decision = Decision.ALLOW if own_input == "allow" else Decision.FLAG
        reasons.append(f"echoes the caller's own input (similarity {input_similarity:.3f}): not memorisation")
    return Verdict(Status.SUCCESS, decision, matches, tuple(reasons), input_similarity=input_similarity)
