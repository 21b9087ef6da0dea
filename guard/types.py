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
    "Evidence",
    "EvidenceKind",
    "Mask",
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
    cluster: int = -1
    """Smallest id among them; -1 until `memguard dedup` has looked for them."""
    width: int = 0
    """In pixels, upright; 0 if unknown, as of precomputed embeddings."""
    height: int = 0
    file_bytes: int = 0
    """Of the encoded picture; 0 if unknown."""
    modified: int = 0
    """Seconds since the epoch, of the file or the tar's member; 0 if unknown."""
    pixels_sha256: str = ""
    """Of the decoded pixels and their shape; "" if unknown."""


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """The nearest references. Row i answers query i, nearest first; too few: id -1, similarity -inf, at the end."""

    ids: npt.NDArray[np.int64]
    """(nq, k)."""
    similarity: npt.NDArray[np.float32]
    """(nq, k) cosine after the index's transform."""


class EvidenceKind(StrEnum):
    """What the pixels of a query and a reference say; docs/verification.md defines each."""

    NEAR_IDENTICAL = "near_identical"
    EDITED = "edited"
    PARTIAL = "partial"
    SAME_TEMPLATE = "same_template"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Mask:
    """Which cells of a grid over the query hold copied pixels, row by row; bytes, so that it compares and hashes."""

    height: int
    width: int
    bits: bytes = field(repr=False)
    """np.packbits of the (height, width) cells; the last byte is filled up with zeros."""

    @classmethod
    def pack(cls, cells: npt.NDArray[np.bool_]) -> Mask:
        """cells: (height, width)."""
        return cls(cells.shape[0], cells.shape[1], np.packbits(cells).tobytes())

    def cells(self) -> npt.NDArray[np.bool_]:
        """(height, width), True where the query agrees with the reference."""
        flat = np.unpackbits(np.frombuffer(self.bits, np.uint8), count=self.height * self.width)
        return flat.reshape(self.height, self.width).astype(np.bool_)

    def runs(self) -> list[int]:
        """Lengths of the runs of equal cells in row-major order; the first run is of unset cells and may be 0."""
        flat = self.cells().ravel()
        turns = np.flatnonzero(np.diff(flat)) + 1
        lengths = np.diff(np.concatenate([[0], turns, [flat.size]])).tolist()
        return [0, *lengths] if flat.size and flat[0] else lengths


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a verifier found between the pixels of a query and of one reference."""

    kind: EvidenceKind
    transform: tuple[float, float, float, float, float, float] | None = None
    """(a, b, c, d, e, f): a point (x, y) of the reference lies at (a x + b y + c, d x + e y + f) of the query.

    Both in shares of the picture's width and height, so that sizes do not matter; None if nothing was aligned.
    """
    inliers: int = 0
    """Matched keypoints that the transform explains, one counted for each 8 px cell; 0 where none were needed."""
    copied_area_query: float = 0.0
    """Share of the query's area that shows the reference, in [0, 1]."""
    copied_area_reference: float = 0.0
    """Share of the reference's area that the query shows, in [0, 1]."""
    mask: Mask | None = None
    """Where in the query; None if nothing was aligned."""
    tiled_l2: float | None = None
    """Carlini et al. 2023: largest of 16 tiles' root mean square difference, in [0, 1], after alignment, of the
    area that both pictures show and without any change of tone; None if nothing was aligned."""
    agreement: float = 0.0
    """Mean local structural agreement where both pictures overlap, in [0, 1]; tone does not count."""
    keypoints: tuple[int, int] | None = None
    """Keypoints of the query and of the reference, if they were needed; few of them: a copy could have gone unseen."""
    strength: float = -1.0
    """In [-1, 1]: how far the weakest of the numbers that a copy takes lies beyond its limit; below 0 it is none."""

    @property
    def is_copy(self) -> bool:
        """True if the query shows the reference, or a large part of it."""
        return self.kind in (EvidenceKind.NEAR_IDENTICAL, EvidenceKind.EDITED, EvidenceKind.PARTIAL)

    @property
    def mirrored(self) -> bool:
        t = self.transform
        return t is not None and t[0] * t[4] - t[1] * t[3] < 0

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; the mask as run lengths (see Mask.runs)."""
        return {
            "kind": self.kind.value,
            "transform": [round(t, 6) for t in self.transform] if self.transform else None,
            "mirrored": self.mirrored,
            "inliers": self.inliers,
            "copied_area_query": round(self.copied_area_query, 4),
            "copied_area_reference": round(self.copied_area_reference, 4),
            "tiled_l2": None if self.tiled_l2 is None else round(self.tiled_l2, 4),
            "agreement": round(self.agreement, 4),
            "strength": round(self.strength, 4),
            "keypoints": list(self.keypoints) if self.keypoints else None,
            "mask": {"height": self.mask.height, "width": self.mask.width, "runs": self.mask.runs()}
            if self.mask
            else None,
        }


@dataclass(frozen=True, slots=True)
class Match:
    """A candidate that reaches the flag threshold or whose PDQ hash is identical, or the nearest one if none is."""

    record: Record
    similarity: float
    bits: int | None = None
    """By how many of 256 bits the PDQ hashes differ; None beyond 31, or where none were looked up."""
    evidence: Evidence | None = None
    """What its pixels say; None if they were not compared."""

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "id": self.record.id,
            "similarity": round(self.similarity, 6),
            "pdq_bits": self.bits,
            "evidence": self.evidence.to_dict() if self.evidence else None,
            "uri": self.record.uri,
            "sha256": self.record.sha256,
            "caption": self.record.caption,
            "collections": list(self.record.collections),
            "cluster_size": self.record.cluster_size,
        }


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer for one image."""

    status: Status
    decision: Decision | None = None
    """None unless the status is SUCCESS."""
    matches: tuple[Match, ...] = ()
    """Every match, nearest first, those with identical hashes before the others; without any the nearest candidate.
    With verification also candidates below the flag threshold whose pixels are a copy."""
    reasons: tuple[str, ...] = ()
    action: Action = Action.RELEASED
    frame: int | None = None
    """Of a video: the frame that the matches belong to."""
    input_similarity: float | None = None
    """Similarity to the nearest of the caller's own input images, where there were any."""
    verified: bool | None = None
    """True: pixels were compared, until one was a copy or all that could matter were. False: not all could be, and the
    similarity decides. None: not asked for, or no candidate came near."""
    stage: str = ""
    """Of an ERROR: the stage that failed."""
    collection: str = ""
    """Of a flag or block: the collection that brought it about, of several one other than `training`; else ""."""
    reason: str = ""
    """Of an ERROR or SKIPPED: a word from a closed set, also the metric's label."""
    descriptor: bytes | None = field(default=None, repr=False)
    """Of a flagged or blocked image, where the decision log keeps it: the embedder's descriptor, before the index's
    transform, as little-endian float16. Not part of `to_dict`."""

    @property
    def withheld(self) -> bool:
        """True if the caller does not get the pixels that the pipeline made."""
        return self.action is not Action.RELEASED

    @property
    def nearest(self) -> Match | None:
        return self.matches[0] if self.matches else None

    @property
    def telling(self) -> Match | None:
        """The match to show a person: the first whose pixels are a copy, else the nearest."""
        return next((m for m in self.matches if m.evidence and m.evidence.is_copy), self.nearest)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, as `memguard check --json` prints them."""
        return {
            "status": self.status.value,
            "decision": self.decision.value if self.decision else None,
            "collection": self.collection or None,
            "action": self.action.value,
            "matches": [m.to_dict() for m in self.matches],
            "reasons": list(self.reasons),
            "frame": self.frame,
            "input_similarity": self.input_similarity,
            "verified": self.verified,
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
    """Wall-clock seconds of each stage: "pixels", "embed", "search", "verify", "decide"."""

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
