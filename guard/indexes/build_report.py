"""What a build or an addition did, as it is told and written to JSON. Knows no source and no file."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["BuildReport"]


@dataclass(frozen=True, slots=True)
class BuildReport:
    """What a build did."""

    path: Path
    version: str
    count: int
    """References in the index."""
    added: int
    """By this command, resumed runs included."""
    skipped: dict[str, int]
    """By reason, of this source; every one is a line of skipped.jsonl in the version."""
    notes: dict[str, int] = field(default_factory=dict)
    """What decoding did, and to how many: first_frame, rotated, cmyk, 16_bit, alpha."""
    ignored: int = 0
    """Files beside the pictures that are none."""
    seconds: float = 0.0
    images_per_second: float = 0.0
    """Of this run: items read per second, skipped ones included."""
    resumed_at: int = 0
    """Items of the source that an earlier, interrupted run had done."""
    unchanged: bool = False
    """True: this very build was complete already; nothing was written."""
    background_left_out: int = 0
    """Pictures of the transform's background that are references now, and no longer belong to it."""
    transform_lost: bool = False
    """True: the version before had a transform, and this one, built from the beginning, has none."""

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "path": str(self.path)}
