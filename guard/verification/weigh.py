"""What evidence does to a decision, in words and numbers. Knows no pixels and no thresholds of similarity but block.

Evidence can raise a candidate above the gate to a match, and pixels that clearly show no copy take one out. Two things
stand against them: few keypoints, since a verifier that found nothing may have had nothing to find, and a similarity
that is nearer to identity than to the block threshold.
"""

from __future__ import annotations

import math

from guard.embedders.pdq import BITS
from guard.types import Decision, Evidence, EvidenceKind, Match
from guard.verification.picture import summary

__all__ = [
    "DOUBT",
    "KEYPOINTS_TO_REFUTE",
    "STRONG_AGREEMENT",
    "by_pixels",
    "refuted",
    "refutes",
    "settles",
    "standing",
    "sure_from",
    "unconfirmed",
]

STRONG_AGREEMENT = 0.88  # as Limits.agreement_alone: pixels that need no keypoints
STRONG_INLIERS, STRONG_AGREEMENT_WITH_INLIERS = 16, 0.6  # above Limits.inliers, and most of the overlap
DOUBT = 0.05  # a strength above minus this is a copy missed by a little: neither for it nor against it
KEYPOINTS_TO_REFUTE = 60  # of either picture: with fewer, a copy could have gone unseen


def sure_from(block: float) -> float:
    """The similarity from which pixels refute nothing, inclusive: halfway from the block threshold to identity.

    Copies of which pixels show nothing for all their keypoints (a painting over of a memorised picture) lie there, and
    templates seldom do.
    """
    return (1 + block) / 2


def standing(match: Match, *, block: float) -> float:
    """How strongly a candidate speaks for a copy, in one number: `decide` flags or blocks an image that is not flat
    (guard.flat) at a flag threshold t in [-1, 1] exactly if a candidate's is at least t.

    PDQ's identical pairs lie in [2, 3], copies by pixels in [1, 2] by their strength, others at their similarity.
    Candidates whose pixels refute them lie at their similarity less 3, below every threshold; from `sure_from` on at
    the highest block threshold at which they would still be sure. block: of a policy that leaves it to the advice, so
    that a higher t raises it to t.
    """
    if match.bits is not None:
        return 3 - match.bits / BITS
    evidence = match.evidence
    if evidence is None:
        return match.similarity
    if evidence.is_copy:
        return 1 + max(0.0, evidence.strength)
    if not refutes(evidence):
        return match.similarity
    return max(block, 2 * match.similarity - 1) if match.similarity >= sure_from(block) else match.similarity - 3


def by_pixels(
    match: Match, block: float, flag_strength: float, block_strength: float, name: str
) -> tuple[Decision, str]:
    """The decision about a candidate whose evidence says copy, and why. name: of the candidate.

    Block: the whole picture is there and the evidence strong, or the similarity reaches block as well. Else flag.
    Evidence that is weaker than what a decision takes by itself (guard.calibration) brings it about only with the
    similarity: allow, for this reason alone.
    """
    evidence = match.evidence
    assert evidence is not None
    words = f"pixels of {name}: {summary(evidence)} (similarity {match.similarity:.3f})"
    strength = max(evidence.strength, 0.0)
    if match.similarity >= block or (settles(evidence) and strength >= block_strength):
        return Decision.BLOCK, words
    if strength >= flag_strength:
        return Decision.FLAG, words
    needed = "no strength of it" if math.isinf(flag_strength) else f"only a strength of {flag_strength:.2f}"
    return Decision.ALLOW, f"{words}: strength {strength:.2f}, and {needed} counts by itself at this rate"


def refuted(match: Match) -> str:
    """What to say of a match that its own pixels refute."""
    assert match.evidence is not None
    return f"its pixels show no copy of {match.record.uri} ({summary(match.evidence)})"


def unconfirmed(match: Match) -> str:
    """What to add to a block by similarity that the pixels do not bear out, or ""."""
    evidence = match.evidence
    if evidence is None or evidence.is_copy:
        return ""
    return f"the pixels do not confirm it ({summary(evidence)}); a block by similarity stands"


def settles(evidence: Evidence) -> bool:
    """True if it blocks by itself: the whole picture is there, and the evidence strong. No other candidate matters."""
    whole = evidence.kind in (EvidenceKind.NEAR_IDENTICAL, EvidenceKind.EDITED)
    with_inliers = evidence.inliers >= STRONG_INLIERS and evidence.agreement >= STRONG_AGREEMENT_WITH_INLIERS
    return whole and (evidence.agreement >= STRONG_AGREEMENT or with_inliers)


def refutes(evidence: Evidence) -> bool:
    """True if it clearly is no copy, and both pictures have keypoints enough that a copy would have been found."""
    if evidence.is_copy or evidence.keypoints is None or evidence.strength > -DOUBT:
        return False
    return min(evidence.keypoints) >= KEYPOINTS_TO_REFUTE
