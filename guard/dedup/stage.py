"""A folder that is filled under another name and appears whole. Knows names, a plan and a rename; no pictures.

A run that was killed leaves `.OUT.partial`, which the same command goes on with: whatever lies in it under its final
name is complete, since files are linked in one step or renamed once they are written.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from guard.errors import ConfigError
from guard.indexes.layout import LOCK, lock_folder, sync_path, write_durably

__all__ = ["PLAN", "filled", "place", "staged"]

PLAN = "dedup.json"
"""In the finished folder: what it was made of, and by what."""


@contextmanager
def staged(out: Path, plan: Mapping[str, Any], done: Callable[[], Mapping[str, Any]]) -> Iterator[Path | None]:
    """Yield the folder to fill, which becomes `out` in one rename when the block ends well; None if `out` is there.

    plan: decides the outcome; what another plan has left half-done is dropped, and `out` of another plan refused with
    ConfigError. done: called at last, for what is written down beside the plan.
    Raises IndexLockedError if another process is filling the same folder.
    """
    partial = out.with_name(f".{out.name}.partial")
    plan = json.loads(json.dumps(plan))
    with lock_folder(partial):
        if out.exists():
            _clear(partial)
            shutil.rmtree(partial)
            if _plan_of(out) != plan:
                raise ConfigError(f"{out} exists and holds something else; name a new folder")
            (out / LOCK).unlink(missing_ok=True)  # a kill right after the rename left it
            yield None
            return
        if _plan_of(partial) != plan:
            _clear(partial)
            write_durably(partial / PLAN, _text({"plan": plan}))
        yield partial
        write_durably(partial / PLAN, _text({"plan": plan, **done()}))
        partial.rename(out)
        (out / LOCK).unlink()
        sync_path(out.parent)


def place(file: Path, target: Path, *, copy: bool) -> str:
    """Give a file a second name, or copy it where that is not possible or not wanted: "linked", "copied" or "there"."""
    if target.exists():
        return "there"
    target.parent.mkdir(parents=True, exist_ok=True)
    if not copy:
        try:
            os.link(file.resolve(), target)
        except OSError:  # another file system, or one without second names
            pass
        else:
            return "linked"
    with filled(target) as new:
        shutil.copy2(file, new)
    return "copied"


@contextmanager
def filled(target: Path) -> Iterator[Path]:
    """Yield another name for a file; what was written there takes its place when the block ends well.

    The other name is always the same, so that a run that goes on leaves nothing of the one that was killed.
    """
    new = target.with_name(f"{target.name}.memguard-partial")
    yield new
    sync_path(new)
    new.replace(target)


def _plan_of(folder: Path) -> Any:
    try:
        return json.loads((folder / PLAN).read_text(encoding="utf-8"))["plan"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _clear(partial: Path) -> None:
    """Drop what another plan left; nothing else is ever deleted."""
    names = {path.name for path in partial.iterdir()} - {LOCK}
    if names and PLAN not in names and f"{PLAN}.new" not in names:
        raise ConfigError(f"{partial} holds other files; move them away")
    for path in partial.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.name != LOCK:
            path.unlink()


def _text(fields: Mapping[str, Any]) -> bytes:
    return (json.dumps(fields, indent=1) + "\n").encode()
