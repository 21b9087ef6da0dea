"""What each kind of evidence says about one image: descriptors, PDQ hashes, compared pixels; in each collection.

Knows rules and matches; makes no decision of several findings, and reads no pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from guard.embedders.pdq import BITS
from guard.embedders.pdq import BLOCK_BITS as IDENTICAL_BITS
from guard.flat import difference
from guard.policy import SEVERITY
from guard.rules import Rule, Rules
from guard.types import Collection, Decision, Match
from guard.verification.weigh import by_pixels, refuted, refutes, unconfirmed

__all__ = ["ECHO_BITS", "ECHO_SLACK", "Finding", "OwnInput", "findings_of"]

ECHO_SLACK = 0.01  # cosine by which the caller's input may lie further away and still be the source
ECHO_BITS = 4  # the same for PDQ hashes: the most by which array and tensor of one picture differ (guard.embedders.pdq)


@dataclass(frozen=True, slots=True)
class Finding:
    """What one kind of evidence says of the matches with one collection."""

    match: Match
    """The nearest of them."""
    collection: str
    decision: Decision
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class OwnInput:
    """How near the caller's own input is, which an output may echo."""

    similarity: float | None = None
    """None: there was no input."""
    bits: int | None = None
    """Of 256 by which the PDQ hashes differ; None: no input, or none with a hash."""
    then: Literal["allow", "flag", "ignore"] = "allow"
    """What an echo counts as."""

    def excuses(self, echo: str, decision: Decision, reasons: tuple[str, ...]) -> tuple[Decision, tuple[str, ...]]:
        """echo: how near the input is, in words; "" if it is no nearer than the reference."""
        if not echo or self.then == "ignore":
            return decision, reasons
        return Decision(self.then), (*reasons, f"echoes the caller's own input ({echo}): not memorisation")


def findings_of(candidates: Sequence[Match], rules: Rules, own: OwnInput, *, usable: bool, flat: bool) -> list[Finding]:
    """Hashes first, then descriptors, then pixels; within each the collections in the order of their nearest match.

    candidates: nearest first. usable: False where descriptors and pixels say nothing of the image, which the hash does
    for itself. flat: nothing counts but the pixels. `allow` is no ground for anything.
    """
    of_collection: dict[str, list[Match]] = {}
    for match in candidates:
        for name in match.record.collections:
            if name != Collection.ALLOW:
                of_collection.setdefault(name, []).append(match)
    kinds: Sequence[_Kind] = (_by_hash, _by_similarity, _by_pixels) if usable else (_by_hash,)
    if flat:
        kinds = (_of_flat,)
    return [
        finding
        for kind in kinds
        for name, matches in of_collection.items()
        for finding in kind(matches, rules.of(name), own)
    ]


_Kind = Callable[[Sequence[Match], Rule, OwnInput], Iterator[Finding]]


def _by_hash(matches: Sequence[Match], rule: Rule, own: OwnInput) -> Iterator[Finding]:
    same = [m for m in matches if m.bits is not None]
    if not same or rule.identical == "ignore":
        return
    top = min(same, key=lambda m: (m.bits or 0, -m.similarity))
    said = (
        f"PDQ: {top.bits} of {BITS} bits differ from {_named(top, rule)}, at most {IDENTICAL_BITS} count as identical"
    )
    yield _finding(top, rule, Decision(rule.identical), (said,), own, _bits_echo(top, own))


def _by_similarity(matches: Sequence[Match], rule: Rule, own: OwnInput) -> Iterator[Finding]:
    """What its own pixels refute does not count, if it is less than sure."""
    near = [m for m in matches if m.similarity >= rule.flag]
    if not near:
        return
    left = [m for m in near if m.similarity >= rule.sure or m.evidence is None or not refutes(m.evidence)]
    top = left[0] if left else near[0]
    decision = Decision.BLOCK if top.similarity >= rule.block else Decision.FLAG
    bound = rule.block if decision is Decision.BLOCK else rule.flag
    said = [f"similarity {top.similarity:.3f} to {_named(top, rule)} reaches {decision.value} {bound:.3f}"]
    if top is not near[0] or not left:
        said.append(refuted(near[0]))
    if left and decision is Decision.BLOCK and (open_question := unconfirmed(top)):
        said.append(open_question)
    yield _finding(top, rule, decision if left else Decision.ALLOW, tuple(said), own, _echo(top, rule.flag, own))


def _by_pixels(matches: Sequence[Match], rule: Rule, own: OwnInput) -> Iterator[Finding]:
    copies = [m for m in matches if m.evidence is not None and m.evidence.is_copy]
    if not copies:
        return
    judged = [
        (match, *by_pixels(match, rule.block, rule.flag_strength, rule.block_strength, _named(match, rule)))
        for match in copies
    ]
    best, decision, said = max(judged, key=lambda one: (SEVERITY.index(one[1]), one[0].similarity))
    yield _finding(best, rule, decision, (said,), own, _echo(best, rule.flag, own))


def _of_flat(matches: Sequence[Match], rule: Rule, own: OwnInput) -> Iterator[Finding]:
    """A picture with little in it: near-identical pixels block; what cannot be compared flags at most."""
    hashed = rule.identical != "ignore"
    near = [m for m in matches if m.similarity >= rule.flag or (hashed and m.bits is not None)]
    if not near:
        return
    same = next((m for m in near if m.evidence is not None and m.evidence.is_copy), None)
    unseen = [m for m in near if m.evidence is None and (m.similarity >= rule.block or m.bits is not None)]
    top = same or (unseen[0] if unseen else near[0])
    if same is not None:
        decision, how = Decision.BLOCK, f"they are the same: {_difference(same)}"
    elif unseen:
        decision, how = Decision.FLAG, "they cannot be compared: at most flag"
    elif top.evidence is None:
        decision, how = Decision.ALLOW, "they cannot be compared, and the similarity is below block"
    else:
        decision, how = Decision.ALLOW, f"they are others: {_difference(top)}"
    said = f"similarity {top.similarity:.3f} to {_named(top, rule)}, and flat: only its pixels count, and {how}"
    yield _finding(top, rule, decision, (said,), own, _echo(top, rule.flag, own))


def _finding(top: Match, rule: Rule, decision: Decision, reasons: tuple[str, ...], own: OwnInput, echo: str) -> Finding:
    capped = rule.capped(decision)
    if capped is not decision:
        reasons = (*reasons, f"{rule.collection}: at most {capped.value}")
    return Finding(top, rule.collection, *own.excuses(echo, capped, reasons))


def _difference(match: Match) -> str:
    return difference(match.evidence) if match.evidence else ""


def _named(match: Match, rule: Rule) -> str:
    return f"{match.record.uri} ({rule.collection})"


def _echo(top: Match, flag: float, own: OwnInput) -> str:
    """How near the caller's own input is, in words; "" if it is further away than the reference."""
    near = own.similarity is not None and own.similarity >= max(flag, top.similarity - ECHO_SLACK)
    return f"similarity {own.similarity:.3f}" if near else ""


def _bits_echo(top: Match, own: OwnInput) -> str:
    """Like with like: the input's bits against the reference's; by similarity only if the input has no hash."""
    if own.bits is None:
        near = own.similarity is not None and own.similarity >= top.similarity - ECHO_SLACK
        return f"similarity {own.similarity:.3f}" if near else ""
    near = own.bits <= min(IDENTICAL_BITS, (top.bits or 0) + ECHO_BITS)
    return f"PDQ: {own.bits} bits" if near else ""
