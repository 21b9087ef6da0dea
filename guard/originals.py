"""References' own files, in place of thumbnails that an index does not hold. Knows files; compares nothing.

Which file that is, the published version says alone: its record of the reference, and the folders in its manifest.
Nothing is fetched, nothing outside of these folders is read, and only bytes with the recorded SHA-256 are decoded, so
that what was indexed is what is compared.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from guard.decode import ImageFileError, decode, read_file
from guard.errors import InputError

if TYPE_CHECKING:
    from guard.types import Record

__all__ = ["ORIGINAL_RESULTS", "OriginalError", "OriginalResult", "Originals", "unread"]

OriginalResult = Literal["read", "missing", "changed", "unreadable", "too_large", "outside", "remote"]
"""changed: other bytes than were indexed. outside: not in a folder of the manifest, or by a link that leads out of it.
remote: an address; nothing is fetched."""
ORIGINAL_RESULTS: tuple[OriginalResult, ...] = get_args(OriginalResult)

SIDE = 256  # px, of what is made of them: as thumbnails are stored unless something else is asked for
MAX_BYTES = 64 << 20  # read and hashed within a check: below 0.1 s
MAX_PIXELS = 50_000_000  # decoded within a check
KEPT_BYTES = 32 << 20  # of thumbnails that were made; some 2,000
FAILURES = 4096  # that are remembered until the file is another one

_SAID: dict[OriginalResult, str] = {
    "missing": "an original is missing",
    "changed": "an original has changed since it was indexed",
    "unreadable": "an original cannot be read",
    "too_large": "an original is too large to be read in a check",
    "outside": "an original lies outside of the index's sources",
    "remote": "an original is an address, and nothing is fetched",
}
_TELLING: tuple[OriginalResult, ...] = ("unreadable", "changed", "too_large", "outside", "missing")
"""What is said where several folders hold a file of one name, and none does: the first of these that holds."""

Attempt = tuple[str, int, int, str]
"""Path, size and time of a file, and the SHA-256 that was asked for: two references may have had one name."""


class OriginalError(InputError):
    """A reference's file is not there, or does not do; reason is one of ORIGINAL_RESULTS."""

    def __init__(self, reason: OriginalResult) -> None:
        super().__init__(_SAID[reason])
        self.reason: OriginalResult = reason


def unread(error: Exception) -> str:
    """Why a reference could not be compared, in words: its original, or its thumbnail."""
    return _SAID[error.reason] if isinstance(error, OriginalError) else "a thumbnail cannot be read"


class Originals:
    """Safe for threads.

    folders: absolute, in which the references' uris are names of files; of several that hold one, the file with the
    recorded SHA-256 counts. record: of a reference's id, as the published version holds it; None for one that it does
    not hold. on_read: called with the outcome of every one that is not in memory.
    """

    def __init__(
        self,
        folders: Sequence[str],
        record: Callable[[int], Record | None],
        *,
        on_read: Callable[[OriginalResult], None] = lambda _: None,
        kept_bytes: int = KEPT_BYTES,
    ) -> None:
        self.folders = tuple(folders)
        self._record, self._on_read = record, on_read
        self._kept: OrderedDict[int, bytes] = OrderedDict()
        self._failed: OrderedDict[Attempt, OriginalResult] = OrderedDict()
        self._bytes, self._most = 0, kept_bytes
        self._lock = threading.Lock()

    @classmethod
    def of(cls, index: Any, on_read: Callable[[OriginalResult], None] = lambda _: None) -> Originals | None:
        """Of an open index; None where its manifest names no folder. What was added to its overlay has none here."""
        base = getattr(index, "base", index)
        folders = getattr(base.manifest, "folders", ())
        if not folders:
            return None

        def record(reference: int) -> Record | None:
            return base.records([reference])[0] if 0 <= reference < base.manifest.count else None

        return cls(folders, record, on_read=on_read)

    def there(self) -> bool:
        """Whether any of the folders is."""
        return any(Path(folder).is_dir() for folder in self.folders)

    def thumbnail(self, id: int) -> bytes | None:  # noqa: A002
        """As SupportsThumbnails: what `memguard index build` would have stored. None for what is no file's reference.

        Of a JPEG of more than twice SIDE it differs by what decoding it at a smaller scale changes.
        Raises OriginalError for a file that does not do, IndexLoadError for a damaged record.
        """
        with self._lock:
            if id in self._kept:
                self._kept.move_to_end(id)
                return self._kept[id]
        record = self._record(id)
        if record is None:
            return None
        try:
            made = self._made(record)
        except OriginalError as exc:
            self._on_read(exc.reason)
            raise
        self._on_read("read")
        with self._lock:
            self._bytes += len(made) - len(self._kept.pop(id, b""))
            self._kept[id] = made
            while self._bytes > self._most:
                self._bytes -= len(self._kept.popitem(last=False)[1])
        return made

    def _made(self, record: Record) -> bytes:
        if "://" in record.uri:
            raise OriginalError("remote")
        if record.file_bytes > MAX_BYTES or record.width * record.height > MAX_PIXELS:
            raise OriginalError("too_large")
        failures: list[OriginalResult] = []
        for folder in self.folders:
            try:
                return self._from(Path(folder), record)
            except OriginalError as exc:
                failures.append(exc.reason)
        raise OriginalError(min(failures, key=_TELLING.index))

    def _from(self, folder: Path, record: Record) -> bytes:
        path = _inside(folder, record.uri)
        try:
            status = path.stat()
        except OSError as exc:
            raise OriginalError("missing") from exc
        attempt = (str(path), status.st_size, status.st_mtime_ns, record.sha256)
        with self._lock:
            known = self._failed.get(attempt)
        if known is not None:
            raise OriginalError(known)
        try:
            if record.file_bytes and status.st_size != record.file_bytes:
                raise OriginalError("changed")
            return _thumbnail(path, record)
        except OriginalError as exc:
            with self._lock:
                self._failed[attempt] = exc.reason
                while len(self._failed) > FAILURES:
                    self._failed.popitem(last=False)
            raise


def _inside(folder: Path, uri: str) -> Path:
    """The real path of a file in the folder. Raises OriginalError."""
    try:
        real = (folder / uri).resolve(strict=True)
        inside = real.is_relative_to(folder.resolve(strict=True))
    except (OSError, ValueError, RuntimeError) as exc:  # no such file, a name that none can have, links in a circle
        raise OriginalError("missing") from exc
    if not inside:
        raise OriginalError("outside")
    return real


def _thumbnail(path: Path, record: Record) -> bytes:
    from guard.indexes.preparation import thumbnail_of  # which knows embedders, as this does not

    try:
        data = read_file(path, max_bytes=MAX_BYTES)
        if hashlib.sha256(data).hexdigest() != record.sha256.lower():
            raise OriginalError("changed")
        picture = decode(data, where=record.uri, max_bytes=MAX_BYTES, max_pixels=MAX_PIXELS, enough_px=2 * SIDE)
    except ImageFileError as exc:
        large = exc.reason in ("file_too_large", "too_large")
        raise OriginalError("too_large" if large else "unreadable") from exc
    return thumbnail_of(picture.rgb, SIDE)
