"""What a build or an addition did, as it is told and written to JSON. Knows no source and no file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from guard.indexes.manifest import Manifest

__all__ = ["BuildReport", "report_of"]


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
    already_there: int = 0
    """Items of the source that were left out, since the index holds them; where anything was added, every one is a line
    of already_there.jsonl in the version."""
    transform_lost: bool = False
    """True: the version before had a transform, and this one, built from the beginning, has none."""

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "path": str(self.path)}


def report_of(
    manifest: Manifest,
    before: Manifest | None,
    *,
    path: Path,
    version: str,
    ignored: int,
    seconds: float,
    resumed_at: int,
    done: int = 0,
    unchanged: bool = False,
    already_there: int = 0,
) -> BuildReport:
    """What the version `manifest` has more than `before`, the one that it goes on from. done: items of this run."""
    return BuildReport(
        path=path,
        version=version,
        count=manifest.count,
        added=manifest.count - (before.count if before else 0),
        skipped=_more(manifest.skipped, before.skipped if before else {}),
        notes=_more(manifest.notes, before.notes if before else {}),
        ignored=ignored,
        seconds=seconds,
        images_per_second=done / seconds,
        resumed_at=resumed_at,
        unchanged=unchanged,
        already_there=already_there,
        background_left_out=_background(before) - _background(manifest) if before else 0,
    )


def _more(now: Mapping[str, int], before: Mapping[str, int]) -> dict[str, int]:
    return {name: n - before.get(name, 0) for name, n in now.items() if n > before.get(name, 0)}


def _background(manifest: Manifest) -> int:
    normalisation = manifest.transform.normalisation if manifest.transform else None
    return normalisation.background if normalisation else 0
