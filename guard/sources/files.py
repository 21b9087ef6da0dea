"""Files by name, size and time. Knows no content."""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path

from guard.errors import ConfigError

__all__ = ["files_fingerprint", "files_of", "named_folders", "sorted_names"]


def files_fingerprint(files: Iterable[Path], *settings: object) -> str:
    """Changes when a file is added, removed, or written, or a setting differs."""
    digest = hashlib.sha256(repr(settings).encode("utf-8", "backslashreplace"))
    for file in files:
        stat = file.stat() if file.is_file() else None
        known = (file.name, stat.st_size, stat.st_mtime_ns) if stat else (file.name,)
        digest.update(repr(known).encode("utf-8", "backslashreplace"))
    return digest.hexdigest()


def files_of(path: Path, suffix: str) -> list[Path]:
    """The file itself, or the files of that suffix in a folder, by name. Raises ConfigError if there is none."""
    if not path.exists():
        raise ConfigError(f"{path} does not exist; name a {suffix} file, or a folder of them")
    files = sorted(path.glob(f"*{suffix}")) if path.is_dir() else [path]
    if not files or not files[0].is_file():
        raise ConfigError(f"{path} holds no {suffix} file")
    return files


def named_folders(folders: Iterable[Path]) -> tuple[str, ...]:
    """Each once, absolute and without links; without those whose names are no text."""
    found = dict.fromkeys(str(folder.resolve()) for folder in folders)
    return tuple(name for name in found if name.isprintable())


def sorted_names(folder: Path) -> Iterator[str]:
    """Names in a folder, in the order of their bytes, sorted on disk: a folder may hold millions. Raises OSError."""
    with closing(sqlite3.connect("", check_same_thread=False)) as db:  # "": a temporary file, once it outgrows a cache
        db.execute("CREATE TABLE names (name BLOB)")
        with os.scandir(folder) as entries:
            db.executemany("INSERT INTO names VALUES (?)", ((os.fsencode(entry.name),) for entry in entries))
        db.commit()
        for (name,) in db.execute("SELECT name FROM names ORDER BY name"):
            yield os.fsdecode(name)
