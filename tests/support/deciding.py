"""Decisions of one policy, with its parts as plain keywords."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from guard.decision import Case
from guard.decision import decide as decide_case
from guard.findings import OwnInput
from guard.policy import CollectionPolicy, Policy
from guard.rules import Rules
from guard.types import Match, Verdict

__all__ = ["decide"]


def decide(
    candidates: Sequence[Match],
    *,
    flag: float,
    block: float,
    identical: Any = "block",
    collections: Mapping[str, CollectionPolicy] | None = None,
    input_similarity: float | None = None,
    input_bits: int | None = None,
    own_input: Any = "allow",
    compare: Any = None,
    **case: Any,
) -> Verdict:
    policy = Policy(flag=flag, block=block, identical=identical, collections=collections or {})
    own = OwnInput(input_similarity, input_bits, own_input)
    return decide_case(Case(tuple(candidates), own=own, **case), Rules.resolve(policy, None), compare).verdict
