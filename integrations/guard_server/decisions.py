"""The decision log of the guard in use, and one event of it, or the problem that there is none. Knows no SQL."""

from __future__ import annotations

from typing import TYPE_CHECKING

from guard.events import Event, EventLog
from guard_server.problems import Problem

if TYPE_CHECKING:
    from guard.guard import Guard

__all__ = ["event_of", "log_of"]


def log_of(guard: Guard) -> EventLog:
    """For reading and reviewing; reviews are counted. Raises Problem where no log is kept."""
    if guard.events is None:
        raise Problem("unavailable", "No decision log is kept: set events.path in the guard's configuration.")
    return EventLog(guard.events.path, on_review=guard.metrics.count_review)


def event_of(log: EventLog, identifier: str) -> Event:
    """Raises Problem for one that the log does not hold."""
    event = log.get(identifier)
    if event is None:
        raise Problem("not-found", "The log holds no such event; it may have gone with age.")
    return event
