"""Candidates -> what is known of each image when it is decided about: which pixels are compared, and in what time.

Knows the order: flat pictures have a gate of their own; others are compared where the setting `verify` asks for it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from guard.decision import Case
from guard.findings import OwnInput
from guard.flat import gate_of
from guard.lookup import Found
from guard.pixels import ImageBatch
from guard.rules import Rules
from guard.types import Match

if TYPE_CHECKING:
    from guard.config import GuardConfig
    from guard.verification.examiner import Examiner

__all__ = ["cases_of"]


def cases_of(
    batch: ImageBatch,
    found: Sequence[Found],
    own: Sequence[OwnInput],
    usable: npt.NDArray[np.bool_],
    rules: Rules,
    examiner: Examiner,
    config: GuardConfig,
    *,
    left_s: float | None,
) -> list[Case]:
    """One case an image, in order. found, own and usable are of the same images.

    config: in force, see guard.comparing. left_s: of the deadline, None without one; comparing takes half of it at most
    in all, `verify_budget_ms` an image.
    Raises MissingExtraError where verification is asked for and lacks a package; nothing else.
    """
    end = math.inf if left_s is None else time.perf_counter() + left_s / 2
    cases = []
    for row, one in enumerate(batch.singles()):
        candidates, exempted = found[row].candidates, found[row].exempted
        case = Case(candidates, bool(usable[row]), own=own[row], exempted=exempted)
        flat = gate_of(one, candidates, examiner.thumbnail, usable=case.usable, counts=rules.counts)
        if flat is not None:
            case = Case(flat.candidates, case.usable, flat.detail, own[row], flat.verified, flat.reason, exempted)
        elif config.verify is True and case.usable:
            until = min(end, time.perf_counter() + config.verify_budget_ms / 1000)
            seen = examiner.examine(
                one,
                candidates,
                gate=lambda match: _least(match, rules, config.verify_margin),
                missed=rules.counts,
                conclusive=lambda match: rules.can_block(match.record.collections),
                until=until,
                most=config.verify_candidates,
            )
            case = Case(seen.candidates, True, None, own[row], seen.verified, seen.reason, exempted)
        cases.append(case)
    return cases


def _least(match: Match, rules: Rules, margin: float) -> float:
    """The similarity from which it is compared: none for what counts by its hash."""
    return -math.inf if rules.counts(match) else rules.lowest_flag(match.record.collections) - margin
