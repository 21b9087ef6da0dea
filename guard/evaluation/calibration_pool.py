"""Pictures of folders and of procedural families -> the pool that calibrations are tried on. Knows pixels and views.

Pictures are drawn and embedded some at a time. With a cache each such part is kept when it is finished.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from guard.embedders.base import Embedder
from guard.embedders.views import embed_views
from guard.errors import ConfigError
from guard.evaluation.calibrated import Pool
from guard.evaluation.pictures import PictureFile, find_pictures, load
from guard.evaluation.scores import ahead
from guard.pixels import ImageBatch, RGBArray
from guard.wholefile import whole_file

__all__ = ["FIRST_PROGRAM", "PROCEDURAL_PX", "make_pool"]

FIRST_PROGRAM = 1 << 40  # seeds that no training run draws
PROCEDURAL_PX = 128
_BATCH = 16  # pictures embedded together, and kept together

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class _Part:
    """Some pictures of one group."""

    group: str
    name: str
    """Of what it is; with the first picture, which another version of a generator draws otherwise, of what it shows."""
    pictures: tuple[Callable[[], RGBArray], ...]


def make_pool(
    embedder: Embedder,
    *,
    groups: Mapping[str, Sequence[Path]],
    procedural: int = 0,
    same: Sequence[Path] = (),
    limit: int | None = None,
    seed: int = 0,
    cache: Path | None = None,
    progress: Callable[[str, int, int], None] = lambda _what, _done, _all: None,
) -> tuple[Pool, tuple[str, ...]]:
    """Embed every picture once, as it is; the second value lists what was skipped.

    groups, same, limit: see guard.evaluation.pictures.find_pictures; a group's name is that of its pictures.
    procedural: pictures of each family of guard.training.generators, of programs beyond those of any training run; each
    family is a group, and each program a source. cache: folder that keeps descriptors, so that a stopped run goes on.
    Raises ConfigError as find_pictures does, and for a cache that cannot be written.
    """
    found = find_pictures(
        groups,
        same=same,
        limit=limit,
        seed=seed,
        progress=lambda done, total: progress("reading", done, total),
    )
    known = max((picture.source for picture in found.pictures), default=-1) + 1
    parts = [*_of_files(found.pictures), *_of_programs(procedural, seed)]
    total = sum(len(part.pictures) for part in parts)
    sources = [*(picture.source for picture in found.pictures), *range(known, known + total - len(found.pictures))]
    rows = [np.empty((0, embedder.spec.dim), np.float32)]
    progress("embedding", 0, total)
    done = 0
    for file, made in ahead(lambda i: _begun(parts[i], embedder, cache), len(parts)):
        if isinstance(made, list):
            made = _embedded(embedder, made)
            _write(file, made)
        rows.append(made)
        done += len(made)
        progress("embedding", done, total)
    names = tuple(part.group for part in parts for _ in part.pictures)
    return Pool(np.concatenate(rows), np.array(sources, np.intp), names), found.skipped


def _begun(part: _Part, embedder: Embedder, cache: Path | None) -> tuple[Path | None, Floats | list[RGBArray]]:
    """Where a part is kept; and its descriptors if they are there, else its pictures."""
    first, *others = part.pictures
    shown, file = first(), None
    if cache is not None:
        content = hashlib.sha256(shown.tobytes()).hexdigest()
        said = f"{sorted(embedder.spec.identity().items())}\n{part.name}\n{content}"
        key = hashlib.sha256(said.encode()).hexdigest()
        file = cache / key[:2] / f"{key}.npy"
        with suppress(OSError, ValueError, EOFError):  # none, or one that is damaged
            return file, np.load(file, allow_pickle=False)
    return file, [shown, *(picture() for picture in others)]


def _embedded(embedder: Embedder, pictures: Sequence[RGBArray]) -> Floats:
    vectors = embed_views(embedder, ImageBatch(arrays=tuple(pictures)), "one", own=False).vectors[:, 0]
    return np.asarray(vectors.detach().cpu() if hasattr(vectors, "detach") else vectors, np.float32)


def _of_files(pictures: Sequence[PictureFile]) -> Iterator[_Part]:
    """In the order of the pictures, whose groups follow one another."""
    start = 0
    while start < len(pictures):
        group = pictures[start].group
        some = [picture for picture in pictures[start : start + _BATCH] if picture.group == group]
        listed = " ".join(picture.sha256 for picture in some)
        yield _Part(group, listed, tuple(partial(load, picture.path) for picture in some))
        start += len(some)


def _of_programs(each: int, seed: int) -> Iterator[_Part]:
    """So many pictures of each family."""
    if not each:
        return
    from guard.training.generators import FAMILIES, picture as draw  # noqa: I001 (a name of ours is taken)

    for at, (name, family) in enumerate(FAMILIES.items()):
        first = FIRST_PROGRAM + ((seed * 100 + at) << 24)
        for start in range(0, each, _BATCH):
            programs = range(first + start, first + min(start + _BATCH, each))
            draws = tuple(partial(draw, program, PROCEDURAL_PX, family=family) for program in programs)
            yield _Part(name, f"{name} {programs} {PROCEDURAL_PX} px", draws)


def _write(file: Path | None, rows: Floats) -> None:
    if file is None:
        return
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise ConfigError(f"--cache: {file.parent} cannot be made ({exc.strerror or exc})") from exc
    with whole_file(file) as new, new.open("wb") as handle:
        np.save(handle, rows, allow_pickle=False)
