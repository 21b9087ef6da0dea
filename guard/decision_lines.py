"""One log line a decision. Knows reports and a logger; no prompt, file name or caption goes in.

The lines go to the logger `guard.decisions`. Its handlers and its level are the application's business, or that of
`guard.logs.log_json`.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Mapping
from typing import Any

from guard.logs import FIELDS
from guard.tracing import SpanName
from guard.types import Decision, Match, Report, Status, Verdict

__all__ = ["log_decisions"]

_log = logging.getLogger("guard.decisions")


def log_decisions(
    report: Report, share: float, *, index: str, events: Mapping[int, str], span: SpanName | None
) -> None:
    """Log every image that was flagged, blocked, withheld or not checked for an error, and a share of the rest.

    share: in [0, 1]. events: position -> identifier in the decision log, of those that went there.
    """
    for position, verdict in enumerate(report):
        level = logging.WARNING if verdict.status is Status.ERROR else logging.INFO
        if not _log.isEnabledFor(level) or (_passed(verdict) and random.random() >= share):
            continue
        fields = _fields(report, position)
        fields["index"] = index
        if position in events:
            fields["event"] = events[position]
        if span is not None:
            fields |= {"trace_id": span.trace_id, "span_id": span.span_id}
        _log.log(level, "%s", _sentence(report, verdict), extra={FIELDS: fields})


def _passed(verdict: Verdict) -> bool:
    return (verdict.decision is Decision.ALLOW or verdict.status is Status.SKIPPED) and not verdict.withheld


def _sentence(report: Report, verdict: Verdict) -> str:
    what = verdict.decision or verdict.status
    why = f" ({verdict.stage or 'skipped'}: {verdict.reason})" if verdict.reason else ""
    return f"{report.pipeline}: {what}, {verdict.action}{why}"


def _fields(report: Report, position: int) -> dict[str, Any]:
    verdict = report[position]
    return {
        "pipeline": report.pipeline,
        "mode": report.mode.value,
        "status": verdict.status.value,
        "decision": verdict.decision.value if verdict.decision else None,
        "action": verdict.action.value,
        "stage": verdict.stage or None,
        "reason": verdict.reason or None,
        "image": position,
        "images": len(report),
        "frame": verdict.frame,
        "match": _match(verdict.matches[0]) if verdict.matches else None,
        "matches": len(verdict.matches),
        "verified": verdict.verified,
        "input_similarity": verdict.input_similarity,
        "index_version": report.index_version,
        "seconds": round(sum(report.seconds.values()), 4),
    }


def _match(match: Match) -> dict[str, Any]:
    """A reference by its number: its path and caption belong into the decision log, which few may read."""
    return {
        "reference": match.record.id,
        "collections": list(match.record.collections),
        "cluster_size": match.record.cluster_size,
        "similarity": round(match.similarity, 4),
        "pdq_bits": match.bits,
        "evidence": match.evidence.kind.value if match.evidence else None,
    }
