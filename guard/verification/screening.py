"""Which of many references are worth a full comparison with one query. Knows two cheap looks, and no kinds of evidence.

Whole frames by correlation of small plates, as guard.verification.dense does it; and votes: a keypoint of the query
votes for a reference in which it finds a clearly better match than in the middle one of all. Duplicates of one picture
do not take each other's votes, as long as they are not the half of what is looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from guard.verification.dense import whole_correlations
from guard.verification.features import Floats, Prepared, compacted, mirrored

__all__ = ["WHOLE_CORRELATION", "Shortlist", "votes"]

WHOLE_CORRELATION = 0.25  # of the whole frames: below, laying them on one another finds nothing
RATIO = 0.7  # of the distances to the best match in a reference and in the middle one
LEAST_VOTES = 8  # of at most 500 keypoints
BY_VOTES = 4  # references at most; of 235 hard copies (insets, tiles of a collage, crops) none came later
BY_WHOLE = 2
MUTE = 1  # references at most whose keypoints, or the query's, are too few to vote
NEAREST = 1  # references that are compared whatever they look like
FEW_REFERENCES = 4  # are all compared

_MIDDLE = 0.5


class Shortlist:
    """Iterate over positions of the references that could be copied, most promising first.

    query, references: the latter nearest first by whatever found them. few_keypoints: with fewer on either side, votes
    say nothing. in_time: asked before a reference's keypoints are extracted; those that come too late are left out.
    The cheapest look comes first, and nothing is looked at before it is needed: stop when you have seen enough.
    """

    def __init__(
        self,
        query: Prepared,
        references: Sequence[Prepared],
        *,
        few_keypoints: int,
        in_time: Callable[[], bool] = lambda: True,
    ) -> None:
        self._query, self._references = query, references
        self._few, self._in_time = few_keypoints, in_time
        self.looked_at: list[int] = []
        """Positions that were screened by their keypoints; complete when the iteration has ended."""

    def __iter__(self) -> Iterator[int]:
        references = self._references
        if len(references) <= FEW_REFERENCES:
            yield from range(len(references))
            return
        given: set[int] = set()
        whole = whole_correlations(self._query, references)
        alike = [i for i in np.argsort(-whole, kind="stable").tolist() if whole[i] >= WHOLE_CORRELATION]
        for i in (*alike[:BY_WHOLE], *range(NEAREST)):
            if i not in given:
                given.add(i)
                yield i
        for i, reference in enumerate(references):
            if not (reference.has_keypoints or self._in_time()):
                break
            _ = reference.keypoints
            self.looked_at.append(i)
        seen = [references[i] for i in self.looked_at]
        counts = votes(self._query, seen)
        order = np.argsort(-counts, kind="stable").tolist()
        voted = [self.looked_at[i] for i in order if counts[i] >= LEAST_VOTES][:BY_VOTES]
        few = len(self._query.keypoints) < self._few
        mute = [i for i in self.looked_at if few or len(references[i].keypoints) < self._few]
        for i in (*voted, *[i for i in mute if i not in given and i not in voted][:MUTE]):
            if i not in given:
                given.add(i)
                yield i


def votes(query: Prepared, references: Sequence[Prepared]) -> npt.NDArray[np.int64]:
    """(k,) keypoints of the query that vote for each reference, as it is or mirrored, whichever has more."""
    plain = query.keypoints.unit_rows()
    counts = np.zeros(len(references), np.int64)
    rows = [reference.keypoints.compact() for reference in references]
    if len(plain) == 0 or not any(map(len, rows)):
        return counts
    starts = np.concatenate([[0], np.cumsum([len(r) for r in rows])[:-1]])
    filled = np.array([len(r) > 0 for r in rows])
    every = np.concatenate(rows)
    middle: Floats | None = None
    for seen in (plain, mirrored(plain)):
        best = np.full((len(plain), len(rows)), -1, np.float32)
        cosine = compacted(seen) @ every.T
        best[:, filled] = np.maximum.reduceat(cosine, starts[filled], axis=1)
        if middle is None:
            middle = np.quantile(best, _MIDDLE, axis=1, keepdims=True)
        nearer = np.maximum(1 - best, 0) < RATIO**2 * np.maximum(1 - middle, 1e-6)  # squared distances of unit rows
        counts = np.maximum(counts, nearer.sum(axis=0))
    return counts
