"""What an evaluation of small sets has decided so far, in a file that a stopped run goes on from. Knows no guard.

A line of JSON for each set and each query. A run with other pictures, edits or code writes to another file; what a
line that was cut off by a kill said is decided again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, TypeAlias

from guard.errors import ConfigError
from guard.indexes.layout import lock_folder
from guard.types import Decision

__all__ = ["Journal", "Key", "journal"]

Key: TypeAlias = tuple[int, int, str]
"""Split, number of the picture, name of the edit."""


class Journal:
    """See `journal`."""

    def __init__(self, file: IO[str] | None) -> None:
        self.decided: dict[Key, tuple[Decision, ...]] = {}
        """One decision a guard, in their order."""
        self.sets: dict[int, dict[str, Any]] = {}
        """What each split says of itself."""
        self._file = file

    def add_set(self, split: int, said: Mapping[str, Any]) -> None:
        self.sets[split] = dict(said)
        self._write([{"split": split, "set": said}])

    def add(self, decided: Mapping[Key, Sequence[Decision]]) -> None:
        self.decided |= {key: tuple(found) for key, found in decided.items()}
        self._write([{"key": key, "decided": [one.value for one in found]} for key, found in decided.items()])

    def read(self, line: str) -> None:
        """Raises ValueError, KeyError or TypeError for what is no line of a journal."""
        row = json.loads(line)
        if "set" in row:
            self.sets[int(row["split"])] = dict(row["set"])
        else:
            split, picture, edit = row["key"]
            self.decided[int(split), int(picture), str(edit)] = tuple(Decision(one) for one in row["decided"])

    def _write(self, rows: Sequence[Mapping[str, Any]]) -> None:
        if self._file is None:
            return
        try:
            self._file.writelines(json.dumps(row) + "\n" for row in rows)
            self._file.flush()
        except OSError as exc:
            raise ConfigError(
                f"the --cache cannot be written ({exc.strerror}); make room, then run the same again"
            ) from exc


@contextmanager
def journal(folder: Path | None, of: Mapping[str, Any]) -> Iterator[Journal]:
    """Yield what an earlier run decided, and what writes down more.

    folder: None to keep nothing on disk. of: plain JSON values that decisions depend on.
    Raises ConfigError if the folder cannot be written, IndexLockedError if another run writes to it.
    """
    if folder is None:
        yield Journal(None)
        return
    key = hashlib.sha256(json.dumps(of, sort_keys=True).encode()).hexdigest()[:16]
    path = folder / f"small-{key}.jsonl"
    with lock_folder(folder):
        try:
            before = path.read_text(encoding="utf-8") if path.exists() else ""
            file = path.open("a", encoding="utf-8")
        except OSError as exc:
            raise ConfigError(f"{path} cannot be written ({exc.strerror}); name another --cache") from exc
        with file:
            found = Journal(file)
            for line in before.splitlines():
                with suppress(ValueError, KeyError, TypeError):
                    found.read(line)
            if before and not before.endswith("\n"):
                file.write("\n")
            yield found
