"""A reviewer's word on an event, kept and in force at once: the log gets the outcome, the overlay the exempt pair.

Knows the decision log and the overlay; no request. "Not a copy" exempts pairs of this image and a reference: the next
check of the same image finds that reference no copy, whatever the similarity.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from guard.errors import GuardError
from guard.events import Event, EventLog, Outcome
from guard.indexes.overlaid import OverlaidIndex
from guard.indexes.overlay import Overlay
from guard_server.references import key_of_match

if TYPE_CHECKING:
    from guard.guard import Guard

__all__ = ["Reviews", "exemptable", "overlay_of"]


def overlay_of(guard: Guard) -> Overlay | None:
    """The overlay of a guard's index, for writing; None for an index that is in memory alone."""
    return Overlay(guard.index.overlay.path.parent) if isinstance(guard.index, OverlaidIndex) else None


def exemptable(guard: Guard, event: Event) -> str:
    """Why no pair of an event can be exempted here, in words; "" if it can."""
    used, spec = event.detail["embedder"], guard.embedder.spec
    if overlay_of(guard) is None:
        return "this index takes no changes"
    if event.descriptor is None:
        return "the log keeps no descriptor of this image (setting events.descriptors)"
    if event.detail["index"] != guard.name:
        return f"it was checked against another index, {event.detail['index']}"
    if (used["weights_sha256"], used["preprocessing"]) != (spec.weights_sha256, spec.preprocessing):
        return "it was checked with another embedder than the index has now"
    return ""


@dataclass(frozen=True, slots=True)
class Reviews:
    """Reviews of what one guard decided."""

    guard: Guard
    log: EventLog

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
        overlay = overlay_of(self.guard)
        return 0 if overlay is None else sum(pair.why == _why(event) for pair in overlay.pairs())

    def _exempt(self, event: Event, keys: Sequence[str], who: str) -> int:
        overlay = overlay_of(self.guard)
        if overlay is None or event.descriptor is None or exemptable(self.guard, event):
            return 0
        descriptor = np.frombuffer(event.descriptor, "<f2").astype(np.float32)
        distinct = list(dict.fromkeys(keys))
        for key in distinct:
            overlay.exempt(key, descriptor, who=who, why=_why(event))
        return len(distinct)

    def _withdraw(self, event: Event, who: str) -> None:
        overlay = overlay_of(self.guard)
        if overlay is not None:
            for pair in overlay.pairs():
                if pair.why == _why(event):
                    overlay.withdraw_pair(pair.id, who=who, why=_why(event))

    def _once_exempt(self, event: Event) -> list[str]:
        """References of which a review of this event has ever exempted it."""
        overlay = overlay_of(self.guard)
        keys = dict.fromkeys(map(key_of_match, event.matches))
        return [
            key
            for key in (keys if overlay is not None else ())
            for history in [overlay.history(key)]  # type: ignore[union-attr]
            if any(line.action == "exempt" and line.detail.get("why") == _why(event) for line in history)
        ]


def _why(event: Event) -> str:
    return f"review of event {event.id}"
