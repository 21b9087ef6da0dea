"""A version in the making, that survives `kill -9`. Knows how rows reach the disk; no pictures and no source.

One batch is one step: vectors are appended, thumbnails, keypoints and records committed, and at last
progress.sqlite says how far the build is. Whatever a killed process wrote beyond that is
cut off when the build is resumed, so that at most one batch is done twice.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from guard._version import __version__
from guard.embedders.base import EmbedderSpec
from guard.embedders.pdq import METHOD
from guard.errors import ConfigError, GuardError, IndexLoadError
from guard.indexes.cluster_rows import clusters_entry
from guard.indexes.faissfile import ORIGINALS, VECTORS, FlatLayout, map_rows
from guard.indexes.hashes import HASHES, count_usable, encode_hashes
from guard.indexes.hashes import LAYOUT as HASH_LAYOUT
from guard.indexes.layout import file_entry, sync_path, write_durably
from guard.indexes.manifest import (
    CALIBRATION,
    FORMAT_VERSION,
    MANIFEST,
    SMALL,
    ClustersEntry,
    EmbedderEntry,
    FileEntry,
    HashesEntry,
    Manifest,
    SealedEntry,
    ThresholdsEntry,
)
from guard.indexes.records import BLOBS, INDEXES, INSERT_RECORD, KEYPOINTS, RECORDS, THUMBNAILS, create_tables, row_of
from guard.indexes.transform import Transform
from guard.indexes.transformed_rows import apply_transform, undo_transform
from guard.sources.base import Skip
from guard.types import Record

__all__ = [
    "ALREADY_THERE",
    "LEFT_OUT",
    "SKIPPED",
    "Staging",
    "complete",
    "is_sealed",
    "read_skipped",
    "settings_sha256",
    "unseal",
    "writing",
]

SKIPPED = "skipped.jsonl"
ALREADY_THERE = "already_there"
"""Reason of a skip of what the index holds already (guard.indexes.already_there): nothing is wrong with it."""
LEFT_OUT = "already_there.jsonl"
"""Those of the addition that made a version, where it left out any; the versions after it do not list them."""
_SETTINGS = "settings.json"
_PROGRESS = "progress.sqlite"
_PROGRESS_TABLES = """
    CREATE TABLE IF NOT EXISTS progress (one INTEGER PRIMARY KEY CHECK (one = 1), position INTEGER, rows INTEGER);
    CREATE TABLE IF NOT EXISTS skipped (number INTEGER PRIMARY KEY, uri TEXT, reason TEXT, detail TEXT);
    CREATE TABLE IF NOT EXISTS notes (note TEXT PRIMARY KEY, count INTEGER);
    INSERT OR IGNORE INTO progress VALUES (1, 0, 0);
"""


def settings_sha256(settings: Mapping[str, Any]) -> str:
    return sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


class Staging:
    """Opened new or where it was; appended to; finished. The caller holds the writer's lock."""

    def __init__(
        self,
        folder: Path,
        layout: FlatLayout,
        settings: Mapping[str, Any],
        *,
        thumbnails: bool,
        hashes: bool = False,
        keypoints: bool = False,
        base: Path | None = None,
        restart: bool = False,
    ) -> None:
        """Resume what lies in folder if it has the same settings, else start it.

        hashes: whether it holds PDQ hashes beside the vectors; `base` must hold them then. keypoints: whether it holds
        such of some references.
        base: a published version whose rows come first; it is copied.
        Raises ConfigError, naming what differs, if an unfinished build with other settings lies there
        and restart is False.
        """
        self.folder, self.layout = folder, layout
        self.settings_sha256 = settings_sha256(settings)
        if restart:
            shutil.rmtree(folder, ignore_errors=True)
        self._check_settings(settings)
        self.resumed = (folder / _SETTINGS).exists()
        if not self.resumed:
            blobs = [THUMBNAILS] * thumbnails + [KEYPOINTS] * keypoints
            self._start(settings, blobs, hashes, base)
        undo_transform(folder)
        self._vectors = (folder / VECTORS).open("r+b")
        self._hashes = (folder / HASHES).open("r+b") if (folder / HASHES).exists() else None
        self._records = _connect(folder / RECORDS)
        self._blobs = {name: _connect(folder / name) for name in BLOBS if (folder / name).exists()}
        self._progress = _connect(folder / _PROGRESS)
        self.position, self.rows = self._progress.execute("SELECT position, rows FROM progress").fetchone()
        self._cut()

    def append(
        self,
        rows: bytes,
        records: Sequence[Record],
        thumbnails: Sequence[bytes | None],
        skipped: Iterable[Skip],
        notes: Mapping[str, int],
        *,
        position: int,
        hashes: Sequence[bytes | None] = (),
        keypoints: Sequence[bytes | None] = (),
    ) -> None:
        """One step. rows: the vectors of n references as layout.encode makes them; records and thumbnails n each,
        with ids from self.rows on.

        position: items of the source that are done after this step. hashes: one a record, None without a usable one;
        not looked at in a version that holds none, and neither are thumbnails and keypoints.
        """
        _write(self._vectors, rows)
        if self._hashes is not None:
            if len(hashes) != len(records):
                raise ValueError(f"{len(hashes)} hashes for {len(records)} records")
            _write(self._hashes, encode_hashes(hashes))
        for name, of_each in ((THUMBNAILS, thumbnails), (KEYPOINTS, keypoints)):
            if name in self._blobs:
                pairs = [(r.id, data) for r, data in zip(records, of_each, strict=True) if data is not None]
                with self._blobs[name] as connection:
                    connection.executemany(f"INSERT INTO {BLOBS[name]} VALUES (?, ?)", pairs)  # noqa: S608
        with self._records:
            self._records.executemany(INSERT_RECORD, map(row_of, records))
        with self._progress:
            self.note(skipped, notes)
            self._progress.execute("UPDATE progress SET position = ?, rows = rows + ?", (position, len(records)))
        self.position, self.rows = position, self.rows + len(records)

    def note(self, skipped: Iterable[Skip], notes: Mapping[str, int]) -> None:
        """Add to the lists of what was skipped and noted; part of the caller's transaction."""
        rows = [(_text(s.uri), s.reason, _text(s.detail)) for s in skipped]
        self._progress.executemany("INSERT INTO skipped (uri, reason, detail) VALUES (?, ?, ?)", rows)
        self._progress.executemany(
            "INSERT INTO notes VALUES (?, ?) ON CONFLICT DO UPDATE SET count = count + excluded.count", notes.items()
        )

    def skipped(self) -> dict[str, int]:
        """By reason, without what was there already."""
        sql = "SELECT reason, COUNT(*) FROM skipped WHERE reason != ? GROUP BY reason ORDER BY reason"
        return dict(self._progress.execute(sql, (ALREADY_THERE,)))

    def already_there(self) -> int:
        """Items that were left out since the index holds them."""
        sql = "SELECT COUNT(*) FROM skipped WHERE reason = ?"
        return int(self._progress.execute(sql, (ALREADY_THERE,)).fetchone()[0])

    def notes(self) -> dict[str, int]:
        return dict(self._progress.execute("SELECT note, count FROM notes ORDER BY note"))

    def finish(self) -> dict[str, FileEntry]:
        """Complete every file, and return their sizes and checksums. May be repeated after a kill."""
        self._vectors.seek(0)
        self._vectors.write(self.layout.header(self.rows))
        if self._hashes is not None:
            self._hashes.seek(0)
            self._hashes.write(HASH_LAYOUT.header(self.rows))
        names = [VECTORS, RECORDS, SKIPPED, *self._blobs]
        names += [HASHES] * (self._hashes is not None) + [LEFT_OUT] * (self.already_there() > 0)
        for name, which in ((SKIPPED, "!="), (LEFT_OUT, "=")):
            if name in names:
                self._list(self.folder / name, which)
        self._records.executescript(f"BEGIN; {INDEXES} COMMIT;")
        self.close()
        for name in names:
            sync_path(self.folder / name)
        return {name: file_entry(self.folder / name) for name in names}

    def _list(self, path: Path, which: str) -> None:
        """A line a skip. which: SQL's comparison of its reason with ALREADY_THERE."""
        sql = f"SELECT uri, reason, detail FROM skipped WHERE reason {which} ? ORDER BY number"  # noqa: S608
        with path.open("w", encoding="utf-8") as file:
            for uri, reason, detail in self._progress.execute(sql, (ALREADY_THERE,)):
                file.write(json.dumps({"uri": uri, "reason": reason, "detail": detail}, ensure_ascii=False) + "\n")

    def hashes(self) -> HashesEntry | None:
        """What the manifest says of the hashes; None without any."""
        if self._hashes is None:
            return None
        self._hashes.flush()
        return HashesEntry(method=METHOD, usable=count_usable(map_rows(self.folder / HASHES, HASH_LAYOUT, self.rows)))

    def collections(self) -> dict[str, int]:
        """References in each collection."""
        sql = "SELECT value, COUNT(*) FROM records, json_each(records.collections) GROUP BY value ORDER BY value"
        return dict(self._records.execute(sql))

    def clusters(self, before: ClustersEntry) -> ClustersEntry:
        """What is left of the clusters of the version that this one goes on from."""
        rows = self._records.execute("SELECT cluster FROM records ORDER BY id").fetchall()
        return clusters_entry(np.array(rows, np.int64).ravel(), before.method, before.found_at)

    def seal(self, manifest: Manifest) -> None:
        """Write the manifest: from here on the folder is complete and only needs to be published."""
        write_durably(self.folder / MANIFEST, manifest.to_json().encode())
        unseal(self.folder)

    def close(self) -> None:
        """Close the files; what was appended stays and can be resumed."""
        for file in (self._vectors, self._hashes):
            if file is not None:
                file.close()
        for connection in (self._records, self._progress, *self._blobs.values()):
            connection.close()

    def _check_settings(self, settings: Mapping[str, Any]) -> None:
        path = self.folder / _SETTINGS
        if not path.exists():
            return
        try:
            before = json.loads(path.read_text(encoding="utf-8"))
        except ValueError:
            before = {}
        differing = sorted(k for k in {*before, *settings} if before.get(k) != json.loads(json.dumps(settings.get(k))))
        if differing:
            raise ConfigError(
                f"an unfinished build with other settings lies in {self.folder} (differing: {', '.join(differing)}); "
                "run the same command as before to finish it, or start over with --restart"
            )

    def _start(self, settings: Mapping[str, Any], blobs: Sequence[str], hashes: bool, base: Path | None) -> None:
        """settings.json is written last: without it the folder holds nothing worth resuming."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        if base is None:
            (self.folder / VECTORS).write_bytes(self.layout.header(0))
            if hashes:
                (self.folder / HASHES).write_bytes(HASH_LAYOUT.header(0))
        else:
            for name in (VECTORS, RECORDS, *blobs, *[HASHES] * hashes):
                if (base / name).exists():
                    source = base / ORIGINALS if name == VECTORS and (base / ORIGINALS).exists() else base / name
                    shutil.copyfile(source, self.folder / name)
        for name in (RECORDS, *blobs):
            with closing(_connect(self.folder / name)) as connection:
                create_tables(connection, name)
        with closing(_connect(self.folder / _PROGRESS)) as self._progress:
            self._progress.executescript(_PROGRESS_TABLES)
            if base is not None:
                carried = Manifest.read(base / MANIFEST)
                with self._progress:
                    self.note(read_skipped(base), carried.notes)
                    self._progress.execute("UPDATE progress SET rows = ?", (carried.count,))
        write_durably(self.folder / _SETTINGS, json.dumps(settings, sort_keys=True).encode())

    def _cut(self) -> None:
        """Drop what a killed process wrote after its last complete step."""
        self._vectors.truncate(self.layout.file_bytes(self.rows))
        self._vectors.seek(0, os.SEEK_END)
        if self._hashes is not None:
            self._hashes.truncate(HASH_LAYOUT.file_bytes(self.rows))
            self._hashes.seek(0, os.SEEK_END)
        with self._records:
            self._records.execute("DELETE FROM records WHERE id >= ?", (self.rows,))
        for name, connection in self._blobs.items():
            with connection:
                connection.execute(f"DELETE FROM {BLOBS[name]} WHERE id >= ?", (self.rows,))  # noqa: S608


def complete(
    staging: Staging,
    spec: EmbedderSpec,
    sources: Sequence[str],
    transform: Transform | None = None,
    *,
    base: Path | None = None,
    sealed: SealedEntry | None = None,
    folders: Iterable[str] = (),
    region_handicap: float = 0.0,
) -> Manifest:
    """Finish the files of a staged version and describe them; the staging is closed after this.

    transform: what its vectors go through at last, and queries later. base: the version that it goes on from, whose
    calibration, clusters and thresholds of a small set it keeps; whether they still hold is asked when they are used.
    sealed: how its thumbnails are. folders, region_handicap: see Manifest.
    """
    skipped, notes, collections, hashes = staging.skipped(), staging.notes(), staging.collections(), staging.hashes()
    before = Manifest.read(base / MANIFEST).clusters if base is not None else None
    clusters = staging.clusters(before) if before else None
    files = staging.finish()
    entry = None
    if transform is not None:
        entry, changed = apply_transform(staging.folder, transform, staging.layout, staging.rows)
        files |= changed
    for name in (CALIBRATION, SMALL):
        if base is not None and (base / name).exists():
            shutil.copyfile(base / name, staging.folder / name)
            sync_path(staging.folder / name)
            files[name] = file_entry(staging.folder / name)
    return Manifest(
        format_version=FORMAT_VERSION,
        embedder=EmbedderEntry.model_validate(spec.identity()),
        thresholds=ThresholdsEntry.model_validate(asdict(spec.thresholds)) if spec.thresholds else None,
        vectors=staging.layout.kind,
        count=staging.rows,
        regions=staging.layout.regions,
        region_handicap=region_handicap,
        built_at=datetime.now(UTC),
        tool_version=__version__,
        sources=tuple(sources),
        folders=tuple(dict.fromkeys(folders)) if sealed is None else (),
        collections=collections,
        skipped=skipped,
        notes=notes,
        hashes=hashes,
        clusters=clusters,
        sealed=sealed,
        transform=entry,
        settings_sha256=staging.settings_sha256,
        files=files,
    )


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """A full disk is no fault of the picture or of the settings; what is there can be resumed."""
    try:
        yield
    except (OSError, sqlite3.Error) as exc:
        raise GuardError(
            f"{folder} cannot be written ({exc}); make room, then run the same command again to go on"
        ) from exc


def read_skipped(version: Path, name: str = SKIPPED) -> list[Skip]:
    """name: SKIPPED, or LEFT_OUT where a version has it."""
    try:
        lines = (version / name).read_text(encoding="utf-8").splitlines()
        return [Skip(**json.loads(line)) for line in lines]
    except (OSError, ValueError, TypeError) as exc:
        raise IndexLoadError(f"{version / name} is damaged or missing ({exc}); rebuild the index") from exc


def is_sealed(folder: Path) -> bool:
    return (folder / MANIFEST).is_file()


def unseal(folder: Path) -> None:
    """Drop what only a resumed build needs, once the manifest is written."""
    for name in (_PROGRESS, _SETTINGS):
        (folder / name).unlink(missing_ok=True)


def _write(file: BinaryIO, data: bytes) -> None:
    """Append, and wait until it is on the disk."""
    file.write(data)
    file.flush()
    os.fdatasync(file.fileno())


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA journal_mode = TRUNCATE")
    connection.execute("PRAGMA cache_size = -512")  # KiB; rows are appended, nothing is read twice
    return connection


def _text(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()
