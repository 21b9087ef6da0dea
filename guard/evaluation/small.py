"""A small set of look-alikes under three guards: copies that are found, strangers that are flagged. Knows no table.

In each of a few seeded splits half of the sources (patients) are the private set, and the pictures of the others are
strangers, as they are and edited. Each split is indexed as a small set, and the usual way: without and with pixels
compared. Intervals come from a bootstrap over sources.
"""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from guard.embedders.base import Embedder, EmbedderSpec
from guard.errors import ConfigError
from guard.evaluation.edits import Edit
from guard.evaluation.intervals import clopper_pearson, clustered_mean
from guard.evaluation.pictures import PictureFile, load
from guard.guard import Guard
from guard.indexes.builder import build_index
from guard.pixels import ImageBatch, RGBArray
from guard.small.build import measure_small, small_transform
from guard.sources.base import Item, Skip, Survey
from guard.types import Decision, Status

__all__ = ["WAYS", "evaluate_small"]

WAYS: Mapping[str, Mapping[str, Any]] = {"small": {}, "usual": {"verify": False}, "usual, verified": {"verify": True}}
"""Name -> settings of the guard; the first is on an index of a small set."""
MIN_SOURCES = 4
AS_IT_IS = "as_it_is"
_BATCH = 16


@dataclass(frozen=True, slots=True, eq=False)
class _Query:
    source: int
    family: str
    """Of the edit, or AS_IT_IS."""
    pixels: RGBArray
    copy: bool
    """True: of a reference."""


class _Remembering:
    """An embedder that knows its last batch: the guards look at the same pictures one after another."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self._last: tuple[tuple[RGBArray, ...], Any] = ((), None)

    @property
    def spec(self) -> EmbedderSpec:
        return self._embedder.spec

    def embed(self, batch: ImageBatch) -> Any:
        arrays, rows = self._last
        asked = batch.as_arrays()
        if rows is None or len(asked) != len(arrays) or any(a is not b for a, b in zip(asked, arrays, strict=True)):
            rows = self._embedder.embed(batch)
            self._last = (asked, rows)
        return rows


class _Pictures:
    """A source of files."""

    def __init__(self, pictures: Sequence[PictureFile]) -> None:
        self._pictures = pictures

    def survey(self) -> Survey:
        return Survey(f"{len(self._pictures)} pictures", "", len(self._pictures))

    def items(self, start: int = 0) -> Iterator[Item | Skip]:
        for picture in islice(self._pictures, start, None):
            yield Item(str(picture.path), path=picture.path)


def evaluate_small(
    pictures: Sequence[PictureFile],
    embedder: Embedder,
    edits: Sequence[Edit],
    *,
    splits: int = 2,
    seed: int = 0,
    progress: Callable[[str, int, int], None] = lambda _stage, _done, _total: None,
) -> dict[str, Any]:
    """Plain JSON values: of each way the copies that were found and the strangers that were flagged, and what each
    split says of itself.

    pictures: of one source never tell against one another. Needs OpenCV, and an embedder with thresholds of its own.
    Raises ConfigError for fewer than four sources.
    """
    sources = sorted({picture.source for picture in pictures})
    if len(sources) < MIN_SOURCES:
        raise ConfigError(
            f"{len(sources)} sources are too few: at least {MIN_SOURCES} are needed, half of them strangers"
        )
    decisions: dict[str, dict[str, dict[int, list[Decision]]]] = {
        way: defaultdict(lambda: defaultdict(list)) for way in WAYS
    }
    sets = []
    for split in range(splits):
        order = np.random.default_rng([seed, split // 2]).permutation(sources)
        halves = order[: len(order) // 2], order[len(order) // 2 :]  # in turn, so that every source is both
        inside = set(halves[split % 2].tolist())
        references = [picture for picture in pictures if picture.source in inside]
        with tempfile.TemporaryDirectory() as folder:
            guards, said = _guards(Path(folder), references, embedder)
            sets.append({"references": len(references), **said})
            total = len(pictures) * len(edits) + len(pictures) - len(references)
            queries = _queries(pictures, inside, edits, seed)
            done = 0
            while some := list(islice(queries, _BATCH)):
                for way, guard in guards.items():
                    _ask(guard, some, decisions[way])
                done += len(some)
                progress(f"split {split + 1} of {splits}", done, total)
    return {
        "pictures": len(pictures),
        "sources": len(sources),
        "splits": splits,
        "seed": seed,
        "edits": [edit.name for edit in edits],
        "embedder": embedder.spec.identity(),
        "sets": sets,
        "ways": {way: {group: _figures(by_source) for group, by_source in found.items()}
                 for way, found in decisions.items()},
    }  # fmt: skip


def _guards(
    folder: Path, references: Sequence[PictureFile], embedder: Embedder
) -> tuple[dict[str, Guard], dict[str, Any]]:
    transform, note = small_transform(embedder.spec)
    build_index(_Pictures(references), folder / "small", embedder, transform=transform)
    small = measure_small(folder / "small", embedder, note=note).small
    build_index(_Pictures(references), folder / "usual", embedder)
    shared = _Remembering(embedder)
    guards = {
        way: Guard.open(
            folder / ("small" if way == "small" else "usual"),
            embedder=shared,
            deadline_s=None,
            mode="flag",
            **settings,
        )
        for way, settings in WAYS.items()
    }
    return guards, {**small.model_dump(mode="json"), "warnings": small.warnings}


def _queries(pictures: Sequence[PictureFile], inside: set[int], edits: Sequence[Edit], seed: int) -> Iterator[_Query]:
    """Edits of every picture, with strangers laid under or beside them; strangers as they are as well."""
    for i, picture in enumerate(pictures):
        pixels, copy = load(picture.path), picture.source in inside
        others = [p for p in pictures if p.source not in inside and p.source != picture.source]
        chosen = np.random.default_rng([seed, i]).permutation(len(others))[:3]
        beside = [load(others[j].path) for j in chosen]
        if not copy:
            yield _Query(picture.source, AS_IT_IS, pixels, copy)
        for edit in edits:
            yield _Query(picture.source, edit.family, edit(pixels, beside, seed=(seed, i)), copy)


def _ask(guard: Guard, queries: Sequence[_Query], into: dict[str, dict[int, list[Decision]]]) -> None:
    report = guard.check([query.pixels for query in queries])
    for query, verdict in zip(queries, report, strict=True):
        if verdict.status is not Status.SUCCESS or verdict.decision is None:
            raise ConfigError(f"a check failed: {'; '.join(verdict.reasons)}")
        kind = "copies" if query.copy else "strangers"
        for group in (kind, f"{kind}: {query.family}"):
            into[group][query.source].append(verdict.decision)


def _figures(by_source: Mapping[int, list[Decision]]) -> dict[str, Any]:
    """Shares that were flagged or blocked, and blocked; each source weighs the same."""
    shares = {
        "flagged": [float(np.mean([d is not Decision.ALLOW for d in found])) for found in by_source.values()],
        "blocked": [float(np.mean([d is Decision.BLOCK for d in found])) for found in by_source.values()],
    }
    counts = {"queries": sum(map(len, by_source.values())), "sources": len(by_source)}
    return {**counts, **{name: _interval(values) for name, values in shares.items()}}


def _interval(shares: Sequence[float]) -> dict[str, float]:
    """Of none or all a bootstrap says nothing: the sources are counted then, as one trial each (Clopper, Pearson)."""
    found = clustered_mean(shares)
    if found.value in (0.0, 1.0):
        found = clopper_pearson(round(sum(shares)), len(shares))
    return {"value": found.value, "low": found.low, "high": found.high}
