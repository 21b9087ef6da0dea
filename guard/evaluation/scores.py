"""Pictures, edits and an entrant -> similarities of every query with every reference it could meet. Knows no metric.

Variant 0 of a picture is the picture itself, variant i the i-th edit of it. For each split, a variant's best
similarity is taken over the split's references, without its own source: what is left is a wrong answer. How two
pictures compare is a function of its own: a similarity may depend on the split, as one that is fitted on its
references does, or be made of those of several entrants.
"""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from guard.evaluation.edits import VERSION, Edit
from guard.evaluation.entrants import Entrant, Vectors, similarities_of
from guard.evaluation.pictures import PictureFile, load
from guard.pixels import RGBArray

__all__ = [
    "Embedded",
    "Scores",
    "Similarities",
    "ahead",
    "context_of",
    "embed_all",
    "inner_products",
    "score",
    "variants_of",
]

OTHERS = 3  # carriers that one picture's edits may use
T = TypeVar("T")
AHEAD = 2  # pictures whose edits are made while others are embedded

Similarities = Callable[[int], npt.NDArray[np.float32]]
"""Picture i -> (parts, variants, pictures): each of its variants as a query, each picture as a reference.

parts is 1, or the number of splits where the similarity depends on who is a reference."""


@dataclass(frozen=True, slots=True, eq=False)
class Embedded:
    """An entrant's vectors of all pictures."""

    references: Vectors
    """(pictures, views, d)."""
    queries: list[Vectors]
    """Of each picture (variants, views, d)."""
    background: Vectors | None = None
    """(b, d) of pictures that share no source with these, embedded as references are."""
    handicap: float = 0.0
    region_handicap: float = 0.0
    """Both as the entrant's."""


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    own: npt.NDArray[np.float32]
    """(parts, pictures, variants): similarity of a variant with its picture. parts: 1, or the splits."""
    best_other: npt.NDArray[np.float32]
    """(splits, pictures, variants): with the nearest reference of another source."""
    untouched: npt.NDArray[np.float32]
    """(parts, pictures, pictures): of the pictures as they are; the first one is the query."""


def embed_all(
    pictures: Sequence[PictureFile],
    carriers: Sequence[RGBArray],
    edits: Sequence[Edit],
    entrants: Sequence[Entrant],
    *,
    seed: int,
    side: int,
    cache: Path | None = None,
    progress: Callable[[], None] = lambda: None,
) -> dict[str, Embedded]:
    """Edit every picture once and let every entrant embed it. carriers: for insets, collages and blends; at least one.

    cache: a folder where vectors are kept; what is there is neither edited nor embedded again.
    """
    context = context_of(carriers, edits, seed, side)
    found: dict[str, list[tuple[Vectors, Vectors]]] = {entrant.name: [] for entrant in entrants}
    files = [[_cached(cache, entrant, picture, context) for entrant in entrants] for picture in pictures]

    def variants(i: int) -> list[RGBArray] | None:
        missing = [one for one, path in zip(entrants, files[i], strict=True) if path is None or not path.exists()]
        if all(one.looks_as for one in missing):
            return [load(pictures[i].path, side)] if missing else None
        return variants_of(pictures[i], carriers, edits, seed, side)

    for i, made in enumerate(ahead(variants, len(pictures))):
        for entrant, path in zip(entrants, files[i], strict=True):
            vectors = _read(path)
            if vectors is None:
                if not made or (len(made) == 1 and not entrant.looks_as):
                    made = variants_of(pictures[i], carriers, edits, seed, side)
                looked = entrant.queries(made) if not entrant.looks_as else np.empty((0, 0, 0), np.float32)
                vectors = (entrant.references(made[:1])[0], looked)
                _write(path, vectors)
            found[entrant.name].append(vectors)
        progress()
    queries = {name: [q for _, q in vectors] for name, vectors in found.items()}
    return {
        one.name: Embedded(
            np.stack([r for r, _ in found[one.name]]),
            queries[one.looks_as or one.name],
            handicap=one.handicap,
            region_handicap=one.region_handicap,
        )
        for one in entrants
    }


def inner_products(embedded: Embedded) -> Similarities:
    """The similarity of two pictures is the largest inner product of their views, less the handicap of the view."""
    less = embedded.handicap, embedded.region_handicap
    return lambda picture: similarities_of(embedded.queries[picture], embedded.references, *less)[None]


def score(similarities: Similarities, sources: npt.NDArray[np.intp], is_reference: npt.NDArray[np.bool_]) -> Scores:
    """sources (pictures,), is_reference (splits, pictures). At least two sources are references in every split."""
    splits, n = is_reference.shape
    parts, variants, _ = similarities(0).shape
    own = np.empty((parts, n, variants), np.float32)
    best = np.empty((splits, n, variants), np.float32)
    untouched = np.empty((parts, n, n), np.float32)
    for i, found in enumerate(ahead(similarities, n)):
        own[:, i], untouched[:, i] = found[:, :, i], found[:, 0]
        other = np.where(sources == sources[i], np.float32(-np.inf), found)
        for split, chosen in enumerate(is_reference):
            best[split, i] = other[split % parts][:, chosen].max(axis=1)
    return Scores(own, best, untouched)


def variants_of(
    picture: PictureFile, carriers: Sequence[RGBArray], edits: Sequence[Edit], seed: int, side: int
) -> list[RGBArray]:
    """The picture as it is, then under each of the edits."""
    pixels = load(picture.path, side)
    key = [seed, int(picture.sha256[:12], 16)]  # of the content: neither order nor folder matter
    chosen = np.random.default_rng(key).permutation(len(carriers))[:OTHERS]
    others = [carriers[i] for i in chosen.tolist()]
    return [pixels, *(edit(pixels, others, seed=key) for edit in edits)]


def ahead(make: Callable[[int], T], n: int, workers: int | None = None) -> Iterator[T]:
    """make(0), make(1), … in order, a few of them at work in threads: Pillow, OpenCV and numpy let others run."""
    workers = workers or max(1, min(4, os.cpu_count() or 1))
    with ThreadPoolExecutor(workers) as pool:
        waiting: deque[Future[T]] = deque()
        for i in range(n):
            waiting.append(pool.submit(make, i))
            if len(waiting) > workers + AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def context_of(carriers: Sequence[RGBArray], edits: Sequence[Edit], seed: int, side: int) -> str:
    """Everything but the picture and the entrant that decides what the vectors are."""
    listed = [(e.name, e.described) for e in edits]
    digest = hashlib.sha256(repr((VERSION, seed, side, listed)).encode())
    for carrier in carriers:
        digest.update(carrier.tobytes())
    return digest.hexdigest()


def _cached(cache: Path | None, entrant: Entrant, picture: PictureFile, context: str) -> Path | None:
    if cache is None:
        return None
    key = hashlib.sha256(f"{entrant.name}\n{entrant.identity}\n{context}\n{picture.sha256}".encode()).hexdigest()
    return cache / key[:2] / f"{key}.npz"


def _read(path: Path | None) -> tuple[Vectors, Vectors] | None:
    if path is not None and path.exists():
        damaged = (OSError, ValueError, KeyError, EOFError, BadZipFile)  # then it is made anew
        with suppress(*damaged), path.open("rb") as handle, np.load(handle, allow_pickle=False) as file:
            return file["references"], file["queries"]
    return None


def _write(path: Path | None, vectors: tuple[Vectors, Vectors]) -> None:
    if path is None:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(f".{os.getpid()}.part")
    with part.open("wb") as file:
        np.savez(file, references=vectors[0], queries=vectors[1])
    part.replace(path)
