"""Copies that people really made: is the reference found, and how near is it? Knows pairs of files; no edits."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import numpy.typing as npt

from guard.evaluation.entrants import Entrant, Vectors, similarities_of
from guard.evaluation.metrics import rate, resampled
from guard.evaluation.pictures import SIDE, load
from guard.evaluation.protocol import RESAMPLES, summary

__all__ = ["RealPairs", "pair_similarities", "rated", "references_of"]

RealPairs = dict[str, object]
"""pairs, sources, recall_at_1, recall_at_fpr and one row a pair, as they are written to JSON."""


def references_of(pairs: Sequence[tuple[Path, Path, str]]) -> list[Path]:
    """The references of a table, each once."""
    return list(dict.fromkeys(reference for _, reference, _ in pairs))


def pair_similarities(
    pairs: Sequence[tuple[Path, Path, str]],
    distractors: Vectors,
    entrant: Entrant,
    *,
    side: int = SIDE,
    compare: Callable[[Vectors, Vectors, float, float], Vectors] = similarities_of,
) -> npt.NDArray[np.float32]:
    """(pairs, references + distractors) of each query with every reference of the table, then with the distractors.

    distractors: (n, views, d) of pictures that are no copy of any query. compare: queries (n, v, d), references
    (m, w, d) and the two handicaps of the entrant -> (n, m).
    """
    known = np.concatenate([entrant.references([load(path, side) for path in references_of(pairs)]), distractors])
    queries = entrant.queries([load(query, side) for query, _, _ in pairs])
    return compare(queries, known, entrant.handicap, entrant.region_handicap)


def rated(
    pairs: Sequence[tuple[Path, Path, str]], similarity: npt.NDArray[np.floating], limits: Mapping[float, float]
) -> RealPairs:
    """Whether each pair was found. At least one pair. similarity: as pair_similarities gives it.

    limits: FPR -> similarity, exclusive. Pairs with one reference are one unit of the intervals.
    """
    references = references_of(pairs)
    rows: list[dict[str, object]] = []
    hits: dict[str, list[bool]] = {}
    for i, (query, reference, label) in enumerate(pairs):
        own = references.index(reference)
        value, other = float(similarity[i, own]), float(np.delete(similarity[i], own).max(initial=-np.inf))
        found = {"recall_at_1": value > other, **{str(fpr): value > limit for fpr, limit in limits.items()}}
        for name, hit in found.items():
            hits.setdefault(name, []).append(hit)
        rows.append({"query": query.name, "reference": reference.name, "label": label,
                     "similarity": round(value, 4), "nearest_other": round(other, 4), "found": found})  # fmt: skip
    units = np.array([references.index(reference) for _, reference, _ in pairs], np.intp)
    weights = resampled([0] * len(references), RESAMPLES, seed=0)
    rates = {name: asdict(summary(rate(np.array(hit), units, weights))) for name, hit in hits.items()}
    return {
        "pairs": len(pairs),
        "sources": len(references),
        "recall_at_1": rates.get("recall_at_1"),
        "recall_at_fpr": {str(fpr): rates.get(str(fpr)) for fpr in limits},
        "rows": rows,
    }
