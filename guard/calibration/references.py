"""The references as clean pictures: each is looked up among the others. Knows an index; no picture and no threshold.

What no two references share counts as clean. Known duplicates are no strangers and are left out: equal bytes, PDQ
hashes within 31 of 256 bits as the pictures stand, or descriptors above a stated cosine. Nothing above that bar is
seen, so that false matches of stranger pairs which lie there are missed.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial

import numpy as np
import numpy.typing as npt

from guard.calibration.pixels import compare_clean, copies_of, joined
from guard.calibration.scored import NEIGHBOURS, Scored, design_effect
from guard.decode import decode
from guard.embedders.views import REGION_KINDS, ViewKind, view_count
from guard.errors import ConfigError, InputError
from guard.indexes.best import best_of_each
from guard.indexes.hashes import IDENTICAL_BITS, map_hashes
from guard.indexes.rivals import beside_rivals
from guard.indexes.store import OpenIndex
from guard.indexes.transformed_rows import DUPLICATE, original_rows
from guard.pixels import RGBArray
from guard.verification.examiner import Examiner

__all__ = ["MOST_COMPARED", "MOST_QUERIES", "leave_one_out"]

MOST_QUERIES = 100_000
MOST_COMPARED = 10_000
_COMPARED_AT_ONCE = 64
_BLOCK = 256
_SPARE = 16  # candidates asked for beyond those that are kept, for the query itself and its duplicates


def leave_one_out(
    index: OpenIndex,
    *,
    query_views: ViewKind = "one",
    duplicate: float = DUPLICATE,
    limit: int = MOST_QUERIES,
    seed: int = 0,
    examiner: Examiner | None = None,
    candidates: int = 0,
    compared: int = MOST_COMPARED,
    workers: int = 1,
    on_progress: Callable[[int, int | None], None] = lambda _done, _total: None,
) -> Scored:
    """Look up each reference, or a seeded choice of `limit`, among all others, by the descriptors that are stored.

    duplicate: cosine of descriptors, as the embedder made them, above which two references are one picture. Of each
    group of duplicates only the first asks; the others are counted in left_out. examiner: compares the thumbnails of a
    seeded choice of `compared` of them with those of so many nearest candidates; None compares none.
    Raises ConfigError for views that the index does not hold of its references (turns, windows; crops, levels without),
    an index of packed bits (its queries are looked up in views of their own), or fewer than two references.
    """
    manifest = index.manifest
    if manifest.vectors == "bits":
        raise ConfigError(f"{manifest.embedder.name} looks a picture up in views that the index does not hold; give "
                          "clean pictures (--clean)")  # fmt: skip
    held = _held(query_views, manifest.regions)
    if not held:
        raise ConfigError(f"the index does not hold its references as query_views = {query_views!r} looks them up; "
                          "give clean pictures (--clean)")  # fmt: skip
    if manifest.count < 2:
        raise ConfigError("an index of fewer than two references has no strangers to compare; give clean pictures")
    rows = original_rows(index.folder, manifest).reshape(manifest.count, manifest.regions, -1)
    wanted = np.arange(manifest.count)
    if limit < len(wanted):
        wanted = np.sort(np.random.default_rng(seed).choice(wanted, limit, replace=False))
    hashes = map_hashes(index.folder, manifest) if manifest.hashes else None
    others = _Others(index, rows, hashes, duplicate, max(NEIGHBOURS, candidates))
    found, others_of, ids = [], [], []
    on_progress(0, len(wanted))
    for start in range(0, len(wanted), _BLOCK):
        block = wanted[start : start + _BLOCK]
        views = np.ascontiguousarray(rows[block][:, held])
        asking, nearest, similarity = others.of(block, views)
        ids.append(block[asking])
        others_of.append(nearest[asking])
        found.append(similarity[asking])
        on_progress(min(start + _BLOCK, len(wanted)), len(wanted))
    similarities, asked, nearest = np.concatenate(found), np.concatenate(ids), np.concatenate(others_of)
    together = design_effect(asked, nearest[:, 0], similarities[:, 0])
    left_out = len(wanted) - len(similarities)
    scored = Scored(
        similarities[:, :NEIGHBOURS],
        np.zeros(len(similarities), np.bool_),
        left_out={"duplicate": left_out} if left_out else {},
        design_effect=together,
    )
    if examiner is None:
        return scored
    chosen = np.arange(len(asked))
    if compared < len(chosen):
        chosen = np.sort(np.random.default_rng([seed, 1]).choice(chosen, compared, replace=False))
    parts, who = [], []
    for start in range(0, len(chosen), _COMPARED_AT_ONCE):
        some = chosen[start : start + _COMPARED_AT_ONCE]
        pictures, there = _thumbnails(index, asked[some])
        seen = some[there]
        who.append(asked[seen])
        looked_up = nearest[seen, :candidates], similarities[seen, :candidates]
        parts.append(compare_clean(examiner, pictures, *looked_up, workers=workers))
        on_progress(len(wanted) + start + len(some), len(wanted) + len(chosen))
    pixels, queries = joined(parts), np.concatenate([np.empty(0, np.int64), *who])
    pixels = replace(pixels, design_effect=design_effect(queries, pixels.reference, pixels.strength))
    names = [record.uri for record in index.records(queries.tolist())]
    return replace(scored, compared=pixels, pairs=copies_of(index, names, pixels))


def _held(query_views: ViewKind, regions: int) -> list[int]:
    """Which of the rows that an index has of a reference are these views of it; [] if it has not all of them."""
    stored = REGION_KINDS.get(regions, "one")
    parts = set(query_views.split("+")) - {"one"}
    if not parts <= set(stored.split("+")):
        return []
    crops = range(1, view_count("crops")) if "crops" in parts else ()
    return [0, *crops, *([regions - 1] if "levels" in parts else [])]


def _thumbnails(index: OpenIndex, ids: npt.NDArray[np.int64]) -> tuple[list[RGBArray], npt.NDArray[np.bool_]]:
    """The pictures that the index keeps of some references, and which of them have one that can be read."""
    pictures: list[RGBArray] = []
    there = np.zeros(len(ids), np.bool_)
    for i, reference in enumerate(ids.tolist()):
        encoded = index.thumbnail(reference)
        if encoded is None:
            continue
        with suppress(InputError):
            pictures.append(decode(encoded, where=f"thumbnail {reference}").rgb)
            there[i] = True
    return pictures, there


class _Others:
    """Looks references up among those that are not the same picture."""

    def __init__(
        self,
        index: OpenIndex,
        rows: npt.NDArray[np.float32],
        hashes: npt.NDArray[np.uint8] | None,
        duplicate: float,
        kept: int,
    ) -> None:
        """kept: neighbours of each."""
        self.index, self.rows, self.hashes, self.duplicate, self.kept = index, rows, hashes, duplicate, kept

    def of(
        self, ids: npt.NDArray[np.int64], views: npt.NDArray[np.float32]
    ) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.int64], npt.NDArray[np.float32]]:
        """(asking, nearest, similarity): (n,) whether a query is the first of its duplicates, (n, kept) ids of
        its nearest other pictures, -1 for none, and their similarities.

        views: (n, v, d) descriptors.
        """
        n, count = len(ids), len(self.index)
        asking = np.ones(n, np.bool_)
        nearest = np.full((n, self.kept), -1, np.int64)
        similarity = np.full((n, self.kept), -np.inf, np.float32)
        left, k = np.arange(n), min(self.kept + _SPARE, count)
        while len(left):
            found, values = self._search(ids[left], views[left], k)
            same = self._same(ids[left], found)
            asking[left] &= ~(same & (found >= 0) & (found < ids[left, None])).any(axis=1)
            other = (found >= 0) & ~same
            order = np.argsort(~other, axis=1, kind="stable")
            found, values = (np.take_along_axis(a, order, axis=1) for a in (found, np.where(other, values, -np.inf)))
            kept = min(self.kept, k)
            similarity[left, :kept] = values[:, :kept]
            has = other.any(axis=1)
            nearest[left, :kept] = np.where(np.isfinite(values), found, -1)[:, :kept]
            if k == count:
                break
            left, k = left[~has], min(4 * k, count)  # all that was found are duplicates: look further
        return asking, nearest, similarity

    def _search(
        self, ids: npt.NDArray[np.int64], views: npt.NDArray[np.float32], k: int
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
        n, v, d = views.shape
        own = partial(self._same, np.repeat(ids, v))  # no rivals of a picture that does not stand in the index
        found = beside_rivals(self.index, views.reshape(n * v, d), k, gone=own)
        if v == 1:
            return found.ids, found.similarity
        return best_of_each(found.ids.reshape(n, -1), found.similarity.reshape(n, -1), k)

    def _same(self, ids: npt.NDArray[np.int64], found: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """(n, k) True: the candidate is the query's own picture, or a duplicate of it. -1 gives anything."""
        at = np.maximum(found, 0)
        same: npt.NDArray[np.bool_] = found == ids[:, None]
        own, theirs = self.rows[ids, 0], self.rows[at, 0]
        same |= np.einsum("nd,nkd->nk", own, theirs) > self.duplicate
        if self.hashes is not None:
            mine, other = self.hashes[ids][:, None], self.hashes[at]
            bits = np.bitwise_count(mine ^ other).sum(axis=2, dtype=np.int64)
            same |= (bits <= IDENTICAL_BITS) & mine.any(axis=2) & other.any(axis=2)
        unique = np.unique(np.concatenate([ids, at.ravel()]))
        names = np.array([record.sha256 for record in self.index.records(unique.tolist())])
        mine, other = names[np.searchsorted(unique, ids)][:, None], names[np.searchsorted(unique, at)]
        same |= (mine == other) & (mine != "")
        return same
