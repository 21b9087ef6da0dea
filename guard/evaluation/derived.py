"""Entrants that need no embedding of their own: their similarities are made of other entrants' vectors. A protocol."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from guard.evaluation.protocol import Plan
from guard.evaluation.scores import Embedded, Similarities

__all__ = ["Derived"]


class Derived(Protocol):
    """Takes part in an evaluation beside the entrants, and is compared with one of them on the same queries."""

    @property
    def name(self) -> str: ...

    @property
    def base(self) -> str:
        """Name of the entrant that it is paired with; that entrant must take part."""
        ...

    def similarities(self, embedded: Mapping[str, Embedded], drawn: Plan) -> Similarities:
        """embedded: the vectors of every entrant, by name, of the pictures of the plan in their order."""
        ...
