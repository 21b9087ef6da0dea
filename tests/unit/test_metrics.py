"""The metrics' registry, their text and their server."""

from __future__ import annotations

import urllib.request

import pytest
from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from guard import ConfigError, GuardMetrics, InputError
from guard.metrics import FAILURE_REASONS, failure_reason
from tests.support.waiting import WAIT_S


def test_nothing_registers_at_import_or_on_the_global_registry() -> None:
    GuardMetrics()
    assert not [name for name in REGISTRY._names_to_collectors if name.startswith("memguard")]


def test_series_of_a_pipeline_start_at_zero() -> None:
    metrics = GuardMetrics(CollectorRegistry())
    metrics.add_pipeline("p")
    value = metrics.registry.get_sample_value
    assert value("memguard_images_total", {"pipeline": "p", "decision": "block", "mode": "enforce"}) == 0
    labels = {"pipeline": "p", "stage": "host", "reason": "runtime", "outcome": "closed"}
    assert value("memguard_failures_total", labels) == 0
    assert value("memguard_skipped_total", {"pipeline": "p", "reason": "latent"}) == 0


def test_text_is_valid_exposition_and_thresholds_are_buckets() -> None:
    metrics = GuardMetrics(thresholds=(0.61, 0.758))
    metrics.add_pipeline("p")
    families = {f.name: f for f in text_string_to_metric_families(metrics.text())}
    buckets = {s.labels["le"] for s in families["memguard_top1_similarity"].samples if s.name.endswith("_bucket")}
    assert {"0.61", "0.758", "+Inf"} <= buckets
    assert all(f.documentation for f in families.values())


def test_a_failed_registration_leaves_nothing_behind() -> None:
    metrics = GuardMetrics()
    before = set(metrics.registry._names_to_collectors)
    with pytest.raises(ConfigError):
        GuardMetrics(metrics.registry)
    assert set(metrics.registry._names_to_collectors) == before


def test_serve_shows_the_same_text_and_a_taken_port_is_named() -> None:
    metrics = GuardMetrics()
    server = metrics.serve(0)
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}/metrics", timeout=WAIT_S) as response:
            assert b"memguard_build_info" in response.read()
        with pytest.raises(ConfigError, match=str(server.server_port)):
            metrics.serve(server.server_port)
        with pytest.raises(ConfigError, match="99999"):
            metrics.serve(99_999)
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    ("error", "reason"), [(InputError("x"), "input"), (MemoryError(), "memory"), (RuntimeError("x"), "runtime")]
)
def test_failure_reasons_are_a_closed_set(error: Exception, reason: str) -> None:
    assert failure_reason(error) == reason
    assert reason in FAILURE_REASONS
