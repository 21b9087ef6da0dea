"""Words compared with pictures: a CLIP's text tower, and the index of its picture tower. Knows no captions.

That index may be the one that is searched, or one of the same pictures beside it: what it finds is then
looked up in the searched one, by the picture's uri, else by its SHA-256.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from guard.embedders.base import QueryDescriptors
from guard.embedders.words import WordEmbedder, load_words
from guard.errors import ConfigError
from guard.indexes.selection import RecordFilter
from guard.search.holdings import Holdings
from guard.search.ranking import AHEAD, nearest

if TYPE_CHECKING:
    from guard.indexes.store import OpenIndex

__all__ = ["Meaning"]


class Meaning:
    """The text tower beside an index that the picture tower of the same CLIP made. Thread-safe."""

    def __init__(self, index: OpenIndex, words: WordEmbedder | str | None = None) -> None:
        """words: the tower, or its name for guard.embedders.words.load_words; None: that of the index's embedder.

        Raises ConfigError if the towers are of different CLIPs, as far as dimension and weights tell.
        """
        built = index.manifest.embedder
        if words is None or isinstance(words, str):
            words = load_words(words or built.name)
        if words.dim != built.dim:
            raise ConfigError(
                f"the text tower has {words.dim} dimensions and the index {built.dim} ({built.name}): "
                "both towers must be of one CLIP"
            )
        if words.weights_sha256 and built.weights_sha256 and words.weights_sha256 != built.weights_sha256:
            raise ConfigError(
                f"the text tower's weights are not those of {built.name!r} that built the index: name the right model, "
                "or build the index anew"
            )
        if index.manifest.vectors != "float32":
            raise ConfigError(f"an index of {built.name!r} holds packed bits; words cannot be compared with them")
        self.index, self.words = index, words

    def nearest(self, holdings: Holdings, words: str, k: int) -> dict[int, float]:
        """Return the k references that are nearest to the words, nearest first: id -> cosine.

        Pictures that only this index holds, or only an overlay, are passed over.
        """
        query = QueryDescriptors(self.words.embed_words(words)[None], np.ones(1, np.bool_))
        if holdings.version.folder == self.index.folder:
            return nearest(holdings, query, k)
        wanted = k
        while True:
            found = nearest(Holdings(self.index, RecordFilter()), query, wanted)
            ids = holdings.version.reader.find(self.index.records(list(found)))
            best: dict[int, float] = {}
            for i, similarity in zip(ids, found.values(), strict=True):
                best.setdefault(i, similarity)  # two pictures there may be one here: the nearer counts
            kept = {i: best[i] for i in holdings.accepted([i for i in best if i >= 0])}
            if len(kept) >= k or len(found) < wanted:
                return dict(list(kept.items())[:k])
            wanted *= AHEAD
