"""Checks as spans of OpenTelemetry, where the host traces. Knows reports and laps; imports no OpenTelemetry.

A host that traces has imported `opentelemetry.trace` and set a provider: both are looked for among the modules that are
there already, so that nobody else pays. Spans are made when the check is over, from the times that its clock kept: its
stages run on a thread that has no context of the caller's.

  memguard.check          one a call, child of the span that was current when it began
    memguard.pixels …     one a stage
  gen_ai.evaluation.result  one an image: an event of the Logs API, or of the check's span where none is set up

Names and attributes of the event: OpenTelemetry's conventions for generative AI, "in development" as of 2026.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from guard._version import __version__
from guard.stages import Lap
from guard.types import Report, Status, Verdict

__all__ = ["EVALUATION", "SpanName", "caller", "trace"]

_log = logging.getLogger(__name__)

EVALUATION = "gen_ai.evaluation.result"


@dataclass(frozen=True, slots=True)
class SpanName:
    """By what a log line names the span of its check."""

    trace_id: str
    """32 hexadecimal digits."""
    span_id: str
    """16 hexadecimal digits."""


def caller() -> Any:
    """The current context, to be handed to `trace` from another thread; None where nobody traces."""
    return sys.modules["opentelemetry.context"].get_current() if _tracing() else None


def trace(report: Report, laps: Sequence[Lap], context: Any = None) -> SpanName | None:
    """Make the spans and events of a finished check. Never raises.

    laps: of the check's clock. context: the caller's, if it is not the current one.
    Returns None where nobody traces, or where the host's sampler does not want this one.
    """
    api = _tracing()
    if api is None or not laps:
        return None
    try:
        return _trace(api, report, laps, context)
    except Exception as exc:  # an observer must not cost a verdict
        _log.debug("the check was not traced: %s", exc)
        return None


def _tracing() -> ModuleType | None:
    api = sys.modules.get("opentelemetry.trace")
    if api is None or isinstance(api.get_tracer_provider(), api.ProxyTracerProvider):
        return None
    return api


def _trace(api: ModuleType, report: Report, laps: Sequence[Lap], context: Any) -> SpanName | None:
    to_epoch = time.time_ns() - time.perf_counter_ns()

    def epoch_ns(seconds: float) -> int:
        return int(seconds * 1e9) + to_epoch

    tracer = api.get_tracer("memorization-guard", __version__)
    span = tracer.start_span("memguard.check", context, attributes=_summary(report), start_time=epoch_ns(laps[0].began))
    if not span.is_recording():
        return None
    within = api.set_span_in_context(span, context)
    for lap in (*laps, *_unfinished(report, laps)):
        child = tracer.start_span(f"memguard.{lap.stage}", within, start_time=epoch_ns(lap.began))
        if lap.error:
            child.set_attribute("error.type", lap.error)
            child.set_status(api.StatusCode.ERROR)
        child.end(epoch_ns(lap.ended))
    failed = [verdict for verdict in report if verdict.status is Status.ERROR]
    if failed:
        span.set_attribute("error.type", failed[0].reason)
        span.set_status(api.StatusCode.ERROR, f"{len(failed)} of {len(report)} images, stage {failed[0].stage}")
    # The conventions want the event at the operation that is judged: the span in which the pipeline was called.
    judged = context if api.get_current_span(context).get_span_context().is_valid else within
    _evaluate(report, span, judged)
    span.end()
    name = span.get_span_context()
    return SpanName(f"{name.trace_id:032x}", f"{name.span_id:016x}")


def _unfinished(report: Report, laps: Sequence[Lap]) -> Iterator[Lap]:
    """The stage in which the deadline came: it has no lap, since it still runs."""
    for verdict in report:
        if verdict.status is Status.ERROR and verdict.reason == "deadline":
            yield Lap(verdict.stage, laps[-1].ended, time.perf_counter(), "deadline")
            return


def _summary(report: Report) -> dict[str, Any]:
    decisions = [verdict.decision.value for verdict in report if verdict.decision is not None]
    return {
        "memguard.pipeline": report.pipeline,
        "memguard.mode": report.mode.value,
        "memguard.index.version": report.index_version,
        "memguard.images": len(report),
        **{f"memguard.images.{word}": decisions.count(word) for word in ("allow", "flag", "block")},
        "memguard.images.withheld": len(report.withheld),
    }


def _evaluate(report: Report, span: Any, context: Any) -> None:
    logs = sys.modules.get("opentelemetry._logs")
    logger = logs.get_logger("memorization-guard", __version__) if logs is not None else None
    for position, verdict in enumerate(report):
        attributes = _judgement(position, verdict)
        if logger is not None and logger.enabled(context=context, event_name=EVALUATION):
            logger.emit(timestamp=time.time_ns(), context=context, event_name=EVALUATION, attributes=attributes)
        else:
            span.add_event(EVALUATION, attributes)


def _judgement(position: int, verdict: Verdict) -> dict[str, Any]:
    """No explanation among them: reasons name files, and those stay out of logs."""
    found: dict[str, Any] = {
        "gen_ai.evaluation.name": "memorization",
        "memguard.image": position,
        "memguard.action": verdict.action.value,
    }
    if verdict.decision is not None:
        found["gen_ai.evaluation.score.label"] = verdict.decision.value
    if verdict.matches:
        found["gen_ai.evaluation.score.value"] = max(match.similarity for match in verdict.matches)
        found["memguard.reference"] = verdict.matches[0].record.id
    if verdict.status is Status.ERROR:
        found["error.type"] = verdict.reason
    return found
