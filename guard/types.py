"""The values that travel from pixels to a decision. Frozen; know no runtime, no host and no threshold."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, overload

import numpy as np
import numpy.typing as npt

__all__ = [
    "Action",
    "Candidates",
    "Collection",
    "Decision",
    "Descriptors",
    "Match",
    "Mode",
    "Record",
    "Report",
    "Status",
    "Verdict",
]

Descriptors = npt.NDArray[np.float32]
"""(n, dim) rows of unit L2 norm. Where a docstring says so, a torch tensor of the same shape."""


class Decision(StrEnum):
    """What the policy says about one image."""

    ALLOW = "allow"
    FLAG = "flag"
    BLOCK = "block"


class Status(StrEnum):
    """How the check itself went; never mixed with the decision."""

    SUCCESS = "success"
    ERROR = "error"
    SKIPPED = "skipped"


class Mode(StrEnum):
    """enforce: act on a block. flag: report only. shadow: only count what would have happened."""

    ENFORCE = "enforce"
    FLAG = "flag"
    SHADOW = "shadow"


class Action(StrEnum):
    """What happened to the pixels."""

    RELEASED = "released"
    REPLACED = "replaced"
    BLURRED = "blurred"
    DROPPED = "dropped"
    RAISED = "raised"


class Collection(StrEnum):
    """The named parts of a reference set that have a meaning of their own; other names are allowed."""

    TRAINING = "training"
    PROTECTED = "protected"
    OPT_OUT = "opt-out"
    ALLOW = "allow"
    CANARY = "canary"


@dataclass(frozen=True, slots=True)
class Record:
    """What the index knows of one reference."""

    id: int
    uri: str
    """Where the picture came from: a path relative to the source, or "shard.tar/key.jpg"."""
    sha256: str
    """Of the encoded bytes; "" for precomputed embeddings without one."""
    caption: str = ""
    collections: tuple[str, ...] = (Collection.TRAINING,)
    cluster_size: int = 1
    """How many near-duplicates the reference set holds of it, itself included."""


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """The nearest references. Row i answers query i, nearest first; too few: id -1, similarity -inf, at the end."""

    ids: npt.NDArray[np.int64]
    """(nq, k)."""
    similarity: npt.NDArray[np.float32]
    """(nq, k) cosine after the index's transform."""


@dataclass(frozen=True, slots=True)
class Match:
    """A candidate whose similarity reaches the flag threshold, or the nearest one if none does."""

    record: Record
    similarity: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer for one image."""

    status: Status
    decision: Decision | None = None
    """None unless the status is SUCCESS."""
    matches: tuple[Match, ...] = ()
    """Every match, nearest first; when nothing matched, the nearest candidate alone."""
    reasons: tuple[str, ...] = ()
    action: Action = Action.RELEASED
    frame: int | None = None
    """Of a video: the frame that the matches belong to."""
    input_similarity: float | None = None
    """Similarity to the nearest of the caller's own input images, where there were any."""
    stage: str = ""
    """Of an ERROR: the stage that failed."""
    reason: str = ""
    """Of an ERROR or SKIPPED: a word from a closed set, also the metric's label."""

    @property
    def withheld(self) -> bool:
        """True if the caller does not get the pixels that the pipeline made."""
        return self.action is not Action.RELEASED

    @property
    def nearest(self) -> Match | None:
        return self.matches[0] if self.matches else None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, as `memguard check --json` prints them."""
        return {
            "status": self.status.value,
            "decision": self.decision.value if self.decision else None,
            "action": self.action.value,
            "matches": [
                {
                    "id": m.record.id,
                    "similarity": round(m.similarity, 6),
                    "uri": m.record.uri,
                    "sha256": m.record.sha256,
                    "caption": m.record.caption,
                    "collections": list(m.record.collections),
                    "cluster_size": m.record.cluster_size,
                }
                for m in self.matches
            ],
            "reasons": list(self.reasons),
            "frame": self.frame,
            "input_similarity": self.input_similarity,
            "stage": self.stage or None,
            "reason": self.reason or None,
        }


@dataclass(frozen=True, slots=True)
class Report(Sequence[Verdict]):
    """One verdict an image, in the order of the images."""

    verdicts: tuple[Verdict, ...] = ()
    pipeline: str = "default"
    mode: Mode = Mode.ENFORCE
    index_version: str = ""
    seconds: dict[str, float] = field(default_factory=dict)
    """Wall-clock seconds of each stage: "pixels", "embed", "search", "decide"."""

    def __len__(self) -> int:
        return len(self.verdicts)

    def __iter__(self) -> Iterator[Verdict]:
        return iter(self.verdicts)

    @overload
    def __getitem__(self, i: int) -> Verdict: ...
    @overload
    def __getitem__(self, i: slice) -> tuple[Verdict, ...]: ...
    def __getitem__(self, i: int | slice) -> Verdict | tuple[Verdict, ...]:
        return self.verdicts[i]

    @property
    def blocked(self) -> tuple[int, ...]:
        """Positions of the images whose decision is BLOCK."""
        return tuple(i for i, v in enumerate(self.verdicts) if v.decision is Decision.BLOCK)

    @property
    def withheld(self) -> tuple[int, ...]:
        """Positions of the images that the caller does not get."""
        return tuple(i for i, v in enumerate(self.verdicts) if v.withheld)

    def to_dict(self) -> dict[str, Any]:
        return {
            "pipeline": self.pipeline,
            "mode": self.mode.value,
            "index_version": self.index_version,
            "seconds": {stage: round(s, 6) for stage, s in self.seconds.items()},
            "verdicts": [v.to_dict() for v in self.verdicts],
        }
