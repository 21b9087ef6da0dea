"""The log's side of a check: choose the events, queue them, write them on one thread a process.

A check is never made to wait beyond `wait_ms`, and nothing that goes wrong here reaches it: what cannot be kept is
dropped, counted and logged.
"""

from __future__ import annotations

import atexit
import logging
import os
import sqlite3
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from guard.errors import ConfigError
from guard.events.config import EventsConfig
from guard.events.prompts import hash_prompt, load_key
from guard.events.record import MAX_PROMPT, Circumstances, Pending, is_sampled
from guard.events.store import ForeignFileError, open_file
from guard.events.thumbnails import thumbnail_of
from guard.events.writer import LogWriter
from guard.types import Decision, Report, Status, Verdict

__all__ = ["EventRecorder"]

logger = logging.getLogger("guard.events")

BATCH = 256  # events a transaction
CLOSE_S = 5.0


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
        self._lines: dict[int, _Line] = {}  # by process: a fork inherits the dictionary and not the threads
        self._told: set[str] = set()

    def record(
        self,
        report: Report,
        circumstances: Callable[[], Circumstances],
        *,
        prompts: Sequence[str | None] | str | None = None,
        picture: Callable[[int], Any] | None = None,
    ) -> None:
        """Queue the events of a report: every flag, block and error, and a sample of the rest. Never raises.

        circumstances: asked only if there is something to log. prompts: one for each image, or one for all; another
        number of them is left out. picture: gives the image at a position, asked only where a thumbnail is wanted.
        """
        wanted: list[Pending] = []
        try:
            chosen = [
                (i, name) for i, name in enumerate(uuid.uuid4().hex for _ in report) if self._wants(report[i], name)
            ]
            if not chosen:
                return
            now, used = time.time(), circumstances()
            each = _spread(prompts, len(report)) if self.config.prompts != "none" else None
            for i, name in chosen:
                thumbnail = self._thumbnail(i, picture) if self.config.thumbnails and picture is not None else None
                wanted.append(Pending(name, now, report, i, used, each[i] if each else None, thumbnail))
            refused, reason = self._line().put(wanted, self.config.wait_ms / 1000)
            self._drop(reason, refused)
        except Exception as exc:  # an observer must not cost a verdict
            self._drop("error", max(1, len(wanted)), exc)

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

    def _line(self) -> _Line:
        line = self._lines.get(os.getpid())
        if line is None:
            line = self._lines.setdefault(os.getpid(), _Line(self.path, self.config, self._drop))
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


class _Line:
    """A queue and the thread behind it. The thread starts with the first event."""

    def __init__(self, path: Path, config: EventsConfig, drop: Callable[..., None]) -> None:
        age, size = config.max_age_days, config.max_mb
        self._writer = LogWriter(
            path,
            max_age_s=None if age is None else age * 86_400,
            max_bytes=None if size is None else size * 1_000_000,
        )
        self._rows = _Rows(path, config)
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


class _Rows:
    """An event -> a row of the file. The key of the prompts is read, or made, when the first prompt comes."""

    def __init__(self, path: Path, config: EventsConfig) -> None:
        self._path, self._config = path, config
        self._key = config.prompt_key.get_secret_value().encode() if config.prompt_key else b""
        self._told = False

    def __call__(self, event: Pending) -> tuple[Any, ...]:
        verdict, report = event.verdict, event.report
        plain = event.prompt if self._config.prompts == "plain" else None
        return (
            event.id,
            event.time,
            _storable(report.pipeline),
            report.mode.value,
            verdict.status.value,
            verdict.decision.value if verdict.decision else None,
            verdict.action.value,
            None if plain is None else _storable(plain[:MAX_PROMPT]),
            None if event.prompt is None else self._hash(event.prompt),
            event.detail(),
            event.thumbnail,
            verdict.descriptor if self._config.descriptors else None,
        )

    def _hash(self, prompt: str) -> str | None:
        try:
            self._key = self._key or load_key(self._path)
        except OSError as exc:
            if not self._told:
                self._told = True
                logger.warning("%s: prompts are left out, their key cannot be read or made (%s)", self._path, exc)
            return None
        return hash_prompt(prompt, self._key)


def _storable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()


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
