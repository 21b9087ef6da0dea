"""A reference deleted everywhere: versions of an index, its overlay, decision logs. Knows the order; no file's format.

Every file that held it is written anew without it (or deleted), so that it is in no older version, no write-ahead log
and no free page. What another process keeps open cannot be deleted under it; the report says so, and calling again
finishes. Outside of these files nothing is touched: the training set itself, backups, and a disk's own spare blocks.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from guard.errors import ConfigError, GuardError, IndexLockedError
from guard.events.log import EventLog
from guard.indexes.edit import remove_from_index
from guard.indexes.layout import IndexFolder
from guard.indexes.overlay import Overlay
from guard.indexes.store import OpenIndex, open_index

__all__ = ["PurgeReport", "ids_of_keys", "purge"]

WAIT_S = 30.0  # for readers to let go of an older version, or of a log
_AGAIN_S = 0.2


@dataclass(frozen=True, slots=True)
class PurgeReport:
    removed: int
    """References that the version in use held."""
    version: str
    """In use now."""
    deleted: tuple[str, ...]
    """Versions and unfinished builds that are gone."""
    overlay: int
    """Keys that the overlay held."""
    events: int
    """Events of the logs that named one."""
    left: tuple[str, ...] = ()
    """What may still hold it, and what to do; empty: nothing."""


def purge(
    path: str | Path,
    keys: Iterable[str],
    *,
    who: str,
    why: str = "",
    logs: Sequence[str | Path] = (),
    wait_s: float = WAIT_S,
) -> PurgeReport:
    """Delete references by their keys (guard.indexes.overlay.key_of) from the index at path and from decision logs.

    All other versions of the index and any unfinished build are deleted as well. who, why: for the history, which keeps
    them and not what was purged. wait_s: how long to wait for readers.
    Raises IndexLockedError if another process writes the index, ConfigError for no key or a log that does not exist,
    and what its parts raise for damaged files; what was deleted until then stays deleted.
    """
    wanted = list(dict.fromkeys(keys))
    if not wanted:
        raise ConfigError("say what to purge")
    opened = [EventLog(log, wait_s=wait_s) for log in logs]
    ends = time.monotonic() + wait_s
    folder = IndexFolder(path)
    with open_index(path) as index:
        ids = ids_of_keys(index, wanted)
    before = folder.published()
    removed = remove_from_index(path, ids=ids, keep=1)[1] if ids else 0
    unfinished, left = _without_others(folder, ends)
    after = folder.published()
    deleted = [name for name in before if name not in after] + unfinished
    overlay = 0
    try:
        overlay = Overlay(path).purge(wanted, who=who, why=why, elsewhere=removed > 0)
    except IndexLockedError as exc:
        left.append(str(exc))
    events = 0
    for log in opened:
        try:
            events += log.scrub(wanted)
        except GuardError as exc:
            left.append(f"{exc}; purge again when nothing else has it open")
        left += [f"{aside} was set aside as damaged, and may hold it: delete it" for aside in log.set_aside()]
    return PurgeReport(removed, folder.current(), tuple(deleted), overlay, events, tuple(left))


def ids_of_keys(index: OpenIndex, keys: Iterable[str]) -> set[int]:
    """References of a version that keys name."""
    ids: set[int] = set()
    for key in keys:
        if key.startswith("uri:"):
            found = sorted(index.reader.ids_where(uris=[key.removeprefix("uri:")]))
            ids |= {record.id for record in index.records(found) if not record.sha256}
        else:
            ids |= index.reader.ids_where(sha256s=[key])
    return ids


def _without_others(folder: IndexFolder, ends: float) -> tuple[list[str], list[str]]:
    """Delete every version but the one in use, and what is unfinished; (what of the latter is gone, what is left)."""
    deleted: list[str] = []
    with folder.writer():
        current = folder.current()
        for name in ("building", "editing"):
            if (folder.path / name).exists():
                shutil.rmtree(folder.path / name)
                deleted.append(name)
        for name in [name for name in folder.published() if name > current]:  # a crash left it unpublished
            shutil.rmtree(folder.version(name))
        while True:
            folder.prune(1)
            held = [name for name in folder.published() if name != current]
            if not held or time.monotonic() >= ends:
                break
            time.sleep(_AGAIN_S)
    left = [
        f"{folder.version(name)} is open in another process: purge again when that has reloaded or ended"
        for name in held
    ]
    return deleted, left
