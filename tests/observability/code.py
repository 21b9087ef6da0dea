"""What the code itself says of its metrics, for checks of rules and dashboards."""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from guard import GuardMetrics
from guard_server.app import _answers
from guard_server.metrics import ServerMetrics

__all__ = ["registry"]


def registry() -> CollectorRegistry:
    """Every metric that the library and the sidecar can expose, with the series of one pipeline, "p"."""
    metrics = GuardMetrics()
    metrics.add_pipeline("p")
    ServerMetrics(metrics.registry, _answers())
    return metrics.registry
