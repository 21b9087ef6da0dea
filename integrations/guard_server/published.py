"""Which version of an index directory is published, and whether it was met before. Opens nothing."""

from __future__ import annotations

from pathlib import Path
from typing import TypeAlias

from guard.errors import GuardError
from guard.indexes.layout import IndexFolder
from guard.indexes.manifest import MANIFEST

__all__ = ["Mark", "Published"]

Mark: TypeAlias = tuple[str, int, int]


class Published:
    """path: the index directory. used: the version that was opened."""

    def __init__(self, path: Path, used: str) -> None:
        self.folder = IndexFolder(path)
        self.used: Mark | None = self.mark(used)
        self.refused: Mark | None = None

    def mark(self, version: str) -> Mark | None:
        """What tells a published version from another of the same name: an index may be built anew at its place."""
        try:
            status = (self.folder.version(version) / MANIFEST).stat()
        except OSError:
            return None
        return version, status.st_ino, status.st_mtime_ns

    def has_new(self) -> bool:
        """Whether a version is published that is neither in use nor was refused. Never raises."""
        try:
            mark = self.mark(self.folder.current())
        except GuardError:
            return False
        return mark is not None and mark not in (self.used, self.refused)
