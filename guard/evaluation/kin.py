"""Pictures that are related and no copies: siblings and variants of procedural programs. Knows pairs; no split.

One program draws a first picture, a sibling (another layout), a variant (the same layout, other content: a template)
and a near one (every choice the same, moved a little: `docs/verification.md` says why those count as copies). The first
is the reference; the others are looked up as they are and under one edit each. A match is a false one where the picture
as it was drawn has nothing in common with the first one but its kind. A program may also draw its kin on one and the
same texture, in other colours, or with a few parts of it changed: guard.evaluation.related tells these apart, and they
are counted in classes of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from guard.evaluation.calibration_pool import FIRST_PROGRAM
from guard.evaluation.comparing import References
from guard.evaluation.edits import Edit
from guard.evaluation.entrants import Entrant, similarities_of
from guard.evaluation.intervals import clopper_pearson
from guard.evaluation.related import InCommon, Related, related
from guard.evaluation.scores import ahead
from guard.pixels import RGBArray
from guard.types import Evidence
from guard.verification.verifier import Verifier

__all__ = ["AS_IT_IS", "KIN_PX", "KinPairs", "compare_kin", "kin_described"]

KIN_PX = 256
AS_IT_IS = ""  # in place of an edit's name
LISTED = 50  # false matches that are listed one by one, those of other content first
BATCH = 16


@dataclass(frozen=True, slots=True, eq=False)
class KinPairs:
    """Each program's relations, as they are and edited."""

    programs: tuple[int, ...]
    relations: tuple[str, ...]
    edits: tuple[tuple[str, ...], ...]
    """(programs, 2 * relations) name of the edit, AS_IT_IS for the first half."""
    evidence: tuple[tuple[Evidence, ...], ...]
    """(programs, 2 * relations) against the program's first picture."""
    related: tuple[tuple[Related, ...], ...]
    """(programs, relations) what each has in common with the program's first picture."""
    similarities: Mapping[str, npt.NDArray[np.float32]]
    """Entrant -> (programs, 2 * relations)."""


def compare_kin(
    programs: int,
    edits: Sequence[Edit],
    entrants: Mapping[str, Entrant],
    verifier: Verifier,
    *,
    seed: int = 0,
    workers: int | None = None,
    progress: Callable[[int], None] = lambda _done: None,
) -> KinPairs:
    """Draw, edit, embed and compare. Programs are of seeds that no training run draws; at least one."""
    from guard.training.generators import Kin, kindred

    relations = tuple(kin.name.lower() for kin in Kin if kin is not Kin.FIRST)
    numbers = tuple(FIRST_PROGRAM + ((seed * 100 + 99) << 24) + i for i in range(programs))

    def drawn(i: int) -> tuple[RGBArray, list[RGBArray], list[str], list[Evidence], list[Related]]:
        first, *kin = kindred(numbers[i], KIN_PX)
        others = [kindred(numbers[i] + (1 << 23), KIN_PX)[0]]
        chosen = [edits[j] for j in np.random.default_rng([seed, i]).integers(len(edits), size=len(kin))]
        altered = [edit(picture, others, seed=(seed, i)) for edit, picture in zip(chosen, kin, strict=True)]
        queries = [*kin, *altered]
        reference = References(verifier, [lambda: first])[0]
        names = [*[AS_IT_IS] * len(kin), *(edit.name for edit in chosen)]
        found = [verifier.verify(query, reference) for query in queries]
        return first, queries, names, found, [related(first, picture) for picture in kin]

    names: list[tuple[str, ...]] = []
    evidence: list[tuple[Evidence, ...]] = []
    common: list[tuple[Related, ...]] = []
    similarities: dict[str, list[npt.NDArray[np.float32]]] = {name: [] for name in entrants}
    for done, (first, queries, named, found, measured) in enumerate(ahead(drawn, programs, workers), start=1):
        names.append(tuple(named))
        evidence.append(tuple(found))
        common.append(tuple(measured))
        for name, entrant in entrants.items():
            reference, looked = entrant.references([first]), entrant.queries(queries)
            less = entrant.handicap, entrant.region_handicap
            similarities[name].append(similarities_of(looked, reference, *less)[:, 0])
        progress(done)
    return KinPairs(
        numbers,
        relations,
        tuple(names),
        tuple(evidence),
        tuple(common),
        {name: np.stack(rows) for name, rows in similarities.items()},
    )


def kin_described(
    pairs: KinPairs, standing: Mapping[str, npt.NDArray[np.floating]], limits: Mapping[str, Mapping[str, float]]
) -> dict[str, Any]:
    """Plain JSON values. standing: of each entrant, shaped as similarities; limits: by what a threshold is
    called, exclusive.

    A program counts once for each relation: it matches if any of its two queries does. "either" counts all programs,
    and one_drawing, shared_part and other_content those of each class; a match is false in the last alone.
    """
    n, half = len(pairs.programs), len(pairs.relations)
    copies = np.array([[one.is_copy for one in row] for row in pairs.evidence], np.bool_)
    kinds = np.array([[one.kind.value for one in row] for row in pairs.evidence])
    common = np.array([[one.in_common.value for one in row] for row in pairs.related])

    def share(hits: npt.NDArray[np.bool_]) -> dict[str, Any]:
        found = clopper_pearson(int(hits.sum()), len(hits))
        value = found.value if len(hits) else None
        return {"programs": len(hits), "false": int(hits.sum()), "value": value, "low": found.low, "high": found.high}

    def both(hits: npt.NDArray[np.bool_], relation: int) -> dict[str, Any]:
        plain, edited = hits[:, relation], hits[:, half + relation]
        either = plain | edited
        return {
            "as_it_is": share(plain),
            "edited": share(edited),
            "either": share(either),
        } | {of.value: share(either[common[:, relation] == of.value]) for of in InCommon}

    def by_relation(hits: npt.NDArray[np.bool_]) -> dict[str, Any]:
        return {name: both(hits, i) for i, name in enumerate(pairs.relations)}

    false = [(i, j) for i, j in zip(*np.nonzero(copies), strict=True) if pairs.relations[j % half] != "near"]
    false.sort(key=lambda at: common[at[0], at[1] % half] != InCommon.OTHER_CONTENT.value)
    listed = [
        {
            "program": pairs.programs[i],
            "relation": pairs.relations[j % half],
            "edit": pairs.edits[i][j],
            "in_common": common[i, j % half].item(),
            "contours": round(pairs.related[i][j % half].contours, 4),
            "places": round(pairs.related[i][j % half].places, 4),
            "shared": round(pairs.related[i][j % half].shared, 4),
            "blocks": pairs.related[i][j % half].blocks,
            "kind": pairs.evidence[i][j].kind.value,
            "strength": round(pairs.evidence[i][j].strength, 4),
            "inliers": pairs.evidence[i][j].inliers,
            "agreement": round(pairs.evidence[i][j].agreement, 4),
        }
        for i, j in false[:LISTED]
    ]
    return {
        "programs": n,
        "in_common": {
            name: {of.value: int((common[:, i] == of.value).sum()) for of in InCommon}
            for i, name in enumerate(pairs.relations)
        },
        "pixels": by_relation(copies),
        "kinds": {
            name: {kind: int((kinds[:, [i, half + i]] == kind).sum()) for kind in sorted(set(kinds.ravel().tolist()))}
            for i, name in enumerate(pairs.relations)
        },
        "false_matches": {
            name: {at: by_relation(values > limit) for at, limit in limits[name].items()}
            for name, values in standing.items()
        },
        "listed": listed,
    }
