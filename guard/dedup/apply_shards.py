"""Tar shards without their duplicates: samples that stay, bit by bit, in shards of the same names. Decides nothing."""

from __future__ import annotations

import gzip
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

from guard.dedup.fates import Applied, Fate, Fates
from guard.dedup.stage import filled
from guard.errors import ConfigError
from guard.sources.folder import IMAGE_SUFFIXES
from guard.sources.webdataset import (
    DAMAGES,
    SAMPLE_MEMBERS,
    WebDatasetSource,
    member_time,
    open_shard,
    sample_key,
)

__all__ = ["apply_shards"]

_SPOOLED = 64 << 20  # bytes of a sample's member that are held in memory


def apply_shards(
    source: WebDatasetSource,
    folder: Path,
    fates: Fates,
    applied: Applied,
    *,
    on_progress: Callable[[int], None] = lambda _done: None,
) -> None:
    """Fill a folder with a shard for each shard of the source, also where none of its samples stays.

    A sample stays as a whole if any of its pictures does. What a damaged shard has lost stays lost.
    on_progress: samples done.
    """
    names = [shard.name for shard in source.shards]
    if len(set(names)) < len(names):
        raise ConfigError("two shards of the source have one name; look for duplicates folder by folder")
    done = 0
    for shard in source.shards:
        if not shard.is_file():
            applied.count(fates.of(shard.name, size=0, modified=0, data=bytes))
            continue
        with ExitStack() as stack:
            writer = _Writer(folder / shard.name, stack)
            for sample in _samples(shard, fates, applied):
                done += 1
                if _stays(shard, sample, fates, applied):
                    writer.add(sample)
                on_progress(done)
        applied.copied += 1


@dataclass(frozen=True, slots=True)
class _Member:
    info: tarfile.TarInfo
    file: IO[bytes] | None
    """What it holds; None of a link or a device."""

    @property
    def is_picture(self) -> bool:
        return PurePosixPath(self.info.name).suffix.lower() in IMAGE_SUFFIXES

    def data(self) -> bytes:
        if self.file is None:
            return b""
        self.file.seek(0)
        return self.file.read()


def _stays(shard: Path, sample: list[_Member], fates: Fates, applied: Applied) -> bool:
    """Counts every picture of the sample."""
    pictures = [member for member in sample if member.is_picture]
    if not pictures:
        applied.count(fates.of(f"{shard.name}/{sample_key(sample[0].info.name)}", size=0, modified=0, data=bytes))
        return False
    found = []
    for member in pictures:
        uri, modified = f"{shard.name}/{member.info.name}", member_time(member.info.mtime)
        found.append(fates.of(uri, size=member.info.size, modified=modified, data=member.data))
        applied.count(found[-1])
    return Fate.STAYS in found


def _samples(shard: Path, fates: Fates, applied: Applied) -> Iterator[list[_Member]]:
    """Runs of members of one key, as WebDatasetSource sees them, up to where a damaged shard breaks off."""
    try:
        with open_shard(shard) as raw, tarfile.open(fileobj=raw, mode="r:") as archive:
            yield from _runs(archive)
            raw.require_end()
    except DAMAGES as exc:
        if isinstance(exc, ConfigError):
            raise
        applied.count(fates.of(shard.name, size=0, modified=0, data=bytes))


def _runs(archive: tarfile.TarFile) -> Iterator[list[_Member]]:
    with ExitStack() as held:
        key, members = "", list[_Member]()
        for info in archive:
            archive.members = []  # type: ignore[attr-defined]  # tarfile keeps every member otherwise
            if info.isdir():
                continue
            own = sample_key(info.name)
            if members and (own != key or len(members) >= SAMPLE_MEMBERS):
                yield members
                held.pop_all().close()
                members = []
            key = own
            members.append(_Member(info, _spooled(archive, info, held) if info.isfile() else None))
        if members:
            yield members


def _spooled(archive: tarfile.TarFile, info: tarfile.TarInfo, held: ExitStack) -> IO[bytes]:
    """What a member holds, read now: a gzip cannot go back."""
    file: Any = held.enter_context(tempfile.SpooledTemporaryFile(_SPOOLED))  # noqa: SIM115  # closed after its sample
    source = archive.extractfile(info)
    if source is not None:
        shutil.copyfileobj(source, file)
    if file.tell() != info.size:
        raise tarfile.ReadError(f"unexpected end of data in {info.name}")
    return file  # type: ignore[no-any-return]


class _Writer:
    """A shard in the making, under another name until it is whole; one that is there already is left as it is."""

    def __init__(self, path: Path, stack: ExitStack) -> None:
        self._archive: tarfile.TarFile | None = None
        if path.exists():
            return
        target: Any = stack.enter_context(stack.enter_context(filled(path)).open("wb"))
        if path.suffix in (".gz", ".tgz"):
            target = stack.enter_context(gzip.GzipFile("", "wb", fileobj=target, mtime=0))
        opened = tarfile.open(fileobj=target, mode="w", format=tarfile.PAX_FORMAT)  # noqa: SIM115  # the stack closes it
        self._archive = stack.enter_context(opened)

    def add(self, sample: list[_Member]) -> None:
        if self._archive is None:
            return
        for member in sample:
            if member.file is None:
                self._archive.addfile(member.info)
                continue
            member.file.seek(0)
            member.info.type = tarfile.REGTYPE  # a sparse file was read as what it stands for
            self._archive.addfile(member.info, member.file)
