"""Times on a command line (a date, a date and time, a span such as 7d) and in its tables. Knows UTC and today."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from guard.errors import ConfigError

__all__ = ["moment_of", "time_cell"]

_UNITS = {"d": "days", "h": "hours", "m": "minutes"}


def moment_of(text: str | None, option: str, *, ahead: bool = False) -> float | None:
    """Seconds since the epoch; None for None. ahead: 7d is in seven days, and not seven days ago.

    Raises ConfigError for what is no time.
    """
    if text is None:
        return None
    span = re.fullmatch(r"(\d{1,6})([dhm])", text)
    try:
        if span:
            length = timedelta(**{_UNITS[span[2]]: int(span[1])})
            return (datetime.now(UTC) + (length if ahead else -length)).timestamp()
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError) as exc:
        raise ConfigError(f"{option} {text}: give a time like 2026-11-22T10:00, or 7d, 12h or 30m") from exc


def time_cell(seconds: float) -> str:
    """UTC, as tables show it: short, and broken in a narrow one between the date and the time."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")
