"""The log as its readers see it: events newest first, reviews, bounds. Knows no recorder; other processes may write."""

from __future__ import annotations

import glob
import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from guard.database import transaction
from guard.errors import ConfigError, EventLogError
from guard.events.prompts import hash_prompt, load_key
from guard.events.query import NEWER, PAGE, SELECT, EventFilter, event_of
from guard.events.record import Event, Outcome, Review
from guard.events.scrub import scrub
from guard.events.store import APPLICATION_ID, ForeignFileError, open_file, prune

__all__ = ["EventLog"]

AT_ONCE = 500  # events read at once where all are wanted
T = TypeVar("T")


class EventLog:
    """Reads and reviews one log. Safe for threads and processes: nothing stays open between two calls.

    on_review: told the word that `memguard_reviews_total` counts: an outcome, or "undo".
    Raises ConfigError if there is no such file. Every method raises EventLogError if the file is damaged, locked for
    longer than wait_s, of another format or no log.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        on_review: Callable[[str], None] | None = None,
        wait_s: float = 5.0,
    ) -> None:
        self.path = Path(path)
        if self.path.is_dir():
            raise ConfigError(f"{self.path} is a folder; name the file of the log")
        if not self.path.is_file():
            raise ConfigError(f"no such log: {self.path}; events.path names the one that a guard writes")
        self._on_review = on_review
        self._wait_s = wait_s

    def read(self, where: EventFilter | None = None, *, limit: int = 50, before: int | None = None) -> list[Event]:
        """The newest events that fit, newest first; before: the `seq` of the last one of the page before."""
        condition, values = (where or EventFilter()).where()
        if before is not None:
            condition, values = f"{condition} AND seq < ?", [*values, before]
        with self._reading() as connection:
            rows = connection.execute(PAGE.format(condition), [*values, limit])
            return [event_of(row) for row in rows]

    def newer(self, where: EventFilter | None = None, *, after: int) -> Event | None:
        """The oldest event that fits and came after the one of this `seq`."""
        condition, values = (where or EventFilter()).where()
        with self._reading() as connection:
            row = connection.execute(NEWER.format(condition), [*values, after]).fetchone()
            return None if row is None else event_of(row)

    def all(self, where: EventFilter | None = None) -> Iterator[Event]:
        """Every event that fits, newest first, a page at a time; events that come meanwhile are not among them."""
        before: int | None = None
        while page := self.read(where, limit=AT_ONCE, before=before):
            yield from page
            before = page[-1].seq

    def count(self, where: EventFilter | None = None) -> int:
        condition, values = (where or EventFilter()).where()
        with self._reading() as connection:
            sql = f"SELECT count(*) FROM events WHERE {condition}"  # noqa: S608 - of names of our own
            return int(connection.execute(sql, values).fetchone()[0])

    def get(self, id: str) -> Event | None:  # noqa: A002
        """The event of an id, or of the beginning of one (8 digits or more) that no other has."""
        with self._reading() as connection:
            low, high = (id, id + "g") if len(id) >= 8 else (id, id)
            rows = connection.execute(f"{SELECT} WHERE id BETWEEN ? AND ? LIMIT 2", (low, high)).fetchall()
            return event_of(rows[0]) if len(rows) == 1 else None

    def reviews(self, id: str) -> list[Review]:  # noqa: A002
        """The history of an event, oldest first."""
        with self._reading() as connection:
            sql = "SELECT event, time, outcome, who, note FROM reviews WHERE event = ? ORDER BY seq"
            return [_review(row) for row in connection.execute(sql, (id,))]

    def review(self, id: str, outcome: Outcome, *, who: str, note: str = "") -> Review:  # noqa: A002
        """Add an outcome to the history of an event; it stands until another is added, or it is undone.

        who: name of the reviewer, not empty. Raises EventLogError also if there is no such event.
        """
        return self._append(Review(id, time.time(), Outcome(outcome), who, note))

    def undo(self, id: str, *, who: str, note: str = "") -> Outcome | None:  # noqa: A002
        """Take back the last outcome that stands; returns what stands then. The history keeps both.

        Raises EventLogError also if there is nothing to take back.
        """
        self._append(Review(id, time.time(), None, who, note))
        return _standing(self.reviews(id))

    def prune(self, *, max_age_days: float | None = None, max_mb: float | None = None) -> int:
        """Delete events older than so many days, then the oldest until the file fits; returns how many went.

        Their reviews go with them.
        """
        older_than = None if max_age_days is None else time.time() - 86_400 * max_age_days
        max_bytes = None if max_mb is None else 1_000_000 * max_mb
        with self._writing() as connection:
            return prune(connection, older_than=older_than, max_bytes=max_bytes)

    def scrub(self, keys: Sequence[str]) -> int:
        """Take what the log holds of references out of it; returns how many events named one. See guard.events.scrub.

        Afterwards no page of the file, and no file beside it, holds any of it. Raises EventLogError also if a reader
        keeps the write-ahead log from being cut: everything is deleted then, and calling again finishes.
        """
        with self._writing() as connection:
            connection.execute("PRAGMA secure_delete = ON")
            connection.execute("PRAGMA temp_store = MEMORY")  # the file is copied; not into a folder for temporaries
            count = scrub(connection, keys)
            connection.execute("VACUUM")
            end = time.monotonic() + self._wait_s
            while connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
                if time.monotonic() >= end:
                    raise EventLogError(f"{self.path}-wal still holds what was deleted, since a reader is at it")
                time.sleep(0.05)
        return count

    def set_aside(self) -> list[Path]:
        """Files beside the log that were set aside as damaged; each holds what the log held then."""
        return sorted(self.path.parent.glob(f"{glob.escape(self.path.name)}.damaged-*"))

    def hash_prompt(self, prompt: str, key: bytes | None = None) -> str:
        """What a prompt is called in this log. key: that of the settings; None reads the one beside the log.

        Raises EventLogError if there is no key.
        """
        try:
            return hash_prompt(prompt, key or load_key(self.path, make=False))
        except OSError as exc:
            raise EventLogError(f"{self.path}: the key of its prompts cannot be read ({exc})") from exc

    def _append(self, review: Review) -> Review:
        if not review.who.strip():
            raise EventLogError("a review needs the name of who reviews")
        row = (review.event, review.time, review.outcome, _text(review.who), _text(review.note))
        with self._writing() as connection, transaction(connection):
            if not connection.execute("SELECT 1 FROM events WHERE id = ?", (review.event,)).fetchone():
                raise EventLogError(f"{self.path} holds no event {review.event!r}")
            sql = "SELECT event, time, outcome, who, note FROM reviews WHERE event = ? ORDER BY seq"
            history = [_review(r) for r in connection.execute(sql, (review.event,))]
            if review.outcome is None and _standing(history) is None:
                raise EventLogError(f"no review of event {review.event!r} stands that could be taken back")
            connection.execute("INSERT INTO reviews (event, time, outcome, who, note) VALUES (?, ?, ?, ?, ?)", row)
            standing = _standing([*history, review])
            connection.execute("UPDATE events SET outcome = ? WHERE id = ?", (standing, review.event))
        if self._on_review is not None:
            self._on_review(review.outcome.value if review.outcome else "undo")
        return review

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self._translated(), closing(self._connect()) as connection:
            yield connection

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        if not self.path.is_file():  # opening would make an empty one
            raise EventLogError(f"{self.path} is gone")
        with self._translated(), closing(open_file(self.path, wait_s=self._wait_s)) as connection:
            yield connection

    def _connect(self) -> sqlite3.Connection:
        """Without the right to write, a log in WAL mode opens only where its other files are there already."""
        uri, error = self.path.absolute().as_uri(), None
        wal = self.path.with_name(self.path.name + "-wal")
        for mode in ("rw", "ro", "ro&immutable=1"):
            if "immutable" in mode and wal.exists() and wal.stat().st_size:
                break  # what stands in it alone would be missing
            connection = sqlite3.connect(f"{uri}?mode={mode}", uri=True, timeout=self._wait_s, isolation_level=None)
            try:
                if connection.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
                    raise EventLogError(f"{self.path} is no decision log")
                connection.execute("SELECT 1 FROM events LIMIT 1")
            except sqlite3.Error as exc:
                error = exc
                connection.close()
            except EventLogError:
                connection.close()
                raise
            else:
                return connection
        assert error is not None
        raise error

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, ForeignFileError, OSError, ValueError, TypeError) as exc:
            raise EventLogError(f"{self.path} cannot be read or written: {exc}") from exc


def _review(row: tuple[str, float, str | None, str, str]) -> Review:
    event, at, outcome, who, note = row
    return Review(event, at, None if outcome is None else Outcome(outcome), who, note)


def _standing(history: list[Review]) -> Outcome | None:
    """An undo takes the newest outcome off that still stands; then the one before it stands again."""
    stack: list[Outcome] = []
    for review in history:
        if review.outcome is not None:
            stack.append(review.outcome)
        else:
            with suppress(IndexError):
                stack.pop()
    return stack[-1] if stack else None


def _text(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()
