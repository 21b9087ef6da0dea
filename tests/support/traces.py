"""OpenTelemetry's SDK with exporters that keep what they get. It lets a process set providers once; tests may again."""

from __future__ import annotations

import opentelemetry._logs._internal as logs_api
import pytest
from opentelemetry import trace as trace_api
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, Sampler

__all__ = ["checks", "keep_events", "keep_spans"]


def keep_spans(monkeypatch: pytest.MonkeyPatch, sampler: Sampler = ALWAYS_ON) -> InMemorySpanExporter:
    """Trace until the test ends."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(sampler=sampler, shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace_api, "_TRACER_PROVIDER", provider)
    return exporter


def keep_events(monkeypatch: pytest.MonkeyPatch) -> InMemoryLogRecordExporter:
    """Take events until the test ends."""
    exporter = InMemoryLogRecordExporter()
    provider = LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))
    monkeypatch.setattr(logs_api, "_LOGGER_PROVIDER", provider)
    return exporter


def checks(spans: InMemorySpanExporter) -> list[ReadableSpan]:
    return [span for span in spans.get_finished_spans() if span.name == "memguard.check"]
