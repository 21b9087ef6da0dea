"""A folder of pictures without its duplicates: second names of the originals, captions beside them. Decides nothing."""

from __future__ import annotations

import csv
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

from guard.decode import read_file
from guard.dedup.fates import Applied, Fate, Fates
from guard.dedup.stage import PLAN, filled, place
from guard.errors import ConfigError, InputError
from guard.sources.captions import METADATA_NAMES
from guard.sources.folder import IMAGE_SUFFIXES, FolderSource

__all__ = ["apply_folder"]


def apply_folder(
    source: FolderSource,
    folder: Path,
    fates: Fates,
    applied: Applied,
    *,
    copy: bool,
    on_progress: Callable[[int], None] = lambda _done: None,
) -> None:
    """Fill a folder with the pictures that stay, under the same names.

    A file of the same name but for its suffix goes with its picture, metadata.csv and metadata.jsonl lose the rows of
    what is not there, and all other files are taken along. on_progress: pictures done.
    """
    for file, uri, kind in source.files():
        target = folder / (file.name if file == source.path else file.relative_to(source.path))
        if target == folder / PLAN:
            raise ConfigError(f"{file} has the name of what is written beside the pictures; rename it")
        if kind == "picture":
            fate = _fate(file, uri, fates)
            applied.count(fate)
            on_progress(applied.pictures)
            wanted = fate is Fate.STAYS
        elif file.name in METADATA_NAMES:
            _filtered(file, target, source.path, fates)
            applied.copied += 1
            wanted = False
        else:
            pictures = _pictures_of(file)
            wanted = not pictures or any(fates.stays(_sibling(uri, picture)) for picture in pictures)
        if wanted:
            how = place(file, target, copy=copy)
            applied.linked += how == "linked"
            applied.copied += how == "copied"


def _fate(file: Path, uri: str, fates: Fates) -> Fate:
    def data() -> bytes:
        try:
            return read_file(file, where=uri)
        except InputError as exc:
            raise ConfigError(f"{exc} (it could be read when the source was looked at)") from exc

    try:
        status = file.stat()
    except OSError:
        return fates.of(uri, size=0, modified=0, data=lambda: b"")
    return fates.of(uri, size=status.st_size, modified=int(status.st_mtime), data=data)


def _pictures_of(file: Path) -> list[str]:
    """Names of the pictures that this file stands beside."""
    beside = (file.with_suffix(suffix) for suffix in sorted(IMAGE_SUFFIXES))
    return [picture.name for picture in beside if picture.exists()]


def _sibling(uri: str, name: str) -> str:
    folder, slash, _ = uri.rpartition("/")
    return folder + slash + name


def _filtered(file: Path, target: Path, root: Path, fates: Fates) -> None:
    """The table without the rows of pictures that are not there; other lines as they are."""

    def stays(name: object) -> bool:
        return isinstance(name, str) and fates.stays(Path(os.path.relpath(file.parent / name, root)).as_posix())

    target.parent.mkdir(parents=True, exist_ok=True)
    with filled(target) as new, file.open(encoding="utf-8-sig", newline="") as old:
        if file.suffix == ".jsonl":
            with new.open("w", encoding="utf-8", newline="") as out:
                out.writelines(line for line in old if line.strip() and stays(json.loads(line).get("file_name")))
            return
        csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
        rows = csv.DictReader(old)
        with new.open("w", encoding="utf-8", newline="") as out:
            writer = csv.DictWriter(out, rows.fieldnames or [], extrasaction="ignore")
            writer.writeheader()
            writer.writerows(row for row in rows if stays(row.get("file_name")))
