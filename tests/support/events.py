"""Guards that write a decision log, and reports without a guard."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from guard import Decision, Guard, Match, Mode, Record, Report, Status, Verdict
from guard.config import load_config
from guard.events import EventRecorder, EventsConfig
from guard.events.record import Circumstances
from tests.support.toys import MemoryIndex, ToyEmbedder, picture
from tests.support.waiting import WAIT_S

__all__ = ["USED", "blocked", "logging_guard", "recorder", "used"]

USED = Circumstances(0.8, 0.95, "my.index", "toy", "", "box 8")


def used() -> Circumstances:
    return USED


def blocked(count: int = 1, pipeline: str = "p") -> Report:
    match = Match(Record(7, "train/7.png", "ab" * 32, "a caption"), 0.97, 4)
    verdict = Verdict(Status.SUCCESS, Decision.BLOCK, (match,), ("similarity 0.970 reaches block",))
    return Report((verdict,) * count, pipeline, Mode.ENFORCE, "0001", {"embed": 0.01})


def recorder(path: Path, dropped: dict[str, int] | None = None, **settings: Any) -> EventRecorder:
    """dropped: gets how many events were dropped, by reason."""

    def on_drop(reason: str, count: int) -> None:
        if dropped is not None:
            dropped[reason] = dropped.get(reason, 0) + count

    return EventRecorder(EventsConfig(path=path, **settings), on_drop=on_drop)


def logging_guard(path: Path, embedder: Any = None, *, mode: str = "enforce", **events: Any) -> Guard:
    """ToyEmbedder over 20 pictures, `picture(0)` to `picture(19)`."""
    index = MemoryIndex(ToyEmbedder(), {f"train/{i}.png": picture(i) for i in range(20)})
    config = load_config(None, mode=mode, deadline_s=WAIT_S, events={"path": path, **events})
    return Guard(index, embedder or ToyEmbedder(), config=config)
