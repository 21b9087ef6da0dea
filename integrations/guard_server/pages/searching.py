"""What the search pages share: an index that can be searched, and what its hits say in words. Searches nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

from guard.errors import GuardError
from guard.indexes.overlaid import OverlaidIndex
from guard.search import SearchHit, SearchPage
from guard.types import Evidence, Match
from guard_server.pages.pair import KINDS
from guard_server.problems import Problem

if TYPE_CHECKING:
    from guard.guard import Guard
    from guard.pixels import RGBArray
    from guard_server.service import Service

__all__ = ["Level", "answer_of", "compared", "level", "searched"]

Level = Literal["block", "flag", "plain"]
COMPARED = 3
"""Hits whose pixels are compared for the answer; some tenth of a second each."""


def compared(guard: Guard, image: RGBArray, hits: Sequence[SearchHit]) -> dict[int, Evidence]:
    """By id, what the pixels of the nearest hits say, where they show a copy; hashes have spoken for the others.

    Nothing where pixels cannot be compared: without OpenCV, without thumbnails.
    """
    copies = {}
    for hit in [hit for hit in hits[:COMPARED] if hit.pdq_bits is None and hit.similarity is not None]:
        try:
            found = guard.examiner.explain(image, Match(hit.record, hit.similarity or 0.0))
        except GuardError:
            continue
        if found is not None and found[1].is_copy:
            copies[hit.record.id] = found[1]
    return copies


def answer_of(guard: Guard, page: SearchPage, copies: Mapping[int, Evidence]) -> dict[str, str]:
    """The answer of a first page of results by picture alone, with its kind and a title. copies: see `compared`."""
    flag, block = guard.rules.of_the_policy
    identical = sum(hit.pdq_bits is not None for hit in page.hits)
    nearest = max((hit.similarity for hit in page.hits if hit.similarity is not None), default=-1.0)
    said = f"The nearest picture has similarity {nearest:.3f}"
    if identical:
        count = "One picture" if identical == 1 else f"{identical} pictures"
        says = f"{count} of the index: the PDQ hash counts as identical with yours, turned or mirrored included."
        return {"kind": "block", "title": "It is in there", "says": says}
    if copies:
        evidence = next(iter(copies.values()))
        shares = f"{evidence.copied_area_reference:.0%} of it on {evidence.copied_area_query:.0%} of yours"
        says = f"{KINDS[evidence.kind]} The nearest that shows it: {shares}."
        return {"kind": "block", "title": "It is in there, or a part of it", "says": says}
    if nearest >= block:
        says = f"{said}; an output that near is blocked, from {block:.3f} on."
        return {"kind": "block", "title": "It is most likely in there", "says": says}
    if nearest >= flag:
        says = f"{said}; an output that near is flagged, from {flag:.3f} on."
        return {"kind": "flag", "title": "Something is close to it", "says": says}
    says = (
        f"{said}; outputs are flagged from {flag:.3f} on. Look at the first ones: a small part may still be in there."
    )
    return {"kind": "allow", "title": "Nothing is near enough to be flagged", "says": says}


def level(hit: SearchHit, flag: float, block: float) -> Level:
    """How near a hit is, by the thresholds of a check."""
    if hit.pdq_bits is not None or (hit.similarity or -1.0) >= block:
        return "block"
    return "flag" if (hit.similarity or -1.0) >= flag else "plain"


@contextmanager
def searched(service: Service) -> Iterator[Guard]:
    """The guard in use, which stays open meanwhile. Raises Problem where its index cannot be searched or changed."""
    with service.current.use() as guard:
        if not isinstance(guard.index, OverlaidIndex):
            raise Problem("unavailable", "This index can be checked against and not searched.")
        yield guard
