"""The log's side of a check: choose the events, add what they need, and queue them. Knows verdicts; no SQL.

A check is never made to wait beyond `wait_ms`, and nothing that goes wrong here reaches it: what cannot be kept is
dropped, counted and logged.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from guard.errors import ConfigError
from guard.events.config import EventsConfig
from guard.events.line import CLOSE_S, Line
from guard.events.record import Circumstances, Pending, is_sampled
from guard.events.store import ForeignFileError, open_file
from guard.events.thumbnails import thumbnail_of
from guard.types import Decision, Report, Status, Verdict

__all__ = ["EventRecorder"]

logger = logging.getLogger("guard.events")


class EventRecorder:
    """Records reports. Safe for threads; a forked child gets a queue and a thread of its own.

    config: its `path` must be set. on_drop: told a word of guard.metrics.DROP_REASONS and how many events were
    dropped for it, on any thread.
    Raises ConfigError for a path without a folder, a folder, or a database of other software.
    """

    def __init__(self, config: EventsConfig, *, on_drop: Callable[[str, int], None] | None = None) -> None:
        if config.path is None:
            raise ConfigError("events.path is not set: name the file of the log")
        self.config = config
        self.path = _usable(config.path.expanduser().absolute())
        self._on_drop = on_drop
        self._lines: dict[int, Line] = {}  # by process: a fork inherits the dictionary and not the threads
        self._told: set[str] = set()

    def record(
        self,
        report: Report,
        circumstances: Callable[[], Circumstances],
        *,
        prompts: Sequence[str | None] | str | None = None,
        picture: Callable[[int], Any] | None = None,
    ) -> dict[int, str]:
        """Queue the events of a report: every flag, block and error, and a sample of the rest. Never raises.

        circumstances: asked only if there is something to log. prompts: one for each image, or one for all; another
        number of them is left out. picture: gives the image at a position, asked only where a thumbnail is wanted.
        Returns position -> identifier of those that were queued.
        """
        wanted: list[Pending] = []
        try:
            chosen = [
                (i, name) for i, name in enumerate(uuid.uuid4().hex for _ in report) if self._wants(report[i], name)
            ]
            if not chosen:
                return {}
            now, used = time.time(), circumstances()
            each = _spread(prompts, len(report)) if self.config.prompts != "none" else None
            for i, name in chosen:
                thumbnail = self._thumbnail(i, picture) if self.config.thumbnails and picture is not None else None
                wanted.append(Pending(name, now, report, i, used, each[i] if each else None, thumbnail))
            refused, reason = self._line().put(wanted, self.config.wait_ms / 1000)
            self._drop(reason, refused)
        except Exception as exc:  # an observer must not cost a verdict
            self._drop("error", max(1, len(wanted)), exc)
            return {}
        return dict(chosen[: len(chosen) - refused])

    def with_descriptors(self, verdicts: Sequence[Verdict], vectors: Any) -> list[Verdict]:
        """The verdicts, flagged and blocked ones with their descriptor if the settings want it.

        vectors: (n, views, dim), array or tensor; the first view is the image itself. Never raises.
        """
        rows = [i for i, verdict in enumerate(verdicts) if verdict.decision in (Decision.FLAG, Decision.BLOCK)]
        out = list(verdicts)
        try:
            for i in rows if self.config.descriptors else ():
                row = vectors[i, 0]
                row = row if isinstance(row, np.ndarray) else row.detach().float().cpu().numpy()
                out[i] = replace(out[i], descriptor=row.astype("<f2").tobytes())
        except Exception as exc:
            logger.debug("no descriptor: %s", exc)
        return out

    def flush(self, timeout_s: float = CLOSE_S) -> bool:
        """Wait until everything recorded so far is committed, or dropped; False if that takes longer."""
        return self._line().flush(timeout_s)

    def close(self, timeout_s: float = CLOSE_S) -> bool:
        """Write what waits and end the thread; False if that takes longer. What comes later is dropped and counted."""
        return self._line().close(timeout_s)

    def _wants(self, verdict: Verdict, identifier: str) -> bool:
        passed = (verdict.decision is Decision.ALLOW or verdict.status is Status.SKIPPED) and not verdict.withheld
        return not passed or is_sampled(identifier, self.config.allow_sample)

    def _thumbnail(self, position: int, picture: Callable[[int], Any]) -> bytes | None:
        """Made here and not on the thread that writes: the caller may change its pixels when the check is over."""
        try:
            return thumbnail_of(picture(position), self.config.thumbnails)
        except Exception as exc:  # what broke the check may break this, too: the event counts without a picture
            logger.debug("no thumbnail: %s", exc)
            return None

    def _line(self) -> Line:
        line = self._lines.get(os.getpid())
        if line is None:
            line = self._lines.setdefault(os.getpid(), Line(self.path, self.config, self._drop))
        return line

    def _drop(self, reason: str, count: int, error: Exception | None = None) -> None:
        if not count:
            return
        if self._on_drop is not None:
            self._on_drop(reason, count)
        if reason in ("queue_full", "closed", "error") and reason not in self._told:  # others, the writer tells
            self._told.add(reason)
            logger.warning(
                "%s: events are dropped and counted: %s%s", self.path, reason, f" ({error})" if error else ""
            )


def _spread(prompts: Sequence[str | None] | str | None, count: int) -> Sequence[str | None] | None:
    if prompts is None or isinstance(prompts, str):
        return [prompts] * count if prompts is not None else None
    return prompts if len(prompts) == count else None


def _usable(path: Path) -> Path:
    """Raises ConfigError for what no time will heal; a full disk or a damaged log is dealt with when it is written."""
    if not path.parent.is_dir():
        raise ConfigError(f"events.path: there is no folder {path.parent}; make it first")
    if path.is_dir():
        raise ConfigError(f"events.path: {path} is a folder; name a file in it")
    try:
        with closing(open_file(path, wait_s=1.0)):
            pass
    except ForeignFileError as exc:
        raise ConfigError(f"events.path: {exc}") from exc
    except (sqlite3.Error, OSError) as exc:
        logger.debug("events.path: %s cannot be opened yet: %s", path, exc)
    return path
