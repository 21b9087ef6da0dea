"""A guard whose checks nobody counts, logs or keeps: for checks that no user asked for. Decides as the one it is of."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry

from guard.config import GuardConfig
from guard.events.config import EventsConfig
from guard.guard import Guard
from guard.metrics import GuardMetrics

if TYPE_CHECKING:
    from guard.embedders.base import EmbedderSpec
    from guard.indexes.base import Index
    from guard.originals import OriginalResult
    from guard.rules import Rule
    from guard.types import Report

__all__ = ["UnseenMetrics", "quiet", "unseen"]


def unseen(guard: Guard) -> Guard:
    """The same index, embedder and settings, with other metrics and no log."""
    return Guard(
        guard.index,
        guard.embedder,
        config=quiet(guard.asked),
        metrics=UnseenMetrics(),
        name=guard.name,
        verifier=guard.examiner.verifier,
        calibration=guard.calibration,
    )


def quiet(config: GuardConfig) -> GuardConfig:
    """The settings without those that keep a trace of a check."""
    return config.model_copy(update={"events": EventsConfig(), "log_decisions": None})


class UnseenMetrics(GuardMetrics):
    """Takes everything and shows nothing.

    Other metrics on a registry of their own would not do: with PROMETHEUS_MULTIPROC_DIR all of one name are one.
    """

    shown = False

    def __init__(self) -> None:
        self.registry = CollectorRegistry()

    def add_pipeline(self, pipeline: str) -> None: ...

    def set_index(self, name: str, index: Index, *, loaded_at: float) -> None: ...

    def add_index(self, name: str) -> None: ...

    def set_calibration(self, name: str, *, stale: bool, expected: float) -> None: ...

    def set_embedder(self, spec: EmbedderSpec, provider: str) -> None: ...

    def set_thresholds(self, rules: Iterable[Rule]) -> None: ...

    @contextmanager
    def check(self, pipeline: str, images: int) -> Iterator[None]:
        del pipeline, images
        yield

    def count(self, report: Report) -> None: ...

    def drop_events(self, reason: str, events: int) -> None: ...

    def count_review(self, outcome: str) -> None: ...

    def count_canary(self, result: str) -> None: ...

    def count_reload(self, index: str, result: str) -> None: ...

    def count_original(self, index: str, result: OriginalResult) -> None: ...

    def forget_embedder(self, spec: EmbedderSpec, provider: str) -> None: ...
