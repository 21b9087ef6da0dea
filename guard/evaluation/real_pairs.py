"""Copies that people really made: is the reference found, and how near is it? Knows pairs of files; no edits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from guard.evaluation.entrants import Entrant, Vectors
from guard.evaluation.metrics import rate, resampled
from guard.evaluation.pictures import SIDE, load
from guard.evaluation.protocol import RESAMPLES, summary

__all__ = ["RealPairs", "real_pairs"]

RealPairs = dict[str, object]
"""pairs, sources, recall_at_1, recall_at_fpr and one row a pair, as they are written to JSON."""


def real_pairs(
    pairs: Sequence[tuple[Path, Path, str]],
    distractors: Vectors,
    entrant: Entrant,
    limits: Mapping[float, float],
    *,
    side: int = SIDE,
) -> RealPairs:
    """Look up each query among all references of the table and the distractors. At least one pair.

    distractors: (n, views, d) of pictures that are no copy of any query. limits: FPR -> similarity, exclusive.
    Pairs with one reference are one unit of the intervals.
    """
    references = list(dict.fromkeys(reference for _, reference, _ in pairs))
    known = np.concatenate([entrant.references([load(path, side) for path in references]), distractors])
    queries = entrant.queries([load(query, side) for query, _, _ in pairs])
    similarity = np.einsum("qvd,rwd->qrvw", queries, known).max(axis=(2, 3))  # (queries, references)
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
