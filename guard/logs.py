"""Log lines as JSON. Knows `logging`; not what a line is about.

Imports next to nothing: a process arranges its log before it loads anything large.
"""

from __future__ import annotations

import json
import logging
from typing import Any, TextIO

from guard.events.record import iso

__all__ = ["FIELDS", "JsonFormatter", "log_json"]

FIELDS = "memguard"
"""The attribute of a log record that holds fields of its own: `logger.info(…, extra={FIELDS: {…}})`."""


class JsonFormatter(logging.Formatter):
    """A log record as one JSON object on one line of ASCII; its own fields stand beside the message."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": iso(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= getattr(record, FIELDS, {})
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, separators=(",", ":"), default=str)


def log_json(stream: TextIO | None = None) -> logging.Handler:
    """Write what this process logs as JSON, and the guard's own lines from level INFO on.

    stream: standard error if None. Adds a handler to the root logger and returns it; those that are there stay.
    """
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter())
    logging.getLogger().addHandler(handler)
    logging.getLogger("guard").setLevel(logging.INFO)
    return handler
