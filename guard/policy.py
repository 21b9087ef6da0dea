"""Candidates and thresholds -> a decision with its reasons. Knows no pixels, index or host."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from guard.calibration.target import FalsePositiveRate
from guard.embedders.base import Thresholds
from guard.embedders.pdq import BITS
from guard.embedders.pdq import BLOCK_BITS as IDENTICAL_BITS
from guard.errors import ConfigError
from guard.types import Decision, Match, Status, Verdict
from guard.verification.weigh import by_pixels, refuted, unconfirmed

__all__ = ["ECHO_BITS", "ECHO_SLACK", "IDENTICAL", "Identical", "Policy", "contradiction", "decide"]

ECHO_SLACK = 0.01  # cosine by which the caller's input may lie further away and still be the source
ECHO_BITS = 4  # the same for PDQ hashes: the most by which array and tensor of one picture differ (guard.embedders.pdq)

Identical = Literal["block", "flag", "ignore"]
IDENTICAL: Identical = "block"


@dataclass(frozen=True, slots=True)
class Policy:
    """From which similarity an image is flagged and blocked. None: what the index's embedder recommends."""

    flag: float | FalsePositiveRate | None = None
    """Cosine after the index's transform, in [-1, 1], inclusive; or the rate that it shall keep: `fpr(1e-3)`."""
    block: float | FalsePositiveRate | None = None
    """As flag, and not below it."""
    identical: Identical | None = None
    """What a PDQ hash within 31 of 256 bits of a reference's counts as, whatever the similarity; None: IDENTICAL."""

    def __post_init__(self) -> None:
        for name, value in (("flag", self.flag), ("block", self.block)):
            if isinstance(value, int | float) and not -1 <= value <= 1:
                raise ConfigError(f"policy.{name} = {value!r} is no cosine: it must lie in [-1, 1]")
        if self.identical not in (None, *get_args(Identical)):
            raise ConfigError(f"policy.identical = {self.identical!r} is unknown; known: block, flag, ignore")
        problem = contradiction(self.flag, self.block)
        if problem:
            raise ConfigError(problem)

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
        set_flag, set_block = _known("flag", self.flag, threshold_of), _known("block", self.block, threshold_of)
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


def contradiction(flag: float | FalsePositiveRate | None, block: float | FalsePositiveRate | None) -> str:
    """Why the two cannot stand together, "" if they can; a rate and a similarity compare when the index is known."""
    if isinstance(flag, FalsePositiveRate) or isinstance(block, FalsePositiveRate):
        rarer = isinstance(flag, FalsePositiveRate) and isinstance(block, FalsePositiveRate) and flag.rate < block.rate
        return f"policy.flag = {flag} is rarer than policy.block = {block}: flag more than you block" if rarer else ""
    if flag is not None and block is not None and flag > block:
        return f"policy.flag = {flag:g} lies above policy.block = {block:g}"
    return ""


def _known(
    name: str, value: float | FalsePositiveRate | None, threshold_of: Callable[[FalsePositiveRate], float] | None
) -> float | None:
    if not isinstance(value, FalsePositiveRate):
        return value
    if threshold_of is None:
        raise ConfigError(f"policy.{name} = {value} needs an index with a calibration: `memguard calibrate`")
    try:
        return threshold_of(value)
    except ConfigError as exc:
        raise ConfigError(f"policy.{name} = {value}: {exc}") from exc


def decide(
    candidates: Sequence[Match],
    *,
    flag: float,
    block: float,
    usable: bool = True,
    input_similarity: float | None = None,
    own_input: Literal["allow", "flag", "ignore"] = "allow",
    identical: Identical = IDENTICAL,
    input_bits: int | None = None,
    verified: bool | None = None,
    unverified: str = "",
) -> Verdict:
    """Decide about one image, by similarity of descriptors, PDQ hashes and compared pixels; the most severe holds.

    candidates: nearest first; `bits` of those whose PDQ hash is identical. flag <= block: inclusive. usable: False if
    the embedder says that the image carries too little detail to be told apart; PDQ says so for itself, with no bits.
    input_similarity: to the nearest of the caller's own inputs; an output at least that close to its input (within
    ECHO_SLACK) echoes it. input_bits: the same of PDQ hashes, to which the bits of a reference are compared.
    Candidates whose pixels were compared carry evidence; verified and unverified: see guard.verification.examiner.
    """
    same = sorted((m for m in candidates if m.bits is not None), key=_by_bits) if identical != "ignore" else []
    near = [m for m in candidates if usable and m.similarity >= flag]
    copies = [m for m in candidates if usable and m.evidence is not None and m.evidence.is_copy]
    matches = (*same, *(m for m in candidates if m not in same and (m in near or m in copies)))
    findings: list[_Finding] = []
    if same:
        echo = _bits_echo(same[0], input_bits, input_similarity)
        findings.append(_by_hash(same[0], Decision(identical)).unless_echo(echo, own_input))
    if near:
        echo = _echo(near[0], flag, input_similarity)
        findings.append(_by_similarity(near, flag, block).unless_echo(echo, own_input))
    if copies:
        best = max(copies, key=lambda m: m.similarity)
        echo = _echo(best, flag, input_similarity)
        decision, said = by_pixels(best, block)
        findings.append(_Finding(decision, (said,)).unless_echo(echo, own_input))
    reasons = list(dict.fromkeys(reason for finding in findings for reason in finding.reasons))
    if not findings:
        reasons = [_nothing(candidates, flag, usable)]
    if len(matches) > 1:
        reasons.append(f"{len(matches)} references match")
    if matches and matches[0].record.cluster_size > 1:
        reasons.append(f"the reference stands {matches[0].record.cluster_size} times in the reference set")
    if verified is False:
        reasons.append(f"not verified ({unverified}): the similarity decides")
    decision = max((finding.decision for finding in findings), key=_SEVERITY.index, default=Decision.ALLOW)
    shown = matches or tuple(candidates[:1])
    return Verdict(
        Status.SUCCESS, decision, shown, tuple(reasons), input_similarity=input_similarity, verified=verified
    )


_SEVERITY = (Decision.ALLOW, Decision.FLAG, Decision.BLOCK)


@dataclass(frozen=True, slots=True)
class _Finding:
    """What one kind of evidence says."""

    decision: Decision
    reasons: tuple[str, ...]

    def unless_echo(self, of: str, own_input: Literal["allow", "flag", "ignore"]) -> _Finding:
        """of: how near the caller's own input is, in words; "" if it is no nearer than the reference."""
        if not of or own_input == "ignore":
            return self
        decision = Decision.ALLOW if own_input == "allow" else Decision.FLAG
        return _Finding(decision, (*self.reasons, f"echoes the caller's own input ({of}): not memorisation"))


def _by_similarity(near: Sequence[Match], flag: float, block: float) -> _Finding:
    """near: the matches, nearest first; compared pixels may refute a flag, and never a block."""
    top = near[0]
    decision = Decision.BLOCK if top.similarity >= block else Decision.FLAG
    bound = block if decision is Decision.BLOCK else flag
    said = f"similarity {top.similarity:.3f} to {top.record.uri} reaches {decision.value} {bound:.3f}"
    if decision is Decision.BLOCK:
        return _Finding(decision, tuple(filter(None, (said, unconfirmed(top)))))
    against = refuted(near)
    return _Finding(Decision.ALLOW, (said, against)) if against else _Finding(decision, (said,))


def _echo(top: Match, flag: float, input_similarity: float | None) -> str:
    """How near the caller's own input is, in words; "" if it is further away than the reference."""
    near = input_similarity is not None and input_similarity >= max(flag, top.similarity - ECHO_SLACK)
    return f"similarity {input_similarity:.3f}" if near else ""


def _by_hash(top: Match, decision: Decision) -> _Finding:
    said = f"PDQ: {top.bits} of {BITS} bits differ from {top.record.uri}, at most {IDENTICAL_BITS} count as identical"
    return _Finding(decision, (said,))


def _bits_echo(top: Match, input_bits: int | None, input_similarity: float | None) -> str:
    """Like with like: the input's bits against the reference's; by similarity only if the input has no hash."""
    if input_bits is None:
        near = input_similarity is not None and input_similarity >= top.similarity - ECHO_SLACK
        return f"similarity {input_similarity:.3f}" if near else ""
    near = input_bits <= min(IDENTICAL_BITS, (top.bits or 0) + ECHO_BITS)
    return f"PDQ: {input_bits} bits" if near else ""


def _nothing(candidates: Sequence[Match], flag: float, usable: bool) -> str:
    if not usable:
        return "too little detail for this embedder: nothing that it finds can count"
    found = f"nearest reference has similarity {candidates[0].similarity:.3f}" if candidates else "the index is empty"
    return f"{found}, below flag {flag:.3f}"


def _by_bits(match: Match) -> tuple[int, float]:
    return match.bits or 0, -match.similarity
