"""Which events are asked for, as SQL and back. Knows columns and filters; opens no file."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

from guard.events.record import Event, Outcome
from guard.events.store import COLUMNS
from guard.types import Action, Decision, Mode, Status

__all__ = ["NEWER", "PAGE", "SELECT", "EventFilter", "event_of"]

SELECT = f"SELECT {COLUMNS}, outcome, seq FROM events"  # noqa: S608 - names of our own
PAGE = SELECT + " WHERE seq IN (SELECT seq FROM events WHERE {} ORDER BY seq DESC LIMIT ?) ORDER BY seq DESC"  # noqa: S608
"""The newest that satisfy a condition. What is sorted are numbers: a plain SELECT would sort the thumbnails too."""
NEWER = SELECT + " WHERE seq = (SELECT min(seq) FROM events WHERE {} AND seq > ?)"  # noqa: S608
"""The oldest that satisfies a condition and came later."""


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Events that satisfy all that is set; an empty collection asks for nothing."""

    since: float | None = None
    """Seconds since the epoch, inclusive."""
    until: float | None = None
    """Seconds since the epoch, exclusive."""
    decisions: Collection[Decision] = ()
    statuses: Collection[Status] = ()
    pipelines: Collection[str] = ()
    outcomes: Collection[Outcome] = ()
    reviewed: bool | None = None
    """True: a review stands. False: none does. None: either."""
    prompt_hash: str | None = None

    def where(self) -> tuple[str, list[Any]]:
        """The condition in SQL, and its parameters."""
        parts, values = ["1"], []
        for clause, value in self._comparisons():
            parts.append(clause)
            values.append(value)
        for column, of in (
            ("decision", self.decisions),
            ("status", self.statuses),
            ("pipeline", self.pipelines),
            ("outcome", self.outcomes),
        ):
            if of:
                parts.append(f"{column} IN ({', '.join('?' * len(of))})")
                values.extend(str(value) for value in of)
        if self.reviewed is not None:
            parts.append(f"outcome IS {'NOT ' if self.reviewed else ''}NULL")
        return " AND ".join(parts), values

    def _comparisons(self) -> Iterator[tuple[str, Any]]:
        if self.since is not None:
            yield "time >= ?", self.since
        if self.until is not None:
            yield "time < ?", self.until
        if self.prompt_hash is not None:
            yield "prompt_hash = ?", self.prompt_hash


def event_of(row: tuple[Any, ...]) -> Event:
    """A row of SELECT. Raises ValueError or TypeError for what no writer of ours has written."""
    (identifier, time, pipeline, mode, status, decision, action, prompt, prompt_hash, detail, thumbnail, descriptor,
     outcome, seq) = row  # fmt: skip
    return Event(
        id=identifier,
        time=time,
        pipeline=pipeline,
        mode=Mode(mode),
        status=Status(status),
        decision=None if decision is None else Decision(decision),
        action=Action(action),
        detail=json.loads(detail),
        prompt=prompt,
        prompt_hash=prompt_hash,
        thumbnail=thumbnail,
        descriptor=descriptor,
        outcome=None if outcome is None else Outcome(outcome),
        seq=seq,
    )
