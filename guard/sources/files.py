"""Files by name, size and time. Knows no content."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from guard.errors import ConfigError

__all__ = ["files_fingerprint", "files_of"]


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
    files = sorted(path.glob(f"*{suffix}")) if path.is_dir() else [path]
    if not files or not files[0].is_file():
        raise ConfigError(f"{path} holds no {suffix} file")
    return files
