"""One decision as the log keeps it, and a reviewer's word on it. Knows verdicts and JSON; no file and no thread."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from guard.types import Action, Decision, Mode, Report, Status, Verdict

__all__ = ["Circumstances", "Event", "Outcome", "Pending", "Review", "is_sampled", "iso"]

MAX_PROMPT = 20_000  # characters of a plain prompt that are kept


class Outcome(StrEnum):
    """What a reviewer says of an event."""

    CONFIRM = "confirm"
    """It is a copy."""
    NOT_A_COPY = "not_a_copy"
    UNSURE = "unsure"


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What held for all images of a call."""

    flag: float
    block: float
    """Similarities in use, inclusive."""
    index: str
    """Its name: the label of its metrics."""
    embedder: str
    weights_sha256: str
    preprocessing: str
    of_collections: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """(flag, block) of collections that have their own."""

    def thresholds(self, verdict: Verdict) -> dict[str, float]:
        """Those of the collection that brought the decision about."""
        flag, block = self.of_collections.get(verdict.collection, (self.flag, self.block))
        return {"flag": flag, "block": block}


@dataclass(frozen=True, slots=True)
class Pending:
    """An event on its way from the check to the file; what costs time is done on the other side."""

    id: str
    time: float
    report: Report
    position: int
    circumstances: Circumstances
    prompt: str | None = None
    thumbnail: bytes | None = None

    @property
    def verdict(self) -> Verdict:
        return self.report[self.position]

    def detail(self) -> str:
        """Everything that no column of the file has, as JSON in ASCII."""
        detail = {
            "position": self.position,
            "images": len(self.report),
            "thresholds": self.circumstances.thresholds(self.verdict),
            "index": self.circumstances.index,
            "index_version": self.report.index_version,
            "embedder": {
                "name": self.circumstances.embedder,
                "weights_sha256": self.circumstances.weights_sha256,
                "preprocessing": self.circumstances.preprocessing,
            },
            "seconds": {stage: round(s, 6) for stage, s in self.report.seconds.items()},
            "verdict": self.verdict.to_dict(),
        }
        return json.dumps(detail, separators=(",", ":"))


@dataclass(frozen=True, slots=True)
class Event:
    """What was decided about one image."""

    id: str
    """32 hexadecimal digits, random."""
    time: float
    """Seconds since the epoch, UTC, when the check ended."""
    pipeline: str
    mode: Mode
    status: Status
    decision: Decision | None
    action: Action
    detail: Mapping[str, Any]
    """position, images, thresholds, index, index_version, embedder, seconds, verdict (see `Verdict.to_dict`)."""
    prompt: str | None = None
    """Only where the setting `prompts` is "plain"."""
    prompt_hash: str | None = None
    """64 hexadecimal digits: HMAC-SHA256 of the prompt's UTF-8 bytes."""
    thumbnail: bytes | None = None
    """A JPEG."""
    descriptor: bytes | None = None
    """Little-endian float16 values: the embedder's descriptor of the image, before the index's transform."""
    outcome: Outcome | None = None
    """What the reviews come to; None: not reviewed, or undone."""
    seq: int = 0
    """Place in the log: later events have higher numbers."""

    @property
    def matches(self) -> list[dict[str, Any]]:
        matches: list[dict[str, Any]] = self.detail["verdict"]["matches"]
        return matches

    @property
    def reasons(self) -> list[str]:
        reasons: list[str] = self.detail["verdict"]["reasons"]
        return reasons

    def to_dict(self, *, blobs: bool = False) -> dict[str, Any]:
        """Plain JSON values. blobs: thumbnail and descriptor too, in base64."""
        detail = dict(self.detail)
        verdict = {k: v for k, v in detail.pop("verdict").items() if k not in ("status", "decision", "action")}
        out = {
            "id": self.id,
            "seq": self.seq,
            "time": iso(self.time),
            "pipeline": self.pipeline,
            "mode": self.mode.value,
            "status": self.status.value,
            "decision": self.decision.value if self.decision else None,
            "action": self.action.value,
            **detail,
            **verdict,
            "prompt": self.prompt,
            "prompt_hash": self.prompt_hash,
            "outcome": self.outcome.value if self.outcome else None,
        }
        if blobs:
            out["thumbnail"] = _base64(self.thumbnail)
            out["descriptor"] = _base64(self.descriptor)
        return out


@dataclass(frozen=True, slots=True)
class Review:
    """One entry in the history of an event; entries are added and never changed."""

    event: str
    time: float
    outcome: Outcome | None
    """None takes the last outcome back that still stood."""
    who: str
    note: str = ""

    def to_dict(self) -> dict[str, Any]:
        return {
            "event": self.event,
            "time": iso(self.time),
            "outcome": self.outcome.value if self.outcome else "undo",
            "who": self.who,
            "note": self.note,
        }


def is_sampled(id: str, share: float) -> bool:  # noqa: A002
    """Whether a share in [0, 1] takes an event; decided by its id, so that a larger share takes the same and more."""
    return int(id[:13], 16) < share * (1 << 52)


def iso(time: float) -> str:
    """Seconds since the epoch -> 2026-11-22T12:00:00.123456Z."""
    return datetime.fromtimestamp(time, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _base64(data: bytes | None) -> str | None:
    return None if data is None else base64.b64encode(data).decode()
