"""What traces and log lines add to a check of one image: nothing worth a word unless they are asked for.

    python tests/benchmarks/watching.py [--quick] [--json OUT]

The calls that a check makes for them, by themselves: beside a whole check a microsecond cannot be seen. The fastest of
many rounds, so that other work on the machine counts little. The SDK's rows need opentelemetry-sdk and are left out
without it.
"""

from __future__ import annotations

import io
import logging
import timeit
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

from _report import finish, options_parser, row

from guard.decision_lines import log_decisions
from guard.logs import JsonFormatter
from guard.stages import Lap
from guard.tracing import trace
from guard.types import Action, Decision, Match, Record, Report, Status, Verdict

MATCH = Match(Record(1041, "train/1041.jpg", "0" * 64), 0.97, 6)
BLOCKED = Report((Verdict(Status.SUCCESS, Decision.BLOCK, (MATCH,), ("similarity",), Action.REPLACED),), "txt2img")
ALLOWED = Report((Verdict(Status.SUCCESS, Decision.ALLOW, (MATCH,), ("similarity",)),), "txt2img")
LAPS = [Lap(stage, 0.0, 0.01) for stage in ("pixels", "search", "embed", "search", "decide")]


def run(rounds: int) -> list[dict[str, Any]]:
    def microseconds(call: Callable[[], object], number: int) -> float:
        return 1e6 * min(timeit.repeat(call, number=number, repeat=rounds)) / number

    logger = logging.getLogger("guard.decisions")
    handler = logging.StreamHandler(io.StringIO())
    handler.setFormatter(JsonFormatter())
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False

    def line(report: Report, share: float) -> Callable[[], None]:
        return lambda: log_decisions(report, share, index="training.index", events={}, span=None)

    def traced() -> object:
        return trace(BLOCKED, LAPS)

    rows = [
        row("tracing, where OpenTelemetry is not imported", microseconds(traced, 5000), "us", at_most=5),
        row("a log line of JSON", microseconds(line(BLOCKED, 0.0), 500), "us"),
        row("an allowed image that gets no line", microseconds(line(ALLOWED, 0.0), 5000), "us", at_most=5),
    ]
    if find_spec("opentelemetry.sdk") is None:
        return rows
    from opentelemetry import trace as api
    from opentelemetry.sdk.trace import TracerProvider

    rows.append(row("tracing, where it is imported and not set up", microseconds(traced, 5000), "us", at_most=5))
    api.set_tracer_provider(TracerProvider())
    recorded = microseconds(traced, 200)
    return [*rows, row("six spans and an event, made by the SDK and exported nowhere", recorded, "us")]


def main() -> None:
    options = options_parser(__doc__).parse_args()
    rounds = 5 if options.quick else 30
    finish("watching", run(rounds), options.json, rounds=rounds)


if __name__ == "__main__":
    main()
