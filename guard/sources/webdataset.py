"""Pictures in tar shards (webdataset). Knows members, keys and damaged archives; decodes nothing.

A sample is a run of members that share a key: the name up to the first dot of its last part.
"""

from __future__ import annotations

import gzip
import io
import re
import tarfile
import zlib
from collections.abc import Iterator
from itertools import islice, product
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from guard.decode import MAX_BYTES
from guard.errors import ConfigError
from guard.sources.base import Item, Skip, Survey
from guard.sources.captions import MAX_CAPTION_BYTES, URL_COLUMNS, caption_of_json, caption_of_text
from guard.sources.files import files_fingerprint
from guard.sources.folder import IMAGE_SUFFIXES

__all__ = ["DAMAGES", "TAR_SUFFIXES", "WebDatasetSource", "expand_braces", "member_time", "open_shard", "sample_key"]

TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz")
SAMPLE_MEMBERS = 64  # of one key held in memory: in "frame.0001.png" ... the key never changes
DAMAGES = (tarfile.TarError, EOFError, zlib.error, OSError, ValueError, IndexError, OverflowError)
"""What reading a damaged archive raises."""
UNPACKED_BYTES = 256 << 20  # of compressed shards, up to which they are unpacked only to count what is in them
_BLOCK = 512  # bytes; a tar archive is made of these and ends with two that are zero


class WebDatasetSource:
    """Samples of shards, shard by shard. One Item a picture; a sample without one, or a broken rest, is a Skip."""

    def __init__(self, spec: str | Path, *, caption_column: str | None = None, max_bytes: int = MAX_BYTES) -> None:
        """spec: one shard, a folder of them, or a pattern such as "shard-{000..012}.tar".

        Raises ConfigError if there is no shard; a shard of a pattern that is missing is listed as skipped.
        """
        self.spec, self.caption_column, self.max_bytes = str(spec), caption_column, max_bytes
        path = Path(spec)
        if path.is_dir():
            self.shards = sorted(p for p in path.iterdir() if p.name.endswith(TAR_SUFFIXES))
        else:
            self.shards = [Path(p) for p in expand_braces(str(spec))]
        if not any(shard.is_file() for shard in self.shards):
            raise ConfigError(f"{spec} names no tar shard that exists")

    def survey(self) -> Survey:
        described = f"{len(self.shards)} tar shard{'s' * (len(self.shards) != 1)} of {Path(self.spec).name}"
        return Survey(described, files_fingerprint(self.shards, self.caption_column), None)

    def count(self, limit: int) -> int | None:
        """See SupportsCount: by the headers of members. Compressed shards tell only when they are unpacked."""
        counted, unpacked = 0, 0
        for shard in self.shards:
            unpacked += shard.stat().st_size if _is_zipped(shard) else 0
            if unpacked > UNPACKED_BYTES:
                return None
            counted += sum(1 for _ in islice(self._shard(shard, skip=limit + 1), limit + 1 - counted))
            if counted > limit:
                break
        return counted

    def items(self, start: int = 0) -> Iterator[Item | Skip]:
        position = 0
        for shard in self.shards:
            for found in self._shard(shard, skip=max(0, start - position)):
                position += 1
                if position > start and found is not None:
                    yield found

    def _shard(self, shard: Path, *, skip: int) -> Iterator[Item | Skip | None]:
        """The items of one shard; the first `skip` are None and only their headers are read."""
        samples = 0
        try:
            with open_shard(shard) as raw, tarfile.open(fileobj=raw, mode="r:") as archive:
                for key, members in self._samples(archive, skip):
                    samples += 1
                    for found in self._sample(shard, key, members):
                        yield found if skip <= 0 else None
                        skip -= 1
                raw.require_end()
        except DAMAGES as exc:
            what = "cannot be opened" if not shard.is_file() else f"is damaged after {samples} samples"
            reason = "missing" if not shard.is_file() else "damaged_source"
            yield Skip(shard.name, reason, f"{shard.name} {what} ({exc}); fetch it again")

    def _samples(self, archive: tarfile.TarFile, skip: int) -> Iterator[tuple[str, list[Member]]]:
        """Runs of members of one key. Bytes are read as they come (a gzip cannot go back), but for `skip` pictures."""
        key, members, pictures = "", list[Member](), 0
        for info in archive:
            archive.members = []  # type: ignore[attr-defined]  # tarfile keeps every member otherwise
            if info.isdir():
                continue
            own = sample_key(info.name)
            if members and (own != key or len(members) >= SAMPLE_MEMBERS):
                yield key, members
                skip -= max(1, pictures)
                members, pictures = [], 0
            key = own
            suffix = PurePosixPath(info.name).suffix.lower()
            if suffix in IMAGE_SUFFIXES:
                wanted = info.isfile() and info.size <= self.max_bytes and pictures >= skip
                pictures += 1
            else:
                wanted = info.isfile() and info.size <= MAX_CAPTION_BYTES and suffix in (".txt", ".json")
            data = _read(archive, info) if wanted else None
            members.append(Member(info.name, suffix, info.size, data, info.isfile(), member_time(info.mtime)))
        if members:
            yield key, members

    def _sample(self, shard: Path, key: str, members: list[Member]) -> Iterator[Item | Skip]:
        pictures = [m for m in members if m.suffix in IMAGE_SUFFIXES]
        if not pictures:
            yield Skip(f"{shard.name}/{key}", "no_image", f"sample {key} of {shard.name} holds no picture")
        caption, url = self._caption(members), _url(members)
        for member in pictures:
            uri = f"{shard.name}/{member.name}"
            if not member.is_file:
                detail = (
                    f"{uri} is a link or a device; pack the files themselves (tar --dereference --hard-dereference)"
                )
                yield Skip(uri, "not_an_image", detail)
            elif member.size > self.max_bytes:
                yield Skip(uri, "file_too_large", f"{uri} has {member.size} bytes; at most {self.max_bytes} are read")
            else:
                yield Item(uri, member.data or b"", caption=caption, modified=member.modified, url=url)

    def _caption(self, members: list[Member]) -> str:
        texts = (caption_of_text(m.data) for m in members if m.suffix == ".txt" and m.data)
        fields = (caption_of_json(m.data, self.caption_column) for m in members if m.suffix == ".json" and m.data)
        return next(filter(None, (*texts, *fields)), "")


class Member(NamedTuple):
    """One file of an archive; data is None where nobody wants it."""

    name: str
    suffix: str
    size: int
    data: bytes | None
    is_file: bool
    """False: a link, which is not followed, or a device."""
    modified: int = 0


def _url(members: list[Member]) -> str:
    """As img2dataset writes it beside a picture."""
    found = (caption_of_json(m.data, None, URL_COLUMNS) for m in members if m.suffix == ".json" and m.data)
    return next(filter(None, found), "")


def sample_key(member: str) -> str:
    """Of a member's name: "a.b/0001.seg.png" -> "a.b/0001"."""
    folder, slash, name = member.rpartition("/")
    return folder + slash + name.partition(".")[0]


def expand_braces(pattern: str) -> list[str]:
    """ "a-{08..10}.tar" -> three names; "{a,b}" lists; several braces multiply."""
    parts = re.split(r"\{([^{}]*)\}", pattern)
    choices: list[list[str]] = [[part] if i % 2 == 0 else _choices(part) for i, part in enumerate(parts)]
    return ["".join(chosen) for chosen in product(*choices)]


def _choices(inside: str) -> list[str]:
    bounds = re.fullmatch(r"(\d+)\.\.(\d+)", inside)
    if not bounds:
        return inside.split(",") if "," in inside else ["{" + inside + "}"]
    low, high = bounds.groups()
    if int(high) < int(low) or int(high) - int(low) > 1_000_000:
        raise ConfigError(f"{{{inside}}} is no range of shards; write {{000..012}}")
    width = len(low) if low.startswith("0") or len(low) == len(high) else 0
    return [f"{i:0{width}d}" for i in range(int(low), int(high) + 1)]


def member_time(mtime: float) -> int:
    """What a header claims, between 1970 and the year 10000."""
    return int(min(max(mtime, 0), 253_402_300_799))


def _read(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = archive.extractfile(member)
    data = file.read() if file else b""
    if len(data) != member.size:
        raise tarfile.ReadError(f"unexpected end of data in {member.name}")
    return data


class LastRead(io.RawIOBase):
    """A file that remembers the last block it gave: tarfile stops without a word where an archive breaks off."""

    def __init__(self, file: Any) -> None:
        self.file = file
        self.last = b""

    def read(self, size: int = -1) -> bytes:
        self.last = self.file.read(size)
        return self.last

    def require_end(self) -> None:
        """Raise tarfile.ReadError unless the end mark of an archive was read."""
        if self.last != bytes(_BLOCK):
            raise tarfile.ReadError("it does not go on as a tar archive, and has no end mark")

    def seek(self, offset: int, whence: int = 0) -> int:
        return int(self.file.seek(offset, whence))

    def tell(self) -> int:
        return int(self.file.tell())

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def close(self) -> None:
        self.file.close()
        super().close()


def open_shard(shard: Path) -> LastRead:
    """gzip by its first bytes, whatever the name says."""
    return LastRead(gzip.open(shard, "rb") if _is_zipped(shard) else shard.open("rb"))


def _is_zipped(shard: Path) -> bool:
    """False for a shard that is not there."""
    try:
        with shard.open("rb") as file:
            return file.read(2) == b"\x1f\x8b"
    except OSError:
        return False
