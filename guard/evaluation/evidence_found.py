"""Which kinds of evidence queries found, and where pixels were wrong. Knows comparisons; no threshold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from guard.evaluation.comparing import KINDS, Asked, Compared, Look
from guard.evaluation.edits import FAMILIES, Edit
from guard.evaluation.intervals import clopper_pearson
from guard.evaluation.protocol import ALL_EDITS, Plan
from guard.evaluation.verified import looked
from guard.types import EvidenceKind

__all__ = ["LISTED", "MISSED", "evidence_found"]

LISTED = 100  # false matches that are listed one by one
MISSED = "not_compared"
"""The query's own reference was not among its candidates, or another one settled the matter."""
NOTHING = KINDS.index(EvidenceKind.NONE)


def evidence_found(drawn: Plan, edits: Sequence[Edit], compared: Sequence[Compared], asked: Asked) -> dict[str, Any]:
    """Plain JSON values. asked: the first of those that were compared.

    `own[group][edit, "family:NAME" or "all_edits"]`: share of the queries by the kind of evidence with their own
    reference. `wrong[group]["untouched" or "edited"]`: negative queries with a copy among their candidates, by pixels;
    `sources` of them that had any. `listed`: such pairs, once each.
    """
    variants, n = 1 + len(edits), len(drawn.pictures)
    own = np.zeros((n, variants, len(KINDS) + 1), np.int64)  # the last one: not compared
    queries, false = np.zeros((n, variants), np.int64), np.zeros((n, variants), np.int64)
    listed: dict[tuple[int, int, int], None] = {}
    for i, found in enumerate(compared):
        for split, order in enumerate(asked(i)):
            looks = looked(order, found.looks[0][split], n)
            seen = looks == Look.COMPARED
            if drawn.is_reference[split, i]:
                dismissed = (looks[:, i] == Look.REFUTED) | (looks[:, i] == Look.DISMISSED)
                unseen = np.where(dismissed, NOTHING, len(KINDS))
                kinds = np.where(seen[:, i], found.kind[:, i], unseen)
                own[i, np.arange(variants), kinds] += 1
                continue
            wrong = seen & found.copies & (drawn.sources != drawn.sources[i])
            queries[i] += 1
            false[i] += wrong.any(axis=1)
            listed |= {(i, v, j): None for v, j in np.argwhere(wrong).tolist()}
    return {
        "own": {group: _shares(own[members].sum(axis=0), edits) for group, members in drawn.groups.items()},
        "wrong": {
            group: {
                "untouched": _wrong(queries[members, :1], false[members, :1], drawn.sources[members]),
                "edited": _wrong(queries[members, 1:], false[members, 1:], drawn.sources[members]),
            }
            for group, members in drawn.groups.items()
        },
        "listed": [_pair(drawn, edits, compared, key) for key in list(listed)[:LISTED]],
    }


def _shares(counts: npt.NDArray[np.int64], edits: Sequence[Edit]) -> dict[str, dict[str, float]]:
    """(variants, kinds + 1) counts -> shares by edit, family and over all."""
    names = [*(kind.value for kind in KINDS), MISSED]
    share = {
        edit.name: counts[v] / max(1, int(counts[v].sum())) for v, edit in enumerate(edits, start=1)
    }  # fmt: skip
    families = {
        f"family:{family}": np.mean([share[edit.name] for edit in edits if edit.family == family], axis=0)
        for family in FAMILIES
        if any(edit.family == family for edit in edits)
    }
    every = {**share, **families, ALL_EDITS: np.mean(list(families.values()), axis=0)}
    return {
        key: {name: round(float(value), 6) for name, value in zip(names, values, strict=True)}
        for key, values in every.items()
    }


def _wrong(
    queries: npt.NDArray[np.int64], false: npt.NDArray[np.int64], sources: npt.NDArray[np.intp]
) -> dict[str, Any]:
    asking = np.unique(sources[queries.any(axis=1)])
    wrong = np.unique(sources[false.any(axis=1)])
    bound = clopper_pearson(len(wrong), len(asking))
    return {
        "queries": int(queries.sum()),
        "false": int(false.sum()),
        "sources": len(asking),
        "false_sources": len(wrong),
        "upper_bound_by_sources": round(bound.high, 6),
        "upper_bound_if_queries_were_independent": round(clopper_pearson(int(false.sum()), int(queries.sum())).high, 6),
    }


def _pair(
    drawn: Plan, edits: Sequence[Edit], compared: Sequence[Compared], key: tuple[int, int, int]
) -> dict[str, Any]:
    query, variant, reference = key
    return {
        "query": drawn.pictures[query].path.name,
        "edit": edits[variant - 1].name if variant else "",
        "reference": drawn.pictures[reference].path.name,
        "group": drawn.pictures[query].group,
        "kind": KINDS[compared[query].kind[variant, reference]].value,
        "strength": round(float(compared[query].strength[variant, reference]), 4),
    }
