"""A reviewer's word on an event, kept and in force at once: the log gets the outcome, the overlay the exempt pair.

Knows the decision log and the overlay; no request and no vectors. "Not a copy" exempts pairs of this image and a
reference: the next check of the same image finds that reference no copy, whatever the similarity.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from guard.errors import GuardError
from guard.events import Event, EventLog, Outcome
from guard.indexes.overlaid import OverlaidIndex
from guard.indexes.overlay import Overlay, key_of
from guard.types import Record

if TYPE_CHECKING:
    from pathlib import Path

    from guard.embedders.base import EmbedderSpec
    from guard.guard import Guard

__all__ = ["Reviews", "key_of_match", "overlay_of"]


def overlay_of(guard: Guard) -> Overlay | None:
    """The overlay of a guard's index, for writing; None for an index that is in memory alone."""
    return Overlay(guard.index.overlay.path.parent) if isinstance(guard.index, OverlaidIndex) else None


def key_of_match(match: Mapping[str, Any]) -> str:
    """What names the reference of a match (`Verdict.to_dict`) in every version."""
    return key_of(Record(-1, match["uri"], match["sha256"]))


@dataclass(frozen=True, slots=True)
class Reviews:
    """Reviews of what was decided with one index."""

    overlay: Overlay | None
    index: str
    """Its name, as its guard calls it."""
    spec: EmbedderSpec
    """Of the embedder that it has now."""
    log: EventLog

    @classmethod
    def of(cls, guard: Guard, log: EventLog) -> Self:
        return cls(overlay_of(guard), guard.name, guard.embedder.spec, log)

    @classmethod
    def at(cls, path: Path, log: EventLog) -> Self:
        """Of an index that need not be open. Raises IndexLoadError for a folder that is none."""
        overlay = Overlay(path)
        return cls(overlay, path.resolve().name, overlay.manifest.spec, log)

    def problem(self, event: Event) -> str:
        """Why no pair of an event can be exempted here, in words; "" if it can."""
        used = event.detail["embedder"]
        if self.overlay is None:
            return "this index takes no changes"
        if event.descriptor is None:
            return "the log keeps no descriptor of this image (setting events.descriptors)"
        if event.detail["index"] != self.index:
            return f"it was checked against another index, {event.detail['index']}"
        if (used["weights_sha256"], used["preprocessing"]) != (self.spec.weights_sha256, self.spec.preprocessing):
            return "it was checked with another embedder than the index has now"
        return ""

    def say(self, event: Event, outcome: Outcome, *, who: str, note: str = "", matches: Sequence[int] = (0,)) -> int:
        """Add an outcome to an event; returns how many pairs are exempt by it from now on.

        matches: positions, among the event's, of the references that the outcome is about.
        What an earlier outcome exempted is taken back first. Raises GuardError as log and overlay do.
        """
        self._withdraw(event, who)
        exempted = 0
        if outcome is Outcome.NOT_A_COPY:
            keys = [key_of_match(event.matches[i]) for i in matches if i < len(event.matches)]
            exempted = self._exempt(event, keys, who)
        try:
            self.log.review(event.id, outcome, who=who, note=note)
        except GuardError:
            self._withdraw(event, who)  # nothing is in force that no history tells
            raise
        return exempted

    def undo(self, event: Event, *, who: str) -> Outcome | None:
        """Take the last outcome back, and what it exempted; returns the one that stands then, and counts again."""
        standing = self.log.undo(event.id, who=who)
        self._withdraw(event, who)
        if standing is Outcome.NOT_A_COPY:
            self._exempt(event, self._once_exempt(event), who)
        return standing

    def exempt_pairs(self, event: Event) -> int:
        """How many pairs are exempt by an event's review."""
        return 0 if self.overlay is None else sum(pair.why == _why(event) for pair in self.overlay.pairs())

    def _exempt(self, event: Event, keys: Sequence[str], who: str) -> int:
        if self.overlay is None or event.descriptor is None or self.problem(event):
            return 0
        descriptor = np.frombuffer(event.descriptor, "<f2").astype(np.float32)
        distinct = list(dict.fromkeys(keys))
        for key in distinct:
            self.overlay.exempt(key, descriptor, who=who, why=_why(event))
        return len(distinct)

    def _withdraw(self, event: Event, who: str) -> None:
        if self.overlay is None:
            return
        for pair in self.overlay.pairs():
            if pair.why == _why(event):
                self.overlay.withdraw_pair(pair.id, who=who, why=_why(event))

    def _once_exempt(self, event: Event) -> list[str]:
        """References of which a review of this event has ever exempted it."""
        overlay = self.overlay
        if overlay is None:
            return []
        return [
            key
            for key in dict.fromkeys(map(key_of_match, event.matches))
            if any(line.action == "exempt" and line.detail.get("why") == _why(event) for line in overlay.history(key))
        ]


def _why(event: Event) -> str:
    return f"review of event {event.id}"
