"""The decision log: what was decided, about which image, and why; written beside the checks, read by reviewers.

What most callers need is here; each name is imported when first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from guard.events.config import EventsConfig
    from guard.events.log import EventLog
    from guard.events.query import EventFilter
    from guard.events.record import Event, Outcome, Review
    from guard.events.recorder import EventRecorder

__all__ = ["Event", "EventFilter", "EventLog", "EventRecorder", "EventsConfig", "Outcome", "Review"]

_PLACES = {
    "Event": "record",
    "EventFilter": "query",
    "EventLog": "log",
    "EventRecorder": "recorder",
    "EventsConfig": "config",
    "Outcome": "record",
    "Review": "record",
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)
