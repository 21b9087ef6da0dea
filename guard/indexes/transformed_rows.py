"""The files of a version whose vectors went through a transform: written, undone, read. Knows no search and no fitting.

Whitened vectors keep their descriptors beside them (ORIGINALS): whitening loses a row's distance from the mean, so
that it cannot be undone from its result. A version in the making always holds descriptors; the transform is the last
step, and a build that was killed within it is put back before it goes on.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from guard.indexes.faissfile import ORIGINALS, VECTORS, FlatLayout, map_rows, originals
from guard.indexes.layout import file_entry, sync_path
from guard.indexes.manifest import TRANSFORM, FileEntry, Manifest, TransformEntry
from guard.indexes.transform import Transform
from guard.types import Descriptors

__all__ = ["DUPLICATE", "apply_transform", "near_references", "original_rows", "read_transform", "undo_transform"]

DUPLICATE = 0.95  # cosine above which two pictures count as one (Somepalli et al., CVPR 2023)
_ROWS = 4096


def read_transform(folder: Path, manifest: Manifest) -> Transform | None:
    """The transform of a version; None if it has none. Raises IndexLoadError for a file that does not fit."""
    if manifest.transform is None:
        return None
    return Transform.read(folder / TRANSFORM, manifest.transform, manifest.embedder.dim)


def original_rows(folder: Path, manifest: Manifest) -> Descriptors:
    """(count * regions, d) descriptors as the embedder made them, mapped read-only.

    Raises IndexLoadError for a damaged file.
    """
    path, layout = originals(folder, manifest)
    rows: Descriptors = map_rows(path, layout, manifest.count)
    return rows


def apply_transform(
    folder: Path, transform: Transform, layout: FlatLayout, count: int
) -> tuple[TransformEntry, dict[str, FileEntry]]:
    """Transform the vectors of a finished folder; returns what the manifest says of it, and of the files it wrote.

    layout, count: of the descriptors in VECTORS, which become ORIGINALS if they change.
    """
    entry = transform.write(folder / TRANSFORM, layout.dim)
    names = [TRANSFORM]
    if transform.whitening is not None:
        (folder / VECTORS).rename(folder / ORIGINALS)
        rows = map_rows(folder / ORIGINALS, layout, count)
        stored = FlatLayout("float32", entry.dim, layout.regions)
        with (folder / VECTORS).open("wb") as file:
            file.write(stored.header(count))
            for start in range(0, len(rows), _ROWS):
                file.write(stored.encode(transform.rows(rows[start : start + _ROWS])))
        names += [VECTORS, ORIGINALS]
    for name in names:
        sync_path(folder / name)
    return entry, {name: file_entry(folder / name) for name in names}


def undo_transform(folder: Path) -> None:
    """Put a folder back that apply_transform has begun with, or finished."""
    if (folder / ORIGINALS).exists():
        (folder / ORIGINALS).replace(folder / VECTORS)
    (folder / TRANSFORM).unlink(missing_ok=True)


def near_references(background: Descriptors, rows: Descriptors) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """(b,) which background pictures are, or nearly are, one of the references: cosine above DUPLICATE.

    background (b, d), rows (n, d): descriptors; rows may be mapped from a file and are read in blocks.
    """
    near = np.zeros(len(background), np.bool_)
    for start in range(0, len(rows), _ROWS):
        block = np.asarray(rows[start : start + _ROWS], np.float32)
        for first in range(0, len(background), _ROWS):
            some = slice(first, first + _ROWS)
            near[some] |= (background[some] @ block.T).max(axis=1, initial=-1) > DUPLICATE
    return near
