"""What every stage of a check shares: its clock, and how a foreign error becomes one of ours.

Knows no pixels, embedder or index.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from guard.errors import CheckError, GuardError
from guard.metrics import failure_reason
from guard.types import Status, Verdict

__all__ = ["Clock", "failed", "translated"]


class Clock:
    """Seconds of each stage, and which stage runs now; foreign errors leave a stage as CheckError."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.stage = "pixels"

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        self.stage = stage
        started = time.perf_counter()
        try:
            yield
        except GuardError:
            raise
        except Exception as exc:
            raise translated(exc, stage) from exc
        finally:
            self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - started


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
