"""In which order the references of one query are compared, and which are not worth it. Knows verifiers; no thumbnails.

A check and its evaluation both go by this.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from guard.types import Evidence
from guard.verification.verifier import SupportsShortlist, Verifier

__all__ = ["Walk"]


class Walk:
    """query, references: prepared; the latter nearest first. in_time: False once nothing dear shall begin any more."""

    def __init__(
        self,
        verifier: Verifier,
        query: Any,
        references: Sequence[Any],
        in_time: Callable[[], bool] = lambda: True,
    ) -> None:
        self._verifier, self._query, self._references = verifier, query, references
        self._list = verifier.shortlist(query, references, in_time) if isinstance(verifier, SupportsShortlist) else None
        self._given: set[int] = set()

    def order(self) -> Iterator[int]:
        """Positions to compare, most promising first; all of them, nearest first, if the verifier cannot tell."""
        for i in range(len(self._references)) if self._list is None else self._list:
            self._given.add(i)
            yield i

    def dismissed(self) -> Iterator[tuple[int, Evidence]]:
        """Once the order has ended: positions that a glance has dismissed, with what that says."""
        if self._list is not None and isinstance(self._verifier, SupportsShortlist):
            for i in self._list.looked_at:
                if i not in self._given:
                    yield i, self._verifier.dismissed(self._query, self._references[i])
