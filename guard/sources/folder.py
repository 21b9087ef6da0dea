"""A folder of pictures, with captions beside them. Knows names, sidecar files and links; decodes nothing."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from guard.decode import sniff
from guard.errors import ConfigError
from guard.sources.base import Item, Skip, Survey
from guard.sources.captions import (
    MAX_CAPTION_BYTES,
    METADATA_NAMES,
    URL_COLUMNS,
    Captions,
    caption_of_json,
    caption_of_text,
)
from guard.sources.files import named_folders, sorted_names

__all__ = ["IMAGE_SUFFIXES", "FolderSource"]

_SUFFIXES = (  # frequent ones first; the second row is read by nobody here yet
    ".jpg .jpeg .png .webp .jpe .jfif .gif .bmp .dib .tif .tiff .avif .jp2 .j2k .ppm .pgm .pbm .pnm .ico "  # noqa: SIM905
    ".heic .heif .jxl .psd .tga .svg .cr2 .nef .arw .dng".split()
)
IMAGE_SUFFIXES = frozenset(_SUFFIXES)
"""A file of such a name is a picture: read, or listed as skipped."""
SIDECARS = frozenset(".txt .json .jsonl .csv .parquet .xml .yaml .yml .md .html .npy .npz .sqlite .py .log".split())  # noqa: SIM905


class FolderSource:
    """All pictures under a folder, depth first, by name.

    A file is a picture if its suffix says so, or, for unknown suffixes, if its first bytes do;
    everything else is counted as ignored. Links are followed, each real folder is walked once.
    Captions: NAME.txt or NAME.json beside NAME.jpg, or metadata.csv / metadata.jsonl with a
    column file_name (the form of Hugging Face's imagefolder).
    """

    def __init__(self, path: str | Path, *, caption_column: str | None = None) -> None:
        """path: a folder, or one picture. Raises ConfigError if there is none."""
        self.path = Path(path)
        self.caption_column = caption_column
        if not self.path.exists():
            raise ConfigError(f"{path} does not exist; name a folder of pictures")

    def survey(self) -> Survey:
        digest, total, ignored = hashlib.sha256(repr(self.caption_column).encode()), 0, 0
        for file, kind in self._walk():
            if kind == "ignored":
                ignored += 1
                continue
            stat = file.stat() if file.exists() else None
            known = (self._uri(file), stat.st_size, stat.st_mtime_ns) if stat else (self._uri(file),)
            digest.update(repr(known).encode("utf-8", "backslashreplace"))
            total += kind == "picture"
        missing = sum(1 for _ in self._missing())
        described = f"folder {self.path.name or self.path}"
        folders = named_folders([self.path.parent if self.path.is_file() else self.path])
        return Survey(described, digest.hexdigest(), total + missing, ignored, folders=folders)

    def items(self, start: int = 0) -> Iterator[Item | Skip]:
        position = 0
        captions: dict[Path, Captions] = {}
        for file, kind in self._walk():
            if kind == "metadata":
                captions[file.parent] = Captions(file, self.caption_column)
            elif kind == "picture":
                position += 1
                if position > start:
                    fields = _sidecar(file.with_suffix(".json"))
                    url = "" if fields is None else caption_of_json(fields, None, URL_COLUMNS)
                    yield Item(self._uri(file), path=file, caption=self._caption(file, captions, fields), url=url)
        for skip in self._missing():
            position += 1
            if position > start:
                yield skip

    def files(self) -> Iterator[tuple[Path, str, str]]:
        """(file, its uri, "picture" | "metadata" | "sidecar" | "ignored") of all files, for who copies the folder."""
        for file, kind in self._walk():
            yield file, self._uri(file), kind

    def _walk(self) -> Iterator[tuple[Path, str]]:
        """(file, "picture" | "metadata" | "sidecar" | "ignored") in order; a folder's metadata comes first."""
        if self.path.is_file():
            yield self.path, "picture"
            return
        yield from self._walk_folder(self.path, set())

    def _walk_folder(self, folder: Path, walked: set[tuple[int, int]]) -> Iterator[tuple[Path, str]]:
        stat = folder.stat()
        if (stat.st_dev, stat.st_ino) in walked:
            return
        walked.add((stat.st_dev, stat.st_ino))
        if not os.access(folder, os.R_OK | os.X_OK):
            yield folder, "picture"  # becomes a skip when it is read, so that it is not silently missing
            return
        metadata = next((name for name in METADATA_NAMES if (folder / name).is_file()), None)
        if metadata:
            yield folder / metadata, "metadata"
        for name in sorted_names(folder):
            path = folder / name
            suffix = path.suffix.lower()
            if suffix in IMAGE_SUFFIXES and not path.is_dir():
                yield path, "picture"
            elif path.is_dir():
                yield from self._walk_folder(path, walked)
            elif name != metadata:
                yield path, self._kind(path, suffix)

    def _kind(self, path: Path, suffix: str) -> str:
        if suffix in (".txt", ".json") and any(path.with_suffix(s).exists() for s in _SUFFIXES):
            return "sidecar"
        if suffix in SIDECARS or not path.is_file():  # a pipe would be waited for
            return "ignored"
        try:
            with path.open("rb") as file:
                return "picture" if sniff(file.read(32)) else "ignored"
        except OSError:
            return "ignored"

    def _caption(self, file: Path, captions: dict[Path, Captions], fields: bytes | None) -> str:
        for folder in (file.parent, *file.parent.parents):  # the nearest metadata file that lists it
            if folder in captions:
                found = captions[folder].get(file.relative_to(folder).as_posix())
                if found is not None:
                    return found
            if folder == self.path:
                break
        text = _sidecar(file.with_suffix(".txt"))
        if text is not None:
            return caption_of_text(text)
        return "" if fields is None else caption_of_json(fields, self.caption_column)

    def _missing(self) -> Iterator[Skip]:
        """Files that a metadata file lists and that no walk over this folder yields as pictures."""
        for file, kind in self._walk():
            if kind == "metadata":
                for name in Captions(file, self.caption_column).names():
                    listed = os.path.relpath(file.parent / name, self.path)
                    reason, why = self._why_not(listed)
                    if reason:
                        yield Skip(_text(listed), reason, f"{file.name} lists {name}, which {why}")

    def _why_not(self, name: str) -> tuple[str, str]:
        """Reason and words, for a file that a table lists; both empty for a picture of this folder."""
        if name.startswith(os.pardir):
            return "outside", "lies outside of the folder"
        listed = self.path / name
        if not listed.exists():
            return "missing", "does not exist"
        suffix = listed.suffix.lower()
        if suffix not in IMAGE_SUFFIXES and self._kind(listed, suffix) != "picture":
            return "not_an_image", "is no picture"
        return "", ""

    def _uri(self, file: Path) -> str:
        return _text(file.name if file == self.path else file.relative_to(self.path).as_posix())


def _text(name: str) -> str:
    """A file's name as text; bytes that are no UTF-8 are escaped."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _sidecar(path: Path) -> bytes | None:
    """The beginning of a caption file, None if there is none that can be read: it is not worth a lost picture."""
    try:
        if not path.is_file():
            return None
        with path.open("rb") as file:
            return file.read(MAX_CAPTION_BYTES)
    except OSError:
        return None
