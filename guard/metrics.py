"""The guard's Prometheus metrics, as one object on a registry. Counts; decides nothing. Nothing registers at import."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import product
from time import perf_counter
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, start_http_server

from guard._version import __version__
from guard.errors import CheckError, ConfigError, IndexLoadError, InputError
from guard.originals import ORIGINAL_RESULTS
from guard.types import Decision, Mode, Report, Status

if TYPE_CHECKING:
    from http.server import HTTPServer

    from prometheus_client import Metric

    from guard.embedders.base import EmbedderSpec
    from guard.indexes.base import Index
    from guard.originals import OriginalResult
    from guard.rules import Rule

__all__ = [
    "CANARY_RESULTS",
    "DROP_REASONS",
    "FAILURE_REASONS",
    "RELOAD_RESULTS",
    "REVIEW_OUTCOMES",
    "SKIP_REASONS",
    "STAGES",
    "GuardMetrics",
    "failure_reason",
]

STAGES = ("pixels", "embed", "search", "verify", "decide", "host")
FAILURE_REASONS = ("deadline", "input", "index", "memory", "runtime")
SKIP_REASONS = ("disabled", "latent", "step_callback", "form")
DROP_REASONS = ("queue_full", "locked", "disk", "unwritable", "damaged", "closed", "error")
CANARY_RESULTS = ("pass", "miss", "error")
RELOAD_RESULTS = ("loaded", "refused")
REVIEW_OUTCOMES = ("confirm", "not_a_copy", "unsure", "undo")

_SIMILARITY_GRID = tuple(round(0.05 * i, 2) for i in range(21))
_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)
_IMAGES = (1, 2, 4, 8, 16, 32, 64, 128)


def failure_reason(error: BaseException) -> str:
    """One of FAILURE_REASONS: a closed set, so that it can be a label."""
    if isinstance(error, CheckError) and error.reason == "deadline":
        return "deadline"
    if isinstance(error, InputError):
        return "input"
    if isinstance(error, IndexLoadError):
        return "index"
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, MemoryError) or type(cause).__name__ == "OutOfMemoryError":
            return "memory"
        cause = cause.__cause__
    return "runtime"


class GuardMetrics:
    """Every metric of one process (or, with PROMETHEUS_MULTIPROC_DIR, of all its workers).

    registry: where to register; None makes a registry of its own, which `text` and `serve` show.
    thresholds: similarities at which the histogram of the nearest match gets a bucket of its own.
    Raises ConfigError if the registry already holds these metrics: share one GuardMetrics instead.
    """

    shown = True
    """False of metrics that nobody will see."""

    def __init__(self, registry: CollectorRegistry | None = None, *, thresholds: tuple[float, ...] = ()) -> None:
        self.registry = registry if registry is not None else CollectorRegistry()
        self._known: set[str] = set()
        self._lock = threading.Lock()
        try:
            self._register(self.registry, thresholds)
        except ValueError as exc:
            raise ConfigError(
                f"this registry already holds the guard's metrics ({exc}); share the first guard's `metrics`"
            ) from exc

    def _register(self, registry: CollectorRegistry, thresholds: tuple[float, ...]) -> None:
        def counter(name: str, text: str, labels: tuple[str, ...]) -> Counter:
            return Counter(f"memguard_{name}", text, labels, registry=registry)

        def gauge(name: str, text: str, labels: tuple[str, ...], mode: str = "mostrecent") -> Gauge:
            return Gauge(f"memguard_{name}", text, labels, registry=registry, multiprocess_mode=mode)  # type: ignore[arg-type]

        def histogram(name: str, text: str, labels: tuple[str, ...], buckets: tuple[float, ...]) -> Histogram:
            return Histogram(f"memguard_{name}", text, labels, buckets=buckets, registry=registry)

        # build_info first: if it is there already, nothing else gets registered before the error.
        self._build_info = gauge("build_info", "Constant 1; the version is the label.", ("version",))
        self._embedder_info = gauge("embedder_info", "Constant 1; the embedder in use.", ("name", "provider", "sha256"))
        self._images = counter("images_total", "Images checked.", ("pipeline", "decision", "mode"))
        self._would_block = counter("would_block_total", "Blocks that modes flag and shadow let pass.", ("pipeline",))
        self._failures = counter(
            "failures_total", "Images whose check failed.", ("pipeline", "stage", "reason", "outcome")
        )
        self._skipped = counter("skipped_total", "Images that were not checked.", ("pipeline", "reason"))
        buckets = tuple(sorted({*_SIMILARITY_GRID, *(round(t, 6) for t in thresholds)}))
        self._top1 = histogram("top1_similarity", "Similarity of the nearest reference.", ("pipeline",), buckets)
        self._check_s = histogram("check_duration_seconds", "Wall-clock time of a check.", ("pipeline",), _SECONDS)
        self._stage_s = histogram("stage_duration_seconds", "Wall-clock time of a stage.", ("stage",), _SECONDS)
        self._batch = histogram("batch_images", "Images a check.", ("pipeline",), _IMAGES)
        self._inflight = gauge("inflight_images", "Images being checked now.", ("pipeline",), "livesum")
        self._threshold = gauge("threshold", "Similarity from which the action is taken.", ("action", "collection"))
        self._vectors = gauge("index_vectors", "References in the index.", ("index",))
        self._built = gauge("index_built_timestamp_seconds", "When the index was built.", ("index",))
        self._loaded = gauge("index_loaded_timestamp_seconds", "When this process loaded it.", ("index",))
        self._stale = gauge("calibration_stale", "1 if the index's calibration should be made anew.", ("index",))
        self._expected = gauge("expected_flag_ratio", "Share of clean images that are flagged.", ("index",))
        self._dropped = counter("events_dropped_total", "Events that the decision log could not keep.", ("reason",))
        self._reviews = counter("reviews_total", "Reviews of logged decisions.", ("outcome",))
        self._canaries = counter("canary_checks_total", "Checks of pictures whose verdict is known.", ("result",))
        self._reloads = counter("index_reloads_total", "New versions of an index that were met.", ("index", "result"))
        self._originals = counter("originals_total", "Files of references that a check asked for.", ("index", "result"))
        for result in CANARY_RESULTS:
            self._canaries.labels(result)
        for reason in DROP_REASONS:
            self._dropped.labels(reason)
        for outcome in REVIEW_OUTCOMES:
            self._reviews.labels(outcome)
        self._build_info.labels(__version__).set(1)
        for stage in STAGES[:-1]:
            self._stage_s.labels(stage)

    def add_pipeline(self, pipeline: str) -> None:
        """Create every series of a pipeline at 0, so that a rate over it is 0 and not absent."""
        with self._lock:
            if pipeline in self._known:
                return
            for decision, mode in product(Decision, Mode):
                self._images.labels(pipeline, decision.value, mode.value)
            for stage, reason, outcome in product(STAGES, FAILURE_REASONS, ("open", "closed")):
                self._failures.labels(pipeline, stage, reason, outcome)
            for reason in SKIP_REASONS:
                self._skipped.labels(pipeline, reason)
            for metric in (self._would_block, self._top1, self._check_s, self._batch, self._inflight):
                metric.labels(pipeline)
            self._known.add(pipeline)

    def set_index(self, name: str, index: Index, *, loaded_at: float) -> None:
        """Describe the index in use. loaded_at: seconds since the epoch."""
        self._vectors.labels(name).set(index.manifest.count)
        self._built.labels(name).set(index.manifest.built_timestamp)
        self._loaded.labels(name).set(loaded_at)
        self.add_index(name)

    def add_index(self, name: str) -> None:
        """Create the series of an index's new versions and of its originals at 0."""
        for result in RELOAD_RESULTS:
            self._reloads.labels(name, result)
        for outcome in ORIGINAL_RESULTS:
            self._originals.labels(name, outcome)

    def set_calibration(self, name: str, *, stale: bool, expected: float) -> None:
        """Describe the calibration of the index in use. expected: share of clean images that are flagged, or nan."""
        self._stale.labels(name).set(stale)
        self._expected.labels(name).set(expected)

    def set_embedder(self, spec: EmbedderSpec, provider: str) -> None:
        self._embedder_info.labels(spec.name, provider, spec.weights_sha256).set(1)

    def set_thresholds(self, rules: Iterable[Rule]) -> None:
        """Of each collection, the similarities from which it flags, blocks or allows; none for what it never does."""
        for rule in rules:
            actions = {"allow": rule.flag} if rule.at_most is Decision.ALLOW else {"flag": rule.flag}
            if rule.at_most is Decision.BLOCK:
                actions["block"] = rule.block
            for action, similarity in actions.items():
                self._threshold.labels(action, rule.collection).set(similarity)

    @contextmanager
    def check(self, pipeline: str, images: int) -> Iterator[None]:
        """Time one check and hold its images in flight."""
        self.add_pipeline(pipeline)
        inflight = self._inflight.labels(pipeline)
        inflight.inc(images)
        started = perf_counter()
        try:
            yield
        finally:
            self._check_s.labels(pipeline).observe(perf_counter() - started)
            self._batch.labels(pipeline).observe(images)
            inflight.dec(images)

    def count(self, report: Report) -> None:
        """Count the verdicts of a finished report."""
        pipeline, mode = report.pipeline, report.mode
        self.add_pipeline(pipeline)
        for verdict in report:
            if verdict.status is Status.SKIPPED:
                self._skipped.labels(pipeline, verdict.reason).inc()
            elif verdict.status is Status.ERROR:
                outcome = "closed" if verdict.withheld else "open"
                self._failures.labels(pipeline, verdict.stage, verdict.reason, outcome).inc()
            elif verdict.decision is not None:
                self._images.labels(pipeline, verdict.decision.value, mode.value).inc()
                if verdict.matches:  # the first one may be there by its hash
                    self._top1.labels(pipeline).observe(max(match.similarity for match in verdict.matches))
                if verdict.decision is Decision.BLOCK and mode is not Mode.ENFORCE:
                    self._would_block.labels(pipeline).inc()
        for stage, seconds in report.seconds.items():
            self._stage_s.labels(stage).observe(seconds)

    def drop_events(self, reason: str, events: int) -> None:
        """Count events that the decision log could not keep; reason is one of DROP_REASONS."""
        self._dropped.labels(reason).inc(events)

    def count_review(self, outcome: str) -> None:
        """Count a review; outcome is one of REVIEW_OUTCOMES."""
        self._reviews.labels(outcome).inc()

    def count_canary(self, result: str) -> None:
        """Count a check of a canary; result is one of CANARY_RESULTS."""
        self._canaries.labels(result).inc()

    def count_reload(self, index: str, result: str) -> None:
        """Count a new version of an index; result is one of RELOAD_RESULTS."""
        self._reloads.labels(index, result).inc()

    def count_original(self, index: str, result: OriginalResult) -> None:
        """Count a reference's own file that pixels were to be compared with; see guard.originals."""
        self._originals.labels(index, result).inc()

    def forget_embedder(self, spec: EmbedderSpec, provider: str) -> None:
        """Another embedder is in use instead."""
        self._embedder_info.labels(spec.name, provider, spec.weights_sha256).set(0)

    def text(self) -> str:
        """All metrics in Prometheus' text format; of all workers in multiprocess mode."""
        return generate_latest(self._exposed()).decode()

    def collect(self) -> Iterable[Metric]:
        """The same as the Prometheus client's own objects."""
        return self._exposed().collect()

    def serve(self, port: int, addr: str = "127.0.0.1") -> HTTPServer:
        """Serve /metrics on a daemon thread, on loopback unless told otherwise; port 0 takes a free one.

        Returns the server; `.server_port` says the port, `.shutdown()` ends it.
        Raises ConfigError if the port is taken.
        """
        try:
            server, _thread = start_http_server(port, addr=addr, registry=self._exposed())
        except (OSError, OverflowError) as exc:  # OverflowError: no such port
            reason = getattr(exc, "strerror", None) or exc
            raise ConfigError(f"metrics cannot be served on {addr}:{port}: {reason}") from exc
        return server

    def _exposed(self) -> CollectorRegistry:
        if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
            return self.registry
        from prometheus_client import multiprocess

        together = CollectorRegistry()
        multiprocess.MultiProcessCollector(together)  # type: ignore[no-untyped-call]
        return together
