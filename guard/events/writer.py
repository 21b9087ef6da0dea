"""Rows into the file, with every failure as a word. Used by one thread; knows retries, no queue and no verdict."""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from guard.events.store import file_id, insert, open_file, prune, reason_of, require_sound, set_aside

__all__ = ["LogWriter"]

logger = logging.getLogger("guard.events")

TRIES = 3  # of a log that another process keeps locked, each as long as the connection waits
SOUND_BYTES = 64_000_000  # up to which a log is looked at as a whole when it is opened
PRUNE_ROWS = 256
PRUNE_S = 300.0


class LogWriter:
    """Opens the log when there is something to write, and again when the file was replaced or failed.

    max_age_s, max_bytes: bounds that `prune` keeps; None: no bound. wait_s: for another writer, each of TRIES times.
    """

    def __init__(self, path: Path, *, max_age_s: float | None, max_bytes: float | None, wait_s: float = 5.0) -> None:
        self.path = path
        self._max_age_s, self._max_bytes, self._wait_s = max_age_s, max_bytes, wait_s
        self._connection: sqlite3.Connection | None = None
        self._opened: tuple[int, int] | None = None
        self._rows = PRUNE_ROWS  # so that the first write of a process prunes
        self._pruned = 0.0
        self._told: set[str] = set()

    def write(self, rows: Sequence[tuple[Any, ...]]) -> str | None:
        """Commit rows and return None, or say why they could not be: a word of guard.metrics.DROP_REASONS.

        Never raises. The first failure of a kind is logged, and again once something was written in between.
        """
        for attempt in range(TRIES):
            try:
                insert(self._open(), rows)
            except Exception as exc:
                reason = reason_of(exc)
                retry = reason == "locked" or (reason == "damaged" and attempt == 0 and self._set_aside(exc))
                self.close()
                if retry and attempt + 1 < TRIES:
                    continue
                self._tell(reason, exc)
                return reason
            break
        self._told &= {"prune"}
        self._rows += len(rows)
        self._prune()
        return None

    def close(self) -> None:
        if self._connection is not None:
            try:
                self._connection.close()
            except sqlite3.Error as exc:
                logger.debug("closing %s: %s", self.path, exc)
        self._connection = None

    def _open(self) -> sqlite3.Connection:
        # A log that was moved or deleted while it is open: what goes into the old file, nobody would find.
        if self._connection is not None and file_id(self.path) != self._opened:
            self.close()
        if self._connection is None:
            self._opened = file_id(self.path)
            self._connection = open_file(self.path, wait_s=self._wait_s)
            self._opened = file_id(self.path)
            if self.path.stat().st_size <= SOUND_BYTES:
                require_sound(self._connection)
        return self._connection

    def _set_aside(self, error: Exception) -> bool:
        """Make room for a new log; True if it is worth another try."""
        damaged = self._opened
        self.close()
        try:
            aside = set_aside(self.path, damaged)
        except OSError as exc:
            logger.warning("%s is damaged (%s) and cannot be renamed (%s)", self.path, error, exc)
            return False
        if aside is not None:
            logger.warning("%s is damaged (%s): it was renamed to %s, and a new log begun", self.path, error, aside)
        return True

    def _prune(self) -> None:
        now = time.monotonic()
        if self._connection is None or (self._rows < PRUNE_ROWS and now - self._pruned < PRUNE_S):
            return
        self._rows, self._pruned = 0, now
        try:
            older_than = None if self._max_age_s is None else time.time() - self._max_age_s
            prune(self._connection, older_than=older_than, max_bytes=self._max_bytes)
            self._told.clear()
        except Exception as exc:  # the events are written: only the bounds wait for the next time
            self._tell("prune", exc)
            self.close()

    def _tell(self, reason: str, error: Exception) -> None:
        if reason not in self._told:
            self._told.add(reason)
            what = "older events cannot be deleted" if reason == "prune" else "events are dropped and counted"
            logger.warning("%s: %s (%s)", self.path, what, error)
