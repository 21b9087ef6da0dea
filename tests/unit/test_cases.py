"""Which pixels are compared before a decision, and in what time."""

from __future__ import annotations

from typing import Any

import numpy as np

from guard.cases import cases_of
from guard.config import GuardConfig
from guard.decision import Case
from guard.findings import OwnInput
from guard.lookup import Found
from guard.pixels import to_batch
from guard.policy import Policy
from guard.rules import Rules
from guard.verification.examiner import Examiner
from tests.support.photographs import photograph
from tests.unit.verification.test_examiner import Counting, Thumbnails, candidates

RULES = Rules.resolve(Policy(flag=0.5, block=0.8), None)


def cases(
    examiner: Examiner, n: int, *, usable: bool = True, left_s: float | None = None, **settings: Any
) -> list[Case]:
    config = GuardConfig(verify=True, **settings)
    found = [Found(tuple(candidates(0.9, 0.8)))] * n
    batch, seen = to_batch([photograph("rocket", 320)] * n), np.full(n, usable)
    return cases_of(batch, found, [OwnInput()] * n, seen, RULES, examiner, config, left_s=left_s)


def test_the_budget_is_for_each_image_and_half_the_deadline_for_all() -> None:
    verifier = Counting(pause_s=0.03)
    examiner = Examiner(Thumbnails(), verifier)
    found = cases(examiner, 3, verify_budget_ms=20)
    assert [f.verified for f in found] == [False] * 3
    begun = verifier.verified
    assert begun <= 3  # each image had the time to begin one, at most
    found = cases(examiner, 3, verify_budget_ms=60_000, left_s=0.02)
    assert verifier.verified <= begun + 1  # the first image took the half
    assert [f.unverified for f in found] == ["out of time"] * 3


def test_an_image_that_is_not_usable_is_compared_by_the_gate_of_flat_pictures_alone() -> None:
    verifier = Counting()
    (found,) = cases(Examiner(Thumbnails(), verifier), 1, usable=False, verify_budget_ms=60_000)
    assert found.detail is not None
    assert [m.evidence is not None for m in found.candidates] == [True, True]
    assert verifier.verified == 0
