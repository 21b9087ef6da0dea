"""When a reference that is allowed excuses an image. Knows findings and evidence; compares no pixels itself.

`allow` holds works that are licensed, owned by the house, or templates. Two conditions keep it from becoming a way
round: the allowed reference is the closer one, by every measure that spoke against the image, and the image shows it
near-identically.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from guard.embedders.pdq import BITS
from guard.embedders.pdq import BLOCK_BITS as IDENTICAL_BITS
from guard.findings import Finding
from guard.indexes.overlay import key_of
from guard.rules import Rules
from guard.types import Collection, Decision, Evidence, EvidenceKind, Match
from guard.verification.picture import summary

__all__ = ["Compare", "Excuse", "excuse_of"]

Compare = Callable[[Match], tuple[Evidence | None, str]]
"""What the pixels of the image and of a match say; None and why if they could not be compared."""


@dataclass(frozen=True, slots=True)
class Excuse:
    """An allowed reference that could speak for the image."""

    match: Match
    """With evidence, where the pixels were compared."""
    fallen: tuple[Finding, ...]
    """Findings that it takes the ground from; none if the image does not show it near-identically."""
    reason: str


def excuse_of(
    findings: Sequence[Finding], candidates: Sequence[Match], rules: Rules, compare: Compare | None
) -> Excuse | None:
    """The excuse of an image that is flagged or blocked; None if no allowed reference is the closer one.

    candidates: nearest first; only the nearest that is allowed and matches is asked. compare: None where pixels cannot
    be compared.
    """
    against = [finding for finding in findings if finding.decision is not Decision.ALLOW]
    flag = rules.of(Collection.ALLOW).flag
    allowed = next(
        (
            match
            for match in candidates
            if Collection.ALLOW in match.record.collections and (match.similarity >= flag or match.bits is not None)
        ),
        None,
    )
    if allowed is None:
        return None
    closer = tuple(finding for finding in against if _is_closer(allowed, finding))
    if not closer:
        return None
    allowed, shown, how = _near_identical(allowed, compare)
    name = f"{allowed.record.uri} ({Collection.ALLOW.value})"
    if not shown:
        return Excuse(allowed, (), f"{name} is closer, and excuses nothing: {how}")
    left = len(against) - len(closer)
    rest = f"; {left} of the reasons stand, since what they name is closer" if left else ""
    return Excuse(allowed, closer, f"{name} is allowed, closer (similarity {allowed.similarity:.3f}) and {how}{rest}")


def _is_closer(allowed: Match, finding: Finding) -> bool:
    """By similarity, and by the hash if that one is identical too. A reference against itself is closer only where
    `training` is all that speaks against it: an opt-out of the same picture stands."""
    match = finding.match
    if key_of(allowed.record) == key_of(match.record):
        return finding.collection == Collection.TRAINING
    by_hash = match.bits is None or (allowed.bits is not None and allowed.bits <= match.bits)
    return allowed.similarity > match.similarity and by_hash


def _near_identical(allowed: Match, compare: Compare | None) -> tuple[Match, bool, str]:
    """(the match with its evidence, whether the image shows it near-identically, by what)."""
    why_not = "pixels cannot be compared"
    if allowed.evidence is None and compare is not None:
        evidence, why_not = compare(allowed)
        allowed = replace(allowed, evidence=evidence)
    if allowed.evidence is not None:
        shown = allowed.evidence.kind is EvidenceKind.NEAR_IDENTICAL
        return allowed, shown, f"its pixels show: {summary(allowed.evidence)}"
    bits = "no identical hash" if allowed.bits is None else f"PDQ: {allowed.bits} of {BITS} bits differ"
    return allowed, allowed.bits is not None, f"{bits} (at most {IDENTICAL_BITS} count as identical); {why_not}"
