"""What is looked for in an index, and what comes back: a query, hits, a page of them. Knows no index and no model."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from guard.embedders.views import VIEW_KINDS, ViewKind
from guard.errors import ConfigError
from guard.indexes.selection import RecordFilter
from guard.types import Record

__all__ = ["MAX_LIMIT", "MAX_OFFSET", "MAX_WORDS", "Part", "SearchHit", "SearchPage", "SearchQuery", "WordsBy"]

MAX_LIMIT = 1000  # hits of one page
MAX_OFFSET = 100_000
MAX_WORDS = 1000  # characters

Part = tuple[float, float, float, float]
"""Left, top, right and bottom of a part of a picture, in shares of its width and height."""
WordsBy = Literal["captions", "meaning"]


@dataclass(frozen=True, slots=True, eq=False)
class SearchQuery:
    """One question. At least one of picture, descriptor and words; a picture and words must both fit.

    Raises ConfigError for a question that asks nothing, or for values out of their range.
    """

    picture: Any = None
    """One picture, in any form that guard.pixels.to_batch takes."""
    part: Part | None = None
    """Look for this part of the picture only."""
    descriptor: npt.NDArray[np.float32] | None = None
    """(dim,) of the index's embedder, made elsewhere; instead of a picture."""
    views: ViewKind = "one"
    """Views of the picture that are looked up: turns; windows or crops, which find a reference within the picture."""
    words: str = ""
    by: WordsBy = "captions"
    """captions: every word stands in the caption. meaning: the picture is near to the words, by CLIP."""
    where: RecordFilter = field(default_factory=RecordFilter)
    min_similarity: float | None = None
    """Of the picture's hits, or those by meaning; inclusive."""
    offset: int = 0
    limit: int = 20

    def __post_init__(self) -> None:
        if self.picture is not None and self.descriptor is not None:
            raise ConfigError("give a picture or its descriptor, not both")
        if not self.by_picture and not self.words.strip():
            raise ConfigError("say what to look for: a picture, words, or both")
        if not 1 <= self.limit <= MAX_LIMIT or not 0 <= self.offset <= MAX_OFFSET:
            raise ConfigError(
                f"limit {self.limit}, offset {self.offset}: a page has 1 to {MAX_LIMIT} hits and begins at 0 to "
                f"{MAX_OFFSET}"
            )
        if len(self.words) > MAX_WORDS:
            raise ConfigError(f"words: {len(self.words)} characters; at most {MAX_WORDS} are looked for")
        if self.by not in ("captions", "meaning") or self.views not in VIEW_KINDS:
            raise ConfigError(
                f"by {self.by!r}, views {self.views!r}: known are captions and meaning; {', '.join(VIEW_KINDS)}"
            )
        if self.part is not None:
            left, top, right, bottom = self.part
            if self.picture is None or not (0 <= left < right <= 1 and 0 <= top < bottom <= 1):
                raise ConfigError(
                    f"part {self.part}: give left, top, right and bottom of the picture, as shares from 0 to 1"
                )

    @property
    def by_picture(self) -> bool:
        return self.picture is not None or self.descriptor is not None


@dataclass(frozen=True, slots=True)
class SearchHit:
    """One reference that was found."""

    record: Record
    similarity: float | None = None
    """To the picture, after the index's transform, of its best view and region; None if there was none."""
    pdq_bits: int | None = None
    """By how many of 256 bits the PDQ hashes differ; None beyond 31."""
    meaning: float | None = None
    """Cosine of the words and the reference, by CLIP; None if they were not looked up so."""

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "id": self.record.id,
            "uri": self.record.uri,
            "sha256": self.record.sha256,
            "caption": self.record.caption,
            "collections": list(self.record.collections),
            "cluster_size": self.record.cluster_size,
            "similarity": None if self.similarity is None else round(self.similarity, 6),
            "pdq_bits": self.pdq_bits,
            "meaning": None if self.meaning is None else round(self.meaning, 6),
        }


@dataclass(frozen=True, slots=True)
class SearchPage:
    """Hits offset .. offset + len(hits) - 1 of those that there are, best first."""

    hits: tuple[SearchHit, ...]
    offset: int
    limit: int
    more: bool
    """True: a page with a higher offset has hits too."""
    index_version: str
    total: int | None = None
    """Captions that hold the words; None where everything is a hit, only less and less near."""
    note: str = ""
    """In words, what the hits do not say; "" for nothing."""

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, as `memguard search --json` prints them."""
        return {
            "hits": [hit.to_dict() for hit in self.hits],
            "offset": self.offset,
            "limit": self.limit,
            "more": self.more,
            "total": self.total,
            "index_version": self.index_version,
            "note": self.note or None,
        }
