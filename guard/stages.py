"""What every stage of a check shares: its clock, and how a foreign error becomes one of ours.

Knows no pixels, embedder or index.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from guard.errors import CheckError, GuardError
from guard.metrics import STAGES, failure_reason
from guard.types import Status, Verdict

__all__ = ["Clock", "Lap", "failed", "translated"]


class Lap(NamedTuple):
    """One run of a stage."""

    stage: str
    began: float
    ended: float
    """Readings of `time.perf_counter`."""
    error: str = ""
    """Of one that failed: a word of guard.metrics.FAILURE_REASONS."""


class Clock:
    """Seconds of each stage, its runs, and which stage runs now; foreign errors leave a stage as CheckError."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.laps: list[Lap] = []
        self.stage = "pixels"

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        self.stage = stage
        began, error = time.perf_counter(), ""
        try:
            yield
        except Exception as exc:
            error = failure_reason(exc)
            if isinstance(exc, GuardError):
                raise
            raise translated(exc, stage) from exc
        finally:
            ended = time.perf_counter()
            self.seconds[stage] = self.seconds.get(stage, 0.0) + ended - began
            self.laps.append(Lap(stage, began, ended, error))

    def by_stage(self) -> dict[str, float]:
        """Seconds, in the order of the stages."""
        return {stage: self.seconds[stage] for stage in STAGES if stage in self.seconds}


def translated(exc: Exception, stage: str) -> CheckError:
    error = CheckError(f"{stage} failed: {type(exc).__name__}: {exc}", stage=stage, reason=failure_reason(exc))
    error.__cause__ = exc
    return error


def failed(error: GuardError, stage: str) -> Verdict:
    return Verdict(
        Status.ERROR,
        reasons=(str(error),),
        stage=error.stage if isinstance(error, CheckError) else stage,
        reason=failure_reason(error),
    )
