"""How a decision came about, in order: what was measured, against which thresholds, and what followed. Decides nothing.

Everything comes from the check itself: the reasoning is the one that made the verdict, and nothing is decided twice.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from guard.decision import Case, Reasoning
from guard.flat import FLAT_DETAIL, detail_of
from guard.lookup import at_this_moment, collections_of
from guard.pixels import RGBArray
from guard.rules import Rule
from guard.types import Mode, Verdict

if TYPE_CHECKING:
    from guard.config import GuardConfig
    from guard.guard import Guard

__all__ = ["Explanation", "explanation_of"]


@dataclass(frozen=True, slots=True, eq=False)
class Explanation:
    """One check, told from its beginning. Plain JSON values but for the verdict and the reasoning."""

    pixels: dict[str, Any]
    """width, height, detail (share of cells that change), flat_below, flat (whether the gate of flat pictures held)."""
    embedder: dict[str, Any]
    """Its identity, query_views, and usable: False, if it found too little detail."""
    index: dict[str, Any]
    """name, version, count, regions, hashes, transform, overlay (entries in force), originals (the folders in which
    they are read where a thumbnail is missing; None: they are not)."""
    calibration: dict[str, Any] | None
    rules: list[dict[str, Any]]
    """Of each collection of the index: thresholds, where they come from, and the false-positive rate of each threshold
    with its interval, where a calibration says so. flag_strength, block_strength: of evidence, from which pixels count
    by themselves; None: they only confirm."""
    reasoning: Reasoning | None
    """None: the check failed."""
    verdict: Verdict
    mode: Mode
    seconds: Mapping[str, float]
    uncompared: str = ""
    """Why pixels are not compared, or only of what counts anyway, where `verify` leaves that to the guard; or ""."""

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, as `memguard policy explain --json` prints them, in the order of the reasoning."""
        r = self.reasoning
        return {
            "pixels": self.pixels,
            "embedder": self.embedder,
            "index": self.index,
            "calibration": self.calibration,
            "rules": self.rules,
            "candidates": [match.to_dict() for match in r.case.candidates] if r else [],
            "exempted": [match.to_dict() for match in r.case.exempted] if r else [],
            "own_input": asdict(r.case.own) if r else None,
            "verified": {"done": r.case.verified, "why_not": self._why_not(r.case) or None} if r else None,
            "findings": [
                {
                    "collection": finding.collection,
                    "uri": finding.match.record.uri,
                    "decision": finding.decision.value,
                    "reasons": list(finding.reasons),
                }
                for finding in (r.findings if r else ())
            ],
            "allow": None
            if r is None or r.excuse is None
            else {
                "match": r.excuse.match.to_dict(),
                "excuses": [finding.collection for finding in r.excuse.fallen],
                "reason": r.excuse.reason,
            },
            "mode": self.mode.value,
            "seconds": {stage: round(s, 6) for stage, s in self.seconds.items()},
            "verdict": self.verdict.to_dict(),
        }

    def _why_not(self, case: Case) -> str:
        return self.uncompared if case.verified is None else case.unverified


def explanation_of(
    guard: Guard,
    config: GuardConfig,
    picture: RGBArray,
    reasoning: Reasoning | None,
    verdict: Verdict,
    seconds: Mapping[str, float],
    uncompared: str = "",
) -> Explanation:
    """picture: (h, w, 3) uint8, as it was checked. reasoning: of that check, None if it failed."""
    spec = guard.embedder.spec
    case = reasoning.case if reasoning else None
    names = [rule.collection for rule in guard.rules]
    present = collections_of(at_this_moment(guard.index))
    present |= {name for match in (case.candidates if case else ()) for name in match.record.collections}
    rules = reasoning.rules if reasoning else guard.rules
    ordered = [n for n in names if n in present] + sorted(present.difference(names))
    return Explanation(
        pixels={
            "width": picture.shape[1],
            "height": picture.shape[0],
            "detail": round(detail_of(picture), 4),
            "flat_below": FLAT_DETAIL,
            "flat": case is not None and case.detail is not None,
        },
        embedder={
            **spec.identity(),
            "query_views": config.views,
            "usable": case.usable if case else None,
        },
        index=_index(guard),
        calibration=_calibration(guard, config),
        rules=[_rule(rules.of(name), guard) for name in ordered],
        reasoning=reasoning,
        verdict=verdict,
        mode=config.mode,
        seconds=seconds,
        uncompared=uncompared,
    )


def _index(guard: Guard) -> dict[str, Any]:
    manifest = guard.index.manifest
    overlay = getattr(guard.index, "overlay", None)
    transform = getattr(manifest, "transform", None)
    return {
        "name": guard.name,
        "version": guard.index.version,
        "count": manifest.count,
        "regions": getattr(manifest, "regions", 1),
        "hashes": getattr(guard.index, "hashes", None) is not None,
        "transform": None if transform is None else transform.model_dump(exclude={"sha256"}, exclude_none=True),
        "overlay": None if overlay is None else overlay.state().counts(),
        "originals": None if guard.examiner.originals is None else list(guard.examiner.originals.folders),
    }


def _calibration(guard: Guard, config: GuardConfig) -> dict[str, Any] | None:
    if guard.calibration is None:
        return None
    made = guard.calibration.calibration
    return {
        "created_at": made.created_at.isoformat(),
        "source": made.source,
        "pictures": made.pictures,
        "count": made.count,
        "stale": guard.calibration.stale(config.calibration_max_age_days, count=len(guard.index)),
        "unknown": made.unknown,
    }


def _rule(rule: Rule, guard: Guard) -> dict[str, Any]:
    return {
        "collection": rule.collection,
        "flag": rule.flag,
        "flag_from": rule.flag_from,
        "flag_rate": _rate(rule.flag, guard),
        "block": rule.block,
        "block_from": rule.block_from,
        "block_rate": _rate(rule.block, guard),
        "flag_strength": None if math.isinf(rule.flag_strength) else rule.flag_strength,
        "block_strength": None if math.isinf(rule.block_strength) else rule.block_strength,
        "sure": rule.sure,
        "identical": rule.identical,
        "at_most": rule.at_most.value,
    }


def _rate(similarity: float, guard: Guard) -> dict[str, float] | None:
    """Share of clean pictures that reach a threshold: {value, low, high}; None without a calibration that fits."""
    found = guard.calibration.interval(similarity) if guard.calibration else None
    return None if found is None else {"value": found.value, "low": found.low, "high": found.high}
