"""Pictures of folders and of procedural families -> the pool that calibrations are tried on. Knows pixels and views."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from guard.embedders.base import Embedder
from guard.embedders.views import embed_views
from guard.evaluation.calibrated import Pool
from guard.evaluation.pictures import find_pictures, load
from guard.pixels import ImageBatch, RGBArray

__all__ = ["FIRST_PROGRAM", "PROCEDURAL_PX", "make_pool"]

FIRST_PROGRAM = 1 << 40  # seeds that no training run draws
PROCEDURAL_PX = 128
_BATCH = 16


def make_pool(
    embedder: Embedder,
    *,
    groups: Mapping[str, Sequence[Path]],
    procedural: int = 0,
    same: Sequence[Path] = (),
    limit: int | None = None,
    seed: int = 0,
    progress: Callable[[str, int, int], None] = lambda _what, _done, _all: None,
) -> tuple[Pool, tuple[str, ...]]:
    """Embed every picture once, as it is; the second value lists what was skipped.

    groups, same, limit: see guard.evaluation.pictures.find_pictures; a group's name is that of its pictures.
    procedural: pictures of each family of guard.training.generators, of programs beyond those of any training run; each
    family is a group, and each program a source.
    Raises ConfigError as find_pictures does.
    """
    found = find_pictures(
        groups,
        same=same,
        limit=limit,
        seed=seed,
        progress=lambda done, total: progress("reading", done, total),
    )
    drawn = list(_programs(procedural, seed))
    names = [*(picture.group for picture in found.pictures), *(name for name, _ in drawn)]
    known = max((picture.source for picture in found.pictures), default=-1) + 1
    sources = [*(picture.source for picture in found.pictures), *range(known, known + len(drawn))]

    def pictures() -> Iterator[RGBArray]:
        for picture in found.pictures:
            yield load(picture.path)
        if drawn:
            from guard.training.generators import FAMILIES, picture as draw  # noqa: I001 (a name of ours is taken)

            for name, program in drawn:
                yield draw(program, PROCEDURAL_PX, family=FAMILIES[name])

    rows = [np.empty((0, embedder.spec.dim), np.float32)]
    waiting, done = pictures(), 0
    progress("embedding", 0, len(names))
    while some := list(islice(waiting, _BATCH)):
        vectors = embed_views(embedder, ImageBatch(arrays=tuple(some)), "one", own=False).vectors[:, 0]
        rows.append(np.asarray(vectors.detach().cpu() if hasattr(vectors, "detach") else vectors, np.float32))
        done += len(some)
        progress("embedding", done, len(names))
    pool = Pool(np.concatenate(rows), np.array(sources, np.intp), tuple(names))
    return pool, found.skipped


def _programs(each: int, seed: int) -> Iterator[tuple[str, int]]:
    """(family, program) of so many pictures of each family."""
    if each:
        from guard.training.generators import FAMILIES

        for at, name in enumerate(FAMILIES):
            for i in range(each):
                yield name, FIRST_PROGRAM + ((seed * 100 + at) << 24) + i
