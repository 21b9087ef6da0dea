"""Searcher: the pictures of an index by a picture, by words, by both. Knows the order of the steps; ranks nothing.

"Have I been trained?" for one's own training set: the same descriptors, hashes and transform as a check, without
a threshold.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from guard.embedders.base import QueryDescriptors, unit_rows
from guard.embedders.views import embed_views
from guard.errors import ConfigError, InputError
from guard.identical import Hashed, hash_batch, join
from guard.pixels import ImageBatch, to_batch
from guard.search.holdings import Holdings, SearchedIndex
from guard.search.query import SearchHit, SearchPage, SearchQuery
from guard.search.ranking import fused, nearest

if TYPE_CHECKING:
    import numpy.typing as npt

    from guard.embedders.base import Embedder
    from guard.search.meaning import Meaning

__all__ = ["Searcher"]

DEPTH = 1000  # of each order, where a picture's and that of the words' meaning become one
NO_CAPTIONS = "no reference has a caption"
PLAIN = "the picture shows too little detail to be looked for; every such picture is like every other"


class Searcher:
    """Looks things up in one open index. Holds nothing of its own: make one whenever an index is opened. Thread-safe.

    index: one with its overlay (guard.indexes.open_overlaid) is searched as the next check would see it.
    embedder: the one that the index was built with; without it, pictures cannot be looked for.
    meaning: how words are compared with pictures (guard.search.meaning); without it, words are looked up in captions.
    """

    def __init__(
        self, index: SearchedIndex, embedder: Embedder | None = None, *, meaning: Meaning | None = None
    ) -> None:
        """Raises IndexLoadError if the index was built with another embedder."""
        if embedder is not None:
            index.manifest.require(embedder.spec)
        self.index, self.embedder, self.meaning = index, embedder, meaning

    def search(self, query: SearchQuery) -> SearchPage:
        """Return a page of what fits, best first.

        By a picture: references that PDQ calls identical, then by similarity; with words over captions, only those
        whose caption holds them all. By words over captions: by BM25. By meaning: by the cosine of words and picture;
        with a picture too, by reciprocal rank fusion of both orders.
        Raises ConfigError if the query needs a model that is not there, InputError for a picture that cannot be read,
        CheckError if the embedder fails, IndexLoadError for an overlay that cannot be read.
        """
        holdings = Holdings(self.index, query.where)
        wanted = query.offset + query.limit + 1  # one more says whether there is another page
        by_meaning = bool(query.words.strip()) and query.by == "meaning"
        if query.by_picture:
            return self._by_picture(holdings, query, wanted, by_meaning)
        return self._by_meaning(holdings, query, wanted) if by_meaning else self._by_captions(holdings, query)

    def _by_captions(self, holdings: Holdings, query: SearchQuery) -> SearchPage:
        records, total = holdings.captions(query.words, query.limit, query.offset)
        ranked = holdings.ranked(total)
        note = f"{total} captions match; the first {ranked} are put in order" if total > ranked else ""
        if not total and holdings.without_captions:
            note = NO_CAPTIONS
        hits = tuple(SearchHit(record) for record in records)
        return self._page(query, hits, query.offset + len(hits) < ranked, total=total, note=note)

    def _by_meaning(self, holdings: Holdings, query: SearchQuery, wanted: int) -> SearchPage:
        found = self._meaning().nearest(holdings, query.words, wanted)
        if query.min_similarity is not None:
            found = {i: s for i, s in found.items() if s >= query.min_similarity}
        return self._cut(holdings, query, list(found), {}, {}, found)

    def _by_picture(self, holdings: Holdings, query: SearchQuery, wanted: int, by_meaning: bool) -> SearchPage:
        looked, hashed = self._look(holdings, query)
        if not looked.usable[0] and (hashed is None or not hashed.images.usable[0]):
            return self._page(query, (), False, note=PLAIN)
        by_captions = bool(query.words.strip()) and not by_meaning
        among = holdings.ids(query.words) if by_captions else None
        k = max(wanted, DEPTH) if by_meaning else wanted
        found = nearest(holdings, looked, k, among) if looked.usable[0] else {}
        bits = _add_identical(holdings, looked, hashed, found, among, k)
        if query.min_similarity is not None:
            found = {i: s for i, s in found.items() if s >= query.min_similarity}
        order = sorted(found, key=lambda i: (i not in bits, -found[i]))
        meant: dict[int, float] = {}
        if by_meaning:
            meant = self._meaning().nearest(holdings, query.words, k)
            order = fused([{i: found[i] for i in order}, meant])
        return self._cut(holdings, query, order, found, bits, meant, total=None if among is None else len(among))

    def _look(self, holdings: Holdings, query: SearchQuery) -> tuple[QueryDescriptors, Hashed | None]:
        """Descriptors of the picture's views, and its hashes where the index has some."""
        if query.descriptor is not None:
            rows = np.asarray(query.descriptor, np.float32).reshape(1, -1)
            dim = self.index.manifest.embedder.dim
            if rows.shape[1] != dim or not np.isfinite(rows).all() or not rows.any():
                raise InputError(
                    f"the descriptor has {rows.shape[1]} values; give {dim} finite ones, not all of them 0"
                )
            return QueryDescriptors(unit_rows(rows)[None], np.ones(1, np.bool_)), None
        if self.embedder is None:
            name = self.index.manifest.embedder.name
            raise ConfigError(f"to look for pictures, load the embedder of the index: {name!r}")
        batch = to_batch(query.picture)
        if len(batch) != 1:
            raise InputError(f"{len(batch)} pictures were given; one is looked for at a time")
        if query.part is not None:
            batch = _part_of(batch, query.part)
        looked = embed_views(self.embedder, batch, query.views)
        if not isinstance(looked.vectors, np.ndarray):
            looked = replace(looked, vectors=looked.vectors.detach().float().cpu().numpy())
        return looked, hash_batch(holdings.index, batch, None)

    def _meaning(self) -> Meaning:
        if self.meaning is None:
            raise ConfigError(
                "words can only be looked for by meaning with a CLIP model: build an index with one "
                "(`memguard index build --embedder clip-vit-base-patch32`) and name it with --meaning"
            )
        return self.meaning

    def _cut(
        self,
        holdings: Holdings,
        query: SearchQuery,
        order: list[int],
        similarity: dict[int, float],
        bits: dict[int, int],
        meant: dict[int, float],
        *,
        total: int | None = None,
    ) -> SearchPage:
        shown = order[query.offset : query.offset + query.limit]
        hits = tuple(
            SearchHit(record, similarity.get(i), bits.get(i), meant.get(i))
            for i, record in zip(shown, holdings.index.records(shown), strict=True)
        )
        return self._page(query, hits, len(order) > query.offset + query.limit, total=total)

    def _page(
        self, query: SearchQuery, hits: tuple[SearchHit, ...], more: bool, *, total: int | None = None, note: str = ""
    ) -> SearchPage:
        return SearchPage(hits, query.offset, query.limit, more, self.index.version, total, note)


def _add_identical(
    holdings: Holdings,
    looked: QueryDescriptors,
    hashed: Hashed | None,
    found: dict[int, float],
    among: npt.NDArray[np.int64] | None,
    k: int,
) -> dict[int, int]:
    """Add to found what PDQ calls identical, if it may be found; return id -> differing bits."""
    ids = np.array([list(found)], np.int64)
    similarity = np.array([list(found.values())], np.float32)
    candidates = join(hashed, looked, ids.reshape(1, -1), similarity.reshape(1, -1), k)[0]
    identical = {candidate.id: candidate for candidate in candidates if candidate.bits is not None}
    may = holdings.accepted(list(identical)) if among is None else np.intersect1d(list(identical), among).tolist()
    found |= {i: identical[i].similarity for i in may}
    return {i: bits for i in may if (bits := identical[i].bits) is not None}


def _part_of(batch: ImageBatch, part: Any) -> ImageBatch:
    """Raises InputError for a part that is too small to be looked for."""
    (picture,) = batch.as_arrays()
    height, width = picture.shape[:2]
    left, top, right, bottom = (round(share * side) for share, side in zip(part, (width, height) * 2, strict=True))
    return to_batch([np.ascontiguousarray(picture[top:bottom, left:right])])
