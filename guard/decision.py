"""Candidates and rules -> one verdict with its reasons. Knows no pixels, index or host."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from guard.allowed import Compare, Excuse, excuse_of
from guard.findings import Finding, OwnInput, findings_of
from guard.policy import SEVERITY
from guard.rules import Rule, Rules
from guard.types import Collection, Decision, Match, Status, Verdict

__all__ = ["HEAVILY", "Case", "Reasoning", "decide"]

HEAVILY = 10  # times that a picture stands in the reference set, from which its duplication is called heavy


@dataclass(frozen=True, slots=True)
class Case:
    """What is known of one image when it is decided about."""

    candidates: tuple[Match, ...]
    """Nearest first; `bits` of those whose PDQ hash is identical, evidence where pixels were compared."""
    usable: bool = True
    """False: the embedder says that there is too little detail to tell the image apart; PDQ says so with no bits."""
    detail: float | None = None
    """Of a flat image: see guard.flat; only its pixels count. None: it is not flat."""
    own: OwnInput = field(default_factory=OwnInput)
    """How near the caller's own input is."""
    verified: bool | None = None
    unverified: str = ""
    """Both: see guard.verification.examiner."""
    exempted: tuple[Match, ...] = ()
    """Candidates that a reviewer called no copies of this image; they count for nothing."""


@dataclass(frozen=True, slots=True)
class Reasoning:
    """A verdict and how it came about."""

    case: Case
    rules: Rules
    findings: tuple[Finding, ...]
    """Of each kind of evidence in each collection, before anything was excused."""
    excuse: Excuse | None
    verdict: Verdict


def decide(case: Case, rules: Rules, compare: Compare | None = None) -> Reasoning:
    """Decide about one image by descriptors, PDQ hashes and compared pixels, in each collection; the most severe holds.

    compare: asked for an allowed reference that may excuse the image; None where pixels cannot be compared.
    """
    candidates, usable = case.candidates, case.usable or case.detail is not None
    findings = findings_of(candidates, rules, case.own, usable=usable, flat=case.detail is not None)
    reasons = list(dict.fromkeys(reason for finding in findings for reason in finding.reasons))
    excuse, standing = excuse_of(findings, candidates, rules, compare), findings
    if excuse is not None:
        candidates = tuple(excuse.match if m.record.id == excuse.match.record.id else m for m in candidates)
        reasons.append(excuse.reason)
        standing = [finding for finding in findings if finding not in excuse.fallen]
    matches = _matches(candidates, rules, usable=usable)
    if not reasons:
        reasons.append(_nothing(candidates, rules, usable))
    if len(matches) > 1:
        reasons.append(f"{len(matches)} references match")
    reasons += _duplicated(matches)
    reasons += [
        f"a reviewer called this no copy of {m.record.uri}" for m in _matches(case.exempted, rules, usable=usable)
    ]
    if case.verified is False:
        decides = "" if case.detail is not None else ": the similarity decides"
        reasons.append(f"not verified ({case.unverified}){decides}")
    gravest = max(standing, key=_gravity, default=None)
    decision = gravest.decision if gravest else Decision.ALLOW
    verdict = Verdict(
        Status.SUCCESS,
        decision,
        matches or candidates[:1],
        tuple(reasons),
        collection=gravest.collection if gravest and decision is not Decision.ALLOW else "",
        input_similarity=case.own.similarity,
        verified=case.verified,
    )
    return Reasoning(replace(case, candidates=candidates), rules, tuple(findings), excuse, verdict)


def _gravity(finding: Finding) -> tuple[int, bool]:
    """Of equals, one by a collection that means more than `training`."""
    return SEVERITY.index(finding.decision), finding.collection != Collection.TRAINING


def _matches(candidates: Sequence[Match], rules: Rules, *, usable: bool) -> tuple[Match, ...]:
    """Those that count in any collection: identical by hash first, then nearest first."""
    same = [m for m in candidates if m.bits is not None and any(r.identical != "ignore" for r in _rules(m, rules))]
    same.sort(key=lambda m: (m.bits or 0, -m.similarity))
    rest = [
        m
        for m in candidates
        if m not in same and usable and (rules.counts(m) or any(r.copied(m) for r in _rules(m, rules)))
    ]
    return (*same, *rest)


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
