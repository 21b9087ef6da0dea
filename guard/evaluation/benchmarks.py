"""Published copy-detection benchmarks, for those who have them on disk. Knows their folders; downloads nothing.

Not measured here: the readers were tested on small folders of the same layout.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from guard.errors import ConfigError
from guard.evaluation.entrants import Entrant, Vectors, Views, similarities_of
from guard.evaluation.metrics import micro_ap
from guard.evaluation.pictures import SIDE, load
from guard.sources.folder import IMAGE_SUFFIXES

__all__ = ["Benchmark", "RatedPairs", "copydays", "correlation", "disc21", "drep", "score_benchmark"]


@dataclass(frozen=True, slots=True)
class Benchmark:
    """Queries to be looked up among references."""

    references: tuple[Path, ...]
    queries: tuple[Path, ...]
    truth: Mapping[Path, Path]
    """Query -> its reference; a query that is missing has none."""


@dataclass(frozen=True, slots=True)
class RatedPairs:
    """Generated pictures, each with the picture it may replicate and how people rated that."""

    pairs: tuple[tuple[Path, Path], ...]
    levels: tuple[float, ...]
    """0 (not at all) to 5 (a copy)."""


def disc21(folder: Path, *, queries: str = "dev_queries", truth: str = "dev_ground_truth.csv") -> Benchmark:
    """DISC2021 (Douze et al. 2021): `references/R….jpg`, `dev_queries/Q….jpg`, and rows `Q…,R…` (R empty: none)."""
    references = {path.stem: path for path in _files(folder / "references")}
    asked = {path.stem: path for path in _files(folder / queries)}
    rows = [row for row in _csv(folder / truth) if row[0] in asked and len(row) > 1 and row[1]]
    unknown = [row[1] for row in rows if row[1] not in references]
    if unknown:
        raise ConfigError(f"{folder / truth} names {unknown[0]}, which {folder / 'references'} does not hold")
    known = {asked[row[0]]: references[row[1]] for row in rows}
    return Benchmark(tuple(references.values()), tuple(asked.values()), known)


def copydays(folder: Path, part: str) -> Benchmark:
    """INRIA Copydays: `original/200000.jpg`, and `strong/200001.jpg` or `crops/50/200000.jpg`, `jpeg/5/…`.

    part: "strong", "crops/50", …. The last two digits number the copies of one original, which has 00.
    """
    originals = {path.stem[:-2]: path for path in _files(folder / "original")}
    asked = _files(folder / part)
    missing = [path for path in asked if path.stem[:-2] not in originals]
    if missing:
        raise ConfigError(f"{missing[0]} has no original in {folder / 'original'}")
    return Benchmark(tuple(originals.values()), tuple(asked), {path: originals[path.stem[:-2]] for path in asked})


def drep(table: Path) -> RatedPairs:
    """D-Rep (Wang et al. 2024) as a CSV of generated picture, real picture, level; paths relative to the table."""
    rows = _csv(table)
    try:
        rated = [(table.parent / row[0], table.parent / row[1], float(row[2])) for row in rows[_header(rows) :]]
    except (IndexError, ValueError) as exc:
        raise ConfigError(f"{table}: expected rows of generated picture, real picture, level from 0 to 5") from exc
    return RatedPairs(tuple((a, b) for a, b, _ in rated), tuple(level for _, _, level in rated))


def score_benchmark(benchmark: Benchmark, entrant: Entrant, *, side: int = SIDE) -> dict[str, float]:
    """recall_at_1 of queries with a reference, and micro_ap of all, with one prediction a query; ties against us."""
    known = _embedded(entrant.references, benchmark.references, side)
    row = {path: i for i, path in enumerate(benchmark.references)}
    best, correct = [], []
    for path in benchmark.queries:
        queries = _embedded(entrant.queries, [path], side)
        found = similarities_of(queries, known, entrant.handicap, entrant.region_handicap)[0]
        own = row[benchmark.truth[path]] if path in benchmark.truth else None
        others = found if own is None else np.delete(found, own)
        best.append(float(found.max()))
        correct.append(own is not None and float(found[own]) > float(others.max(initial=-np.inf)))
    positive, units = np.array([p in benchmark.truth for p in benchmark.queries]), np.arange(len(best))
    ranked = micro_ap(np.array(best), np.array(correct), units, positive, np.ones((1, len(best))))
    return {"recall_at_1": float(np.mean(np.array(correct)[positive])), "micro_ap": float(ranked[0])}


def correlation(rated: RatedPairs, entrant: Entrant, *, side: int = SIDE) -> float:
    """Pearson correlation of similarity and level: D-Rep's first metric."""
    found = [
        similarities_of(
            _embedded(entrant.queries, [a], side),
            _embedded(entrant.references, [b], side),
            entrant.handicap,
            entrant.region_handicap,
        ).item()
        for a, b in rated.pairs
    ]
    return float(np.corrcoef(found, rated.levels)[0, 1])


def _embedded(embed: Views, paths: Sequence[Path], side: int) -> Vectors:
    return np.concatenate([embed([load(path, side)]) for path in paths])


def _files(folder: Path) -> list[Path]:
    found = sorted(p for p in folder.glob("*") if p.suffix.lower() in IMAGE_SUFFIXES)
    if not found:
        raise ConfigError(f"{folder} holds no picture")
    return found


def _csv(table: Path) -> list[list[str]]:
    try:
        with table.open(encoding="utf-8", newline="") as file:
            return [row for row in csv.reader(file) if row]
    except OSError as exc:
        raise ConfigError(f"{table} cannot be read: {exc.strerror}") from exc


def _header(rows: Sequence[Sequence[str]]) -> int:
    """1 if the first row names its columns."""
    return int(bool(rows) and not rows[0][-1].replace(".", "", 1).isdigit())
