"""The sidecar's own metrics, on the registry of the guard's. Counts; decides nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import Counter, Gauge, Histogram

from guard.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from prometheus_client import CollectorRegistry

__all__ = ["GONE", "REJECTIONS", "UNKNOWN_ROUTE", "ServerMetrics"]

REJECTIONS = ("queue_full", "uploads_full", "too_slow", "too_large", "disconnected")
UNKNOWN_ROUTE = "unknown"
_SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
GONE = 499
"""nginx's code for a client that went away before its answer; nobody reads it."""


class ServerMetrics:
    """Every series exists from the start. routes: the paths that are served, as declared, and what they may answer.

    Raises ConfigError if the registry holds these metrics already.
    """

    def __init__(self, registry: CollectorRegistry, routes: Mapping[str, Iterable[int]]) -> None:
        try:
            self._register(registry)
        except ValueError as exc:
            raise ConfigError(f"this guard is served already ({exc}); open another one for a second server") from exc
        for route, codes in {**routes, UNKNOWN_ROUTE: (404, 405)}.items():
            self.seconds.labels(route)
            for code in {*codes, 403, 421, 500}:
                self.requests.labels(route, str(code))
        for reason in REJECTIONS:
            self.rejected.labels(reason)

    def _register(self, registry: CollectorRegistry) -> None:
        self.requests = Counter(
            "memguard_http_requests_total", "Requests that were answered.", ["route", "code"], registry=registry
        )
        self.seconds = Histogram(
            "memguard_http_request_duration_seconds",
            "Wall-clock time from a request's first byte to the last of its answer.",
            ["route"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.queue = Gauge(
            "memguard_queue_images",
            "Images that are accepted and not answered yet.",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self.rejected = Counter(
            "memguard_rejected_total", "Requests that were turned away or lost.", ["reason"], registry=registry
        )
