"""Which frames of a video are checked, and how their verdicts become one. Knows no pixels and no threshold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from guard.types import Decision, Status, Verdict

__all__ = ["fold", "sample_frames"]

_SEVERITY = {None: 0, Decision.ALLOW: 1, Decision.FLAG: 2, Decision.BLOCK: 3}


def sample_frames(frames: int, stride: int) -> list[int]:
    """Every stride-th frame and the last one."""
    chosen = list(range(0, frames, stride))
    return chosen if not chosen or chosen[-1] == frames - 1 else [*chosen, frames - 1]


def fold(verdicts: Sequence[tuple[int, Verdict]]) -> Verdict:
    """The verdict of the worst frame, with its number. verdicts: (frame, its verdict).

    A block outweighs a failed check, which outweighs a flag; among equals the nearest counts. A clip
    without frames was not checked.
    """
    if not verdicts:
        return Verdict(Status.SKIPPED, reasons=("not checked: the video has no frames",), reason="form")
    frame, worst = max(verdicts, key=lambda pair: _gravity(pair[1]))
    return replace(worst, frame=frame)


def _gravity(verdict: Verdict) -> tuple[int, int, float]:
    failed = verdict.status is Status.ERROR
    similarity = max((match.similarity for match in verdict.matches), default=-1.0)
    return (2 if failed else _SEVERITY[verdict.decision], int(failed), similarity)
