"""Candidates and rules -> one verdict with its reasons. Knows no pixels, index or host."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from guard.allowed import Compare, excuse_of
from guard.findings import OwnInput, findings_of
from guard.policy import SEVERITY
from guard.rules import Rule, Rules
from guard.types import Decision, Match, Status, Verdict

__all__ = ["HEAVILY", "decide"]

HEAVILY = 10  # times that a picture stands in the reference set, from which its duplication is called heavy


def decide(
    candidates: Sequence[Match],
    rules: Rules,
    *,
    usable: bool = True,
    own: OwnInput | None = None,
    verified: bool | None = None,
    unverified: str = "",
    exempted: Sequence[Match] = (),
    compare: Compare | None = None,
) -> Verdict:
    """Decide about one image by descriptors, PDQ hashes and compared pixels, in each collection; the most severe holds.

    candidates: nearest first; `bits` of those whose PDQ hash is identical. usable: False if the embedder says that the
    image carries too little detail to be told apart; PDQ says so for itself, with no bits. own: the caller's input.
    Candidates whose pixels were compared carry evidence; verified and unverified: see guard.verification.examiner.
    exempted: candidates that a reviewer called no copies of this image; they count for nothing. compare: asked for an
    allowed reference that may excuse the image.
    """
    findings = findings_of(candidates, rules, own or OwnInput(), usable=usable)
    reasons = list(dict.fromkeys(reason for finding in findings for reason in finding.reasons))
    excuse = excuse_of(findings, candidates, rules, compare)
    if excuse is not None:
        candidates = [excuse.match if m.record.id == excuse.match.record.id else m for m in candidates]
        reasons.append(excuse.reason)
        findings = [finding for finding in findings if finding not in excuse.fallen]
    matches = _matches(candidates, rules, usable=usable)
    if not reasons:
        reasons.append(_nothing(candidates, rules, usable))
    if len(matches) > 1:
        reasons.append(f"{len(matches)} references match")
    gravest = max(findings, key=lambda finding: SEVERITY.index(finding.decision), default=None)
    reasons += _duplicated(matches)
    reasons += [f"a reviewer called this no copy of {m.record.uri}" for m in _matches(exempted, rules, usable=usable)]
    if verified is False:
        reasons.append(f"not verified ({unverified}): the similarity decides")
    decision = gravest.decision if gravest else Decision.ALLOW
    return Verdict(
        Status.SUCCESS,
        decision,
        matches or tuple(candidates[:1]),
        tuple(reasons),
        collection=gravest.collection if gravest and decision is not Decision.ALLOW else "",
        input_similarity=own.similarity if own else None,
        verified=verified,
    )


def _matches(candidates: Sequence[Match], rules: Rules, *, usable: bool) -> tuple[Match, ...]:
    """Those that count in any collection: identical by hash first, then nearest first."""
    same = [m for m in candidates if m.bits is not None and any(r.identical != "ignore" for r in _rules(m, rules))]
    same.sort(key=lambda m: (m.bits or 0, -m.similarity))
    rest = [m for m in candidates if m not in same and usable and _counts(m, rules)]
    return (*same, *rest)


def _counts(match: Match, rules: Rules) -> bool:
    copied = match.evidence is not None and match.evidence.is_copy
    return copied or any(match.similarity >= rule.flag for rule in _rules(match, rules))


def _rules(match: Match, rules: Rules) -> list[Rule]:
    return [rules.of(name) for name in match.record.collections]


def _nothing(candidates: Sequence[Match], rules: Rules, usable: bool) -> str:
    """Why nothing was found."""
    if not usable:
        return "too little detail for this embedder: nothing that it finds can count"
    if not candidates:
        return "the index is empty"
    nearest, names = candidates[0], candidates[0].record.collections
    if any(nearest.similarity >= rule.flag for rule in _rules(nearest, rules)):
        return f"only what is allowed is near: {nearest.record.uri}, similarity {nearest.similarity:.3f}"
    flag = rules.lowest_flag(names)
    return f"nearest reference has similarity {nearest.similarity:.3f}, below flag {flag:.3f} of {', '.join(names)}"


def _duplicated(matches: Sequence[Match]) -> Iterator[str]:
    """Of the match with the most near-duplicates: they are the main cause of memorisation (Carlini et al. 2023)."""
    most = max(matches, key=lambda m: m.record.cluster_size, default=None)
    if most is not None and most.record.cluster_size > 1:
        times = most.record.cluster_size
        heavy = ": heavy duplication, the main cause of memorisation" if times >= HEAVILY else ""
        yield f"{most.record.uri} stands {times} times in the reference set, with its near-duplicates{heavy}"
