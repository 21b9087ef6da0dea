"""What the code itself says of its metrics, for checks of rules and dashboards."""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from guard import GuardMetrics

__all__ = ["registry"]


def registry() -> CollectorRegistry:
    """Every metric that the software can expose, with the series of one pipeline, "p"."""
    metrics = GuardMetrics()
    metrics.add_pipeline("p")
    return metrics.registry
