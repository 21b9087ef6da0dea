"""Spans and events of checks, as OpenTelemetry's own SDK records them."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from opentelemetry import trace as trace_api
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import StatusCode

from guard import Guard, GuardConfig
from guard.guard import Call
from guard.tracing import EVALUATION
from tests.support.toys import MemoryIndex, ToyEmbedder, picture
from tests.support.traces import checks, keep_events, keep_spans
from tests.support.waiting import WAIT_S, until


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    return keep_spans(monkeypatch)


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> InMemoryLogRecordExporter:
    return keep_events(monkeypatch)


def guard(embedder: ToyEmbedder | None = None, **settings: object) -> Guard:
    toy = embedder or ToyEmbedder()
    index = MemoryIndex(ToyEmbedder(), {f"private/{seed}.png": picture(seed) for seed in range(4)})
    return Guard(index, toy, config=GuardConfig.model_validate({"deadline_s": WAIT_S, **settings}))


def of_check(spans: InMemorySpanExporter) -> tuple[ReadableSpan, list[ReadableSpan]]:
    """The check's span and its stages, in the order in which they began."""
    (check,) = checks(spans)
    stages = [span for span in spans.get_finished_spans() if span.parent == check.context]
    return check, sorted(stages, key=lambda span: span.start_time)


def test_a_check_is_a_span_with_its_stages_as_children(spans: InMemorySpanExporter) -> None:
    report = guard().check([picture(1), picture(50)], pipeline="txt2img")
    check, stages = of_check(spans)
    for stage, seconds in report.seconds.items():  # a stage may run more than once
        of_stage = [span for span in stages if span.name == f"memguard.{stage}"]
        assert sum(span.end_time - span.start_time for span in of_stage) / 1e9 == pytest.approx(seconds, abs=1e-5)
    assert {span.name for span in stages} == {f"memguard.{stage}" for stage in report.seconds}
    assert [stages[0].name, stages[-1].name] == ["memguard.pixels", "memguard.decide"]
    assert dict(check.attributes) == {
        "memguard.pipeline": "txt2img",
        "memguard.mode": "enforce",
        "memguard.index.version": "0001",
        "memguard.images": 2,
        "memguard.images.allow": 1,
        "memguard.images.flag": 0,
        "memguard.images.block": 1,
        "memguard.images.withheld": 1,
    }
    assert check.status.status_code is StatusCode.UNSET
    for span in stages:
        assert check.start_time <= span.start_time <= span.end_time <= check.end_time


def test_it_is_a_child_of_the_callers_span_and_so_are_the_verdicts(
    spans: InMemorySpanExporter, events: InMemoryLogRecordExporter
) -> None:
    with trace_api.get_tracer("host").start_as_current_span("generate") as generation:
        guard().check([picture(1), picture(50)])
    check, _ = of_check(spans)
    assert check.parent == generation.get_span_context()
    assert check.events == ()
    found = [entry.log_record for entry in events.get_finished_logs()]
    assert [record.event_name for record in found] == [EVALUATION] * 2
    assert {record.span_id for record in found} == {generation.get_span_context().span_id}
    copy, other = (dict(record.attributes) for record in found)
    assert copy.pop("gen_ai.evaluation.score.value") == pytest.approx(1, abs=1e-5)
    assert copy == {
        "gen_ai.evaluation.name": "memorization",
        "gen_ai.evaluation.score.label": "block",
        "memguard.image": 0,
        "memguard.action": "replaced",
        "memguard.reference": 1,
    }
    assert other["gen_ai.evaluation.score.label"] == "allow"
    assert other["gen_ai.evaluation.score.value"] < 0.8


def test_the_names_are_those_of_the_conventions() -> None:
    conventions = pytest.importorskip("opentelemetry.semconv._incubating.attributes.gen_ai_attributes")
    named = {conventions.GEN_AI_EVALUATION_NAME, conventions.GEN_AI_EVALUATION_SCORE_LABEL,
             conventions.GEN_AI_EVALUATION_SCORE_VALUE}  # fmt: skip
    assert named == {f"gen_ai.evaluation.{part}" for part in ("name", "score.label", "score.value")}


def test_without_a_logger_provider_the_verdicts_are_events_of_the_span(spans: InMemorySpanExporter) -> None:
    guard().check(picture(1))
    check, _ = of_check(spans)
    (event,) = check.events
    assert event.name == EVALUATION
    assert event.attributes["gen_ai.evaluation.score.label"] == "block"


def test_nothing_in_a_trace_names_a_file_or_a_prompt(
    spans: InMemorySpanExporter, events: InMemoryLogRecordExporter
) -> None:
    guard().check(picture(1), prompts="a secret prompt")
    everything = "".join(span.to_json() for span in spans.get_finished_spans())
    for entry in events.get_finished_logs():
        everything += f"{entry.log_record.event_name} {dict(entry.log_record.attributes)} {entry.log_record.body}"
    assert EVALUATION in everything
    assert "private" not in everything
    assert "secret" not in everything


def test_a_failed_stage_is_an_error_of_its_own_span_and_of_the_check(spans: InMemorySpanExporter) -> None:
    level = round(float(np.asarray(picture(50)).mean()))
    guard(ToyEmbedder(fail_on=(level,))).check(picture(50))
    check, stages = of_check(spans)
    assert [span.name for span in stages if span.status.status_code is StatusCode.ERROR] == ["memguard.embed"]
    assert stages[-1].attributes == {"error.type": "runtime"}
    assert (check.status.status_code, check.status.description) == (StatusCode.ERROR, "1 of 1 images, stage embed")
    assert check.attributes["error.type"] == "runtime"
    assert dict(check.events[0].attributes)["error.type"] == "runtime"
    assert "gen_ai.evaluation.score.label" not in check.events[0].attributes


def test_a_stage_that_runs_into_the_deadline_has_a_span_though_it_has_not_ended(spans: InMemorySpanExporter) -> None:
    release = threading.Event()

    class Hanging(MemoryIndex):
        def search(self, xq, k):  # type: ignore[no-untyped-def]
            release.wait(WAIT_S)
            return super().search(xq, k)

    hanging = Guard(Hanging(ToyEmbedder(), {"a.png": picture(0)}), ToyEmbedder(), config=GuardConfig(deadline_s=0.2))

    def last_stage() -> str:
        spans.clear()
        hanging.check(picture(1))
        return of_check(spans)[1][-1].name

    until(lambda: last_stage() == "memguard.search")  # a busy machine may not even come to it
    release.set()
    check, stages = of_check(spans)
    assert stages[-1].attributes == {"error.type": "deadline"}
    assert check.status.status_code is StatusCode.ERROR


def test_calls_that_are_checked_together_keep_their_callers_spans(spans: InMemorySpanExporter) -> None:
    tracer, calls, parents = trace_api.get_tracer("host"), [], []
    for seed in (1, 50):
        with tracer.start_as_current_span(f"request {seed}") as span:
            calls.append(Call([picture(seed)], pipeline="txt2img"))
            parents.append(span.get_span_context())
    worker = threading.Thread(target=guard().check_together, args=(calls,))
    worker.start()
    worker.join()
    found = checks(spans)
    assert [check.parent for check in found] == parents
    assert [check.attributes["memguard.images.block"] for check in found] == [1, 0]


def test_what_the_hosts_sampler_leaves_out_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    exporter = keep_spans(monkeypatch, ALWAYS_OFF)
    guard().check(picture(1))
    assert exporter.get_finished_spans() == ()


def test_a_broken_tracer_costs_no_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(TracerProvider):
        def get_tracer(self, *args: object, **kwargs: object):  # type: ignore[no-untyped-def]
            raise RuntimeError("no tracer")

    monkeypatch.setattr(trace_api, "_TRACER_PROVIDER", Broken())
    assert guard().check(picture(1)).blocked == (0,)


def test_without_a_provider_nothing_is_imported() -> None:
    code = (
        "import sys\n"
        "from tests.support.toys import MemoryIndex, ToyEmbedder, picture\n"
        "from guard import Guard\n"
        "Guard(MemoryIndex(ToyEmbedder(), {'a.png': picture(0)}), ToyEmbedder()).check(picture(0))\n"
        "assert not [name for name in sys.modules if name.startswith('opentelemetry')]\n"
    )
    environ = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, timeout=WAIT_S)
    assert done.returncode == 0, done.stderr
