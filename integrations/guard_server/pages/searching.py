"""What the search pages share: an index that can be searched, and what its hits say in words. Searches nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from guard.indexes.overlaid import OverlaidIndex
from guard.search import SearchHit, SearchPage
from guard_server.problems import Problem

if TYPE_CHECKING:
    from guard.guard import Guard
    from guard_server.service import Service

__all__ = ["Level", "answer_of", "level", "searched"]

Level = Literal["block", "flag", "plain"]


def answer_of(guard: Guard, page: SearchPage) -> dict[str, str]:
    """The answer of a first page of results by picture alone, with its kind and a title."""
    flag, block = guard.rules.of_the_policy
    identical = sum(hit.pdq_bits is not None for hit in page.hits)
    nearest = max((hit.similarity for hit in page.hits if hit.similarity is not None), default=-1.0)
    said = f"The nearest picture has similarity {nearest:.3f}"
    if identical:
        count = "One picture" if identical == 1 else f"{identical} pictures"
        says = f"{count} of the index: the PDQ hash counts as identical with yours, turned or mirrored included."
        return {"kind": "block", "title": "It is in there", "says": says}
    if nearest >= block:
        says = f"{said}; an output that near is blocked, from {block:.3f} on."
        return {"kind": "block", "title": "It is most likely in there", "says": says}
    if nearest >= flag:
        says = f"{said}; an output that near is flagged, from {flag:.3f} on."
        return {"kind": "flag", "title": "Something is close to it", "says": says}
    says = f"{said}; outputs are flagged from {flag:.3f} on. A small part of a picture may still be in there."
    return {"kind": "allow", "title": "Nothing is near to it", "says": says}


def level(hit: SearchHit, flag: float, block: float) -> Level:
    """How near a hit is, by the thresholds of a check."""
    if hit.pdq_bits is not None or (hit.similarity or -1.0) >= block:
        return "block"
    return "flag" if (hit.similarity or -1.0) >= flag else "plain"


def searched(service: Service) -> Guard:
    """The guard in use. Raises Problem where its index cannot be searched or changed."""
    guard = service.guard
    if not isinstance(guard.index, OverlaidIndex):
        raise Problem("unavailable", "This index can be checked against and not searched.")
    return guard
