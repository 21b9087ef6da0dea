"""What the code itself says of its metrics, for checks of rules and dashboards."""

from __future__ import annotations

from functools import cache

from prometheus_client import CollectorRegistry

from guard import GuardMetrics
from guard_server.app import _answers
from guard_server.metrics import ServerMetrics
from tests.support.toys import MemoryIndex, ToyEmbedder, picture

__all__ = ["registry"]


@cache
def registry() -> CollectorRegistry:
    """Every metric that the library and the sidecar can expose, with the series of one pipeline and one index."""
    metrics = GuardMetrics()
    metrics.add_pipeline("p")
    metrics.set_index("x.index", MemoryIndex(ToyEmbedder(), {"0.png": picture(0)}), loaded_at=0)
    ServerMetrics(metrics.registry, _answers())
    return metrics.registry
