"""Descriptors and hashes of images -> the references that each is held against. Knows an index; decides nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
import numpy.typing as npt

from guard.findings import OwnInput
from guard.identical import join
from guard.indexes.best import best_of_each
from guard.indexes.rivals import beside_rivals, inputs_beside_rivals, search_with_rivals
from guard.types import Candidates, Match

if TYPE_CHECKING:
    from guard.embedders.base import QueryDescriptors
    from guard.identical import Hashed
    from guard.indexes.base import Index
    from guard.rules import Rules

__all__ = ["MOST", "Found", "at_this_moment", "collections_of", "look_up", "nearest_input", "own_inputs", "searched"]

MOST = 1000  # candidates of one view that are looked through for what weighs more


def at_this_moment(index: Index) -> Index:
    """What a check asks from its beginning to its end, whatever is written into the index's overlay meanwhile.

    Raises IndexLoadError for an overlay that cannot be read.
    """
    now = getattr(index, "now", None)
    return index if now is None else cast("Index", now())


@dataclass(frozen=True, slots=True)
class Found:
    """What an image is held against."""

    candidates: tuple[Match, ...]
    """Most similar first."""
    exempted: tuple[Match, ...] = ()
    """Candidates that a reviewer called no copies of this image."""


def searched(index: Index, query: QueryDescriptors, k: int) -> Candidates:
    """The index's rows nearest to each view, which `look_up` and `nearest_input` both start from: (n * views, >= k)."""
    return search_with_rivals(index, _rows(query), k)


def look_up(
    index: Index,
    query: QueryDescriptors,
    hashed: Hashed | None,
    k: int,
    rules: Rules,
    nearest: Candidates | None = None,
) -> list[Found]:
    """Candidates of each image: at most k by descriptor, and those that are identical by hash.

    query: vectors (n, views, dim). hashed: None where hashes are not asked. rules: an image whose k candidates all
    count is looked up again where some could hide what weighs more, see `_widened`. nearest: of `searched` with this k.
    """
    n, views, _ = query.vectors.shape
    found = beside_rivals(index, _rows(query), k, found=nearest)
    ids, similarity = found.ids, query.counted(found.similarity)
    if views > 1:
        ids, similarity = best_of_each(ids.reshape(n, -1), similarity.reshape(n, -1), k)
    candidates = join(hashed, query, ids, similarity, k)
    wanted = sorted({candidate.id for of_image in candidates for candidate in of_image})
    records = dict(zip(wanted, index.records(wanted), strict=True))
    matches = [[Match(records[c.id], c.similarity, c.bits) for c in of_image] for of_image in candidates]
    first = [_without_exempted(index, query.vectors[row, 0], of_image) for row, of_image in enumerate(matches)]
    reach = rules.lowest_flag(collections_of(index))
    for row in np.flatnonzero(similarity[:, -1] >= reach):
        first[row] = _widened(index, query, int(row), first[row], k, reach, rules)
    return first


def _widened(
    index: Index, query: QueryDescriptors, row: int, first: Found, k: int, reach: float, rules: Rules
) -> Found:
    """With all candidates in collections that are stricter than `training`, and k that can block if there are so many.

    A cluster of duplicates in `training` must not hide an opt-out that comes next; nor canaries, allowed references or
    those that a reviewer exempted anything at all. row: which picture. reach: below it nothing counts.
    """
    weighing = sum(rules.can_block(match.record.collections) for match in first.candidates)
    if weighing >= k and not any(rules.are_stricter([name]) for name in collections_of(index)):
        return first
    views = query.vectors[row]
    found = beside_rivals(index, views, MOST)
    ids, similarity = best_of_each(found.ids.reshape(1, -1), query.counted(found.similarity).reshape(1, -1), MOST)
    known = {match.record.id for match in (*first.candidates, *first.exempted)}
    near = {int(i): float(s) for i, s in zip(ids[0], similarity[0], strict=True) if s >= reach and i not in known}
    matches = [Match(record, near[record.id]) for record in index.records(list(near))]
    further, kept = _without_exempted(index, views[0], matches), list(first.candidates)
    for match in further.candidates:
        weighs = rules.can_block(match.record.collections)
        if rules.are_stricter(match.record.collections) or (weighs and weighing < k):
            kept.append(match)
            weighing += weighs
    return Found(tuple(sorted(kept, key=lambda m: -m.similarity)), (*first.exempted, *further.exempted))


def collections_of(index: Index) -> set[str]:
    """The collections that a reference of the index may be in."""
    found = getattr(index, "collections", None)
    return set(getattr(index.manifest, "collections", ())) if found is None else set(found)


def _without_exempted(index: Index, row: Any, matches: Sequence[Match]) -> Found:
    exempt = getattr(index, "exempt", None)
    gone = exempt(row, matches) if exempt is not None else frozenset()
    if not gone:
        return Found(tuple(matches))
    return Found(tuple(m for m in matches if m.record.id not in gone), tuple(m for m in matches if m.record.id in gone))


def nearest_input(
    index: Index, query: QueryDescriptors, own: Any, nearest: Candidates | None = None
) -> npt.NDArray[np.float32]:
    """Best similarity of any view of each image to any of the caller's inputs, as if those stood in the index: (n,).

    own: (m, dim) descriptors of the inputs, m >= 1, an array or a tensor. nearest: of `searched`.
    """
    rows, comparable = _rows(query), hasattr(index, "compare")
    near = inputs_beside_rivals(index, rows, own, nearest) if comparable else _array(rows) @ _array(own).T
    best: npt.NDArray[np.float32] = query.counted(near).reshape(len(query.vectors), -1).max(axis=1)
    return best


def own_inputs(
    similarity: npt.NDArray[np.float32] | None, hashed: Hashed | None, then: Literal["allow", "flag", "ignore"], n: int
) -> list[OwnInput]:
    """How near the caller's inputs are to each of n images. similarity: what nearest_input found; None: no input."""
    return [
        OwnInput(None if similarity is None else float(similarity[i]), hashed.input_bits[i] if hashed else None, then)
        for i in range(n)
    ]


def _rows(query: QueryDescriptors) -> Any:
    n, views, dim = query.vectors.shape
    return query.vectors.reshape(n * views, dim)


def _array(rows: Any) -> npt.NDArray[np.float32]:
    return rows if isinstance(rows, np.ndarray) else rows.detach().float().cpu().numpy()
