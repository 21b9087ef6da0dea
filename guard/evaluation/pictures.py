"""Folders -> groups of pictures, and which of them show one source. Knows files; no edits and no descriptors.

Pictures of one source (a patient, overlapping views, variants of one photograph, files that are the same) are never
negatives of one another, and count as one unit in every interval. What belongs together comes from tables:
`patients.tsv` in or below a folder (header `file<TAB>…`: files with the same second column), tables that the caller
names (the same, or pairs: two columns of paths), and folders that the caller calls one source.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from guard.decode import decode
from guard.errors import ConfigError, InputError
from guard.evaluation.edits.base import scaled
from guard.pixels import RGBArray
from guard.sources.folder import IMAGE_SUFFIXES

__all__ = ["SIDE", "SOURCES_FILE", "Loaded", "PictureFile", "find_pictures", "load", "read_pairs", "table_rows"]

SIDE = 512  # px of the longer side; a larger picture is brought to it
SMALLEST = 48  # px of the shorter side; of less, a crop to a quarter leaves nothing
SOURCES_FILE = "patients.tsv"


@dataclass(frozen=True, slots=True)
class PictureFile:
    """One picture of an evaluation; its pixels are read when they are needed."""

    path: Path
    group: str
    sha256: str
    """Of the pixels as `load` returns them."""
    source: int
    """Pictures with the same number show one source."""


@dataclass(frozen=True, slots=True)
class Loaded:
    pictures: tuple[PictureFile, ...]
    """Group by group, by path."""
    skipped: tuple[str, ...]
    """A line for each file that cannot be read or is too small."""


def load(path: Path, side: int = SIDE) -> RGBArray:
    """Decode a picture, its longer side at most `side` px. Raises InputError."""
    rgb = decode(path).rgb
    h, w = rgb.shape[:2]
    if min(h, w) < SMALLEST:
        raise InputError(f"{path} is {w} x {h} px; sides from {SMALLEST} px can be evaluated")
    factor = side / max(h, w)
    return scaled(rgb, round(w * factor), round(h * factor), Image.Resampling.LANCZOS) if factor < 1 else rgb


def find_pictures(
    groups: Mapping[str, Sequence[Path]],
    *,
    same: Sequence[Path] = (),
    one_source: Sequence[Path] = (),
    limit: int | None = None,
    unlimited: Collection[str] = (),
    seed: int = 0,
    side: int = SIDE,
    progress: Callable[[int, int], None] = lambda _done, _all: None,
) -> Loaded:
    """Read every picture below the folders of each group.

    same: tables of files of one source. one_source: folders that show one source each. limit: at most so many pictures
    a group, drawn by the seed; not of the groups in `unlimited`. A file that is in two groups counts in the first.
    progress: called with (done, all).
    Raises ConfigError for a folder or table that does not exist, or a folder without a picture.
    """
    files = {
        group: _drawn(_files(folders), None if group in unlimited else limit, seed) for group, folders in groups.items()
    }
    read: list[tuple[Path, str, str]] = []
    skipped: list[str] = []
    seen: set[Path] = set()
    total = sum(map(len, files.values()))
    for group, path in ((group, path) for group, paths in files.items() for path in paths):
        if path in seen:
            continue
        seen.add(path)
        try:
            pixels = load(path, side)
            read.append((path, group, hashlib.sha256(repr(pixels.shape).encode() + pixels.tobytes()).hexdigest()))
        except InputError as exc:
            skipped.append(str(exc))
        progress(len(seen), total)
    tables = sorted({table for folders in groups.values() for f in folders for table in f.rglob(SOURCES_FILE)})
    sets = [*(s for table in (*tables, *same) for s in _sets(table)), *_below(one_source, seen)]
    sources = _joined([path for path, _, _ in read], [sha for _, _, sha in read], sets)
    return Loaded(
        tuple(PictureFile(p, g, sha, sources[i]) for i, (p, g, sha) in enumerate(read)), tuple(skipped)
    )  # fmt: skip


def read_pairs(table: Path) -> list[tuple[Path, Path, str]]:
    """(query, reference, label) of a table of real copies; the third column may be missing.

    Paths are relative to the table, or to a folder `images` beside it. Raises ConfigError for a path that is neither.
    """
    return [(_resolved(table, r[0]), _resolved(table, r[1]), r[2] if len(r) > 2 else "") for r in table_rows(table)[1:]]


def table_rows(table: Path) -> list[list[str]]:
    """The cells of a table with tabs, header first. Raises ConfigError if there are fewer than two columns."""
    try:
        with table.open(encoding="utf-8", newline="") as file:
            rows = [row for row in csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE) if row]
    except OSError as exc:
        raise ConfigError(f"{table} cannot be read: {exc.strerror}") from exc
    except UnicodeDecodeError as exc:
        raise ConfigError(f"{table} is no table of text with tabs") from exc
    if not rows or any(len(row) < 2 for row in rows):
        raise ConfigError(f"{table} must have a header and at least two columns with a tab between them")
    return rows


def _files(folders: Iterable[Path]) -> list[Path]:
    found: set[Path] = set()
    for folder in folders:
        if not folder.is_dir():
            raise ConfigError(f"no such folder: {folder}")
        here = {p.resolve() for p in folder.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES and p.is_file()}
        if not here:
            raise ConfigError(f"{folder} holds no picture ({', '.join(sorted(IMAGE_SUFFIXES))})")
        found |= here
    return sorted(found)


def _drawn(files: list[Path], limit: int | None, seed: int) -> list[Path]:
    if limit is None or len(files) <= limit:
        return files
    chosen = np.random.default_rng(seed).permutation(len(files))[:limit]
    return [files[i] for i in sorted(chosen.tolist())]


def _sets(table: Path) -> Iterator[list[Path]]:
    """What a table says belongs together: files with one label, or pairs."""
    rows = table_rows(table)
    if rows[0][0] != "file":
        yield from ([query, reference] for query, reference, _ in read_pairs(table))
        return
    labelled: dict[str, list[Path]] = {}
    for row in rows[1:]:
        labelled.setdefault(row[1], []).append(_resolved(table, row[0]))
    yield from labelled.values()


def _below(folders: Sequence[Path], files: set[Path]) -> Iterator[list[Path]]:
    for folder in folders:
        inside = [path for path in files if path.is_relative_to(folder.resolve())]
        if not folder.is_dir():
            raise ConfigError(f"no such folder: {folder}")
        yield inside


def _resolved(table: Path, name: str) -> Path:
    for folder in (table.parent, table.parent / "images"):
        if (folder / name).exists():
            return (folder / name).resolve()
    raise ConfigError(f"{table} names {name}, which is neither beside it nor in a folder `images` beside it")


def _joined(paths: list[Path], hashes: list[str], sets: Iterable[list[Path]]) -> list[int]:
    """Number the sources: union of the sets and of pictures with the same pixels."""
    parent = list(range(len(paths)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    position = {path: i for i, path in enumerate(paths)}
    first: dict[str, int] = {}
    links = [(i, first.setdefault(sha, i)) for i, sha in enumerate(hashes)]
    for members in sets:
        known = [position[path] for path in members if path in position]
        links += [(known[0], other) for other in known[1:]]
    for a, b in links:
        parent[max(root(a), root(b))] = min(root(a), root(b))
    numbers: dict[int, int] = {}
    return [numbers.setdefault(root(i), len(numbers)) for i in range(len(paths))]
