"""The folder of an index: versions, the current one, the writer's lock. Knows names and renames; no file's content.

my.index/
  CURRENT            name of the version in use
  LOCK               held by the one writer; the kernel frees it when that process ends
  overlay.sqlite     what takes effect at once (guard.indexes.overlay); no version touches it
  building/          a version in the making
  versions/0001/     published, never changed again
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from guard.errors import ConfigError, IndexLoadError, IndexLockedError
from guard.indexes.manifest import MANIFEST, FileEntry

__all__ = ["IndexFolder", "file_entry", "hold", "lock_folder", "release", "share", "sync_path", "write_durably"]

LOCK = "LOCK"
KEEP = 2  # published versions, the current one included


class IndexFolder:
    """Paths of one index, and the two steps that change what readers see: publish and prune."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.versions = self.path / "versions"

    @property
    def exists(self) -> bool:
        """True if a version was published."""
        return (self.path / "CURRENT").is_file()

    def current(self) -> str:
        """Name of the version in use. Raises IndexLoadError if there is none."""
        try:
            name = (self.path / "CURRENT").read_text(encoding="utf-8").strip()
        except OSError as exc:
            state = "is a build that did not finish: run the build again to resume it"
            if not (self.path / "building").is_dir():
                state = "holds no index (no file CURRENT): build one with `memguard index build`"
            raise IndexLoadError(f"{self.path} {state}") from exc
        if not name.isdecimal() or not (self.versions / name).is_dir():
            raise IndexLoadError(
                f"{self.path / 'CURRENT'} names version {name!r}, which does not exist; rebuild the index"
            )
        return name

    def version(self, name: str) -> Path:
        return self.versions / name

    def published(self) -> list[str]:
        """Names of all version folders, oldest first; one that a crash left unpublished is among them."""
        if not self.versions.is_dir():
            return []
        return sorted(p.name for p in self.versions.iterdir() if p.name.isdecimal())

    @contextmanager
    def writer(self) -> Iterator[None]:
        """Hold the writer's lock. Raises IndexLockedError if another process does, ConfigError for a foreign folder."""
        if self.path.is_dir() and not self.exists:
            ours = {LOCK, "building", "versions", "CURRENT.new", "editing"}
            foreign = {p.name for p in self.path.iterdir() if not p.name.startswith("overlay.sqlite")} - ours
            if foreign:
                raise ConfigError(f"{self.path} holds other files ({sorted(foreign)[0]}, ...); name a new folder")
        elif self.path.exists() and not self.path.is_dir():
            raise ConfigError(f"{self.path} is a file; an index is a folder: name a new one")
        with lock_folder(self.path):
            yield

    def publish(self, staged: Path) -> str:
        """Make a finished folder (its manifest written) the version in use; returns its name.

        The rename of CURRENT is the only step that readers see, and it is atomic. Needs the lock.
        """
        current = self.current() if self.exists else ""
        for name in self.published():
            if name > current:  # a crash left it; it must not be taken for the version before this one
                shutil.rmtree(self.versions / name)
        name = f"{int(current or 0) + 1:04d}"
        self.versions.mkdir(exist_ok=True)
        staged.rename(self.versions / name)
        sync_path(self.versions)
        self.switch(name)
        return name

    def switch(self, name: str) -> None:
        write_durably(self.path / "CURRENT", f"{name}\n".encode())

    def prune(self, keep: int = KEEP) -> list[str]:
        """Delete versions older than the newest `keep`, but none that a process still has open. Needs the lock."""
        current = self.current()
        older = [name for name in self.published() if name < current]
        gone = []
        for name in older[: max(0, len(older) - max(keep - 1, 0))]:
            if not _held(self.version(name)):
                shutil.rmtree(self.version(name))
                gone.append(name)
        return gone


@contextmanager
def lock_folder(path: Path) -> Iterator[None]:
    """Hold the lock of a folder that one process at a time may write, which is made where it is missing.

    The kernel frees it when this process ends. Raises IndexLockedError if another one holds it, ConfigError if the
    folder cannot be written.
    """
    import fcntl

    try:
        path.mkdir(parents=True, exist_ok=True)
        lock = os.open(path / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as exc:
        raise ConfigError(f"{path} cannot be written ({exc.strerror}); name another folder") from exc
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            holder = os.pread(lock, 32, 0).decode(errors="replace").strip() or "unknown"
            raise IndexLockedError(
                f"{path} is being written by process {holder}; wait until it ends, or stop it"
            ) from exc
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(lock)


def hold(version: Path) -> int:
    """Mark a version as open in this process until the returned descriptor is closed; -1 where that is not possible."""
    try:
        import fcntl

        descriptor = os.open(version / MANIFEST, os.O_RDONLY | os.O_CLOEXEC)
    except (ImportError, OSError):
        return -1
    with suppress(OSError):  # a file system without locks: then keep=2 alone protects readers
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    return descriptor


def release(descriptor: int) -> None:
    """Undo hold."""
    if descriptor >= 0:
        os.close(descriptor)


def _held(version: Path) -> bool:
    import fcntl

    try:
        descriptor = os.open(version / MANIFEST, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


def write_durably(path: Path, data: bytes) -> None:
    """Replace a small file in one step that survives a power cut."""
    new = path.with_name(path.name + ".new")
    with new.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
    sync_path(path.parent)


def sync_path(path: Path) -> None:
    """fsync of a file or of a folder's entries."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def share(file: Path, as_file: Path) -> None:
    """A second name for a file that nobody changes again; a copy where the file system knows no second names."""
    try:
        os.link(file, as_file)
    except OSError:
        shutil.copyfile(file, as_file)


def file_entry(path: Path) -> FileEntry:
    """Size and checksum of a file, read once, a block at a time."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
        return FileEntry(bytes=file.tell(), sha256=digest.hexdigest())
