"""A bounded queue of events and the one thread that writes them. Knows no verdict; what it drops, it tells."""

from __future__ import annotations

import atexit
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

from guard.events.config import EventsConfig
from guard.events.record import Pending
from guard.events.rows import Rows
from guard.events.writer import LogWriter

__all__ = ["CLOSE_S", "Line"]

BATCH = 256  # events a transaction
CLOSE_S = 5.0


class Line:
    """A queue and the thread behind it. The thread starts with the first event."""

    def __init__(self, path: Path, config: EventsConfig, drop: Callable[..., None]) -> None:
        age, size = config.max_age_days, config.max_mb
        self._writer = LogWriter(
            path,
            max_age_s=None if age is None else age * 86_400,
            max_bytes=None if size is None else size * 1_000_000,
        )
        self._rows = Rows(path, config)
        self._most = config.queue
        self._drop = drop
        self._waiting: deque[Pending] = deque()
        self._changed = threading.Condition()
        self._accepted = self._settled = 0
        self._closed = False
        self._thread: threading.Thread | None = None
        self._process = os.getpid()

    def put(self, events: Sequence[Pending], wait_s: float) -> tuple[int, str]:
        """Returns how many were refused, and why."""
        end = time.monotonic() + wait_s
        with self._changed:
            if self._thread is None and not self._closed:
                self._start()
            for done, event in enumerate(events):
                if len(self._waiting) >= self._most and wait_s:
                    self._changed.wait_for(self._has_room, max(0.0, end - time.monotonic()))
                if self._closed:
                    return len(events) - done, "closed"
                if len(self._waiting) >= self._most:
                    return len(events) - done, "queue_full"
                self._waiting.append(event)
                self._accepted += 1
                self._changed.notify_all()
        return 0, ""

    def flush(self, timeout_s: float) -> bool:
        with self._changed:
            accepted = self._accepted
            return self._changed.wait_for(lambda: self._settled >= accepted, timeout_s)

    def close(self, timeout_s: float) -> bool:
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            thread = self._thread
        if thread is None:
            return True
        thread.join(timeout_s)
        atexit.unregister(self._at_exit)
        return not thread.is_alive()

    def _has_room(self) -> bool:
        return self._closed or len(self._waiting) < self._most

    def _start(self) -> None:
        # A daemon, so that a disk that hangs keeps no process alive; atexit waits for what it has, with a bound.
        thread = threading.Thread(target=self._run, name="memguard-events", daemon=True)
        thread.start()
        self._thread = thread
        atexit.register(self._at_exit)

    def _at_exit(self) -> None:
        if os.getpid() == self._process:  # a forked child inherits the call, perhaps with the lock held
            self.close(CLOSE_S)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closed)
                batch = [self._waiting.popleft() for _ in range(min(BATCH, len(self._waiting)))]
                self._changed.notify_all()
            if not batch:
                break
            self._write(batch)
            with self._changed:
                self._settled += len(batch)
                self._changed.notify_all()
        self._writer.close()

    def _write(self, batch: Sequence[Pending]) -> None:
        rows = []
        for event in batch:
            try:
                rows.append(self._rows(event))
            except Exception as exc:
                self._drop("error", 1, exc)
        reason = self._writer.write(rows) if rows else None
        if reason is not None:
            self._drop(reason, len(rows))
