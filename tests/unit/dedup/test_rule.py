"""When two references are copies."""

from __future__ import annotations

import pytest

from guard.dedup.rule import MARGIN, Comparison, Rule, same_frame
from guard.embedders.base import Thresholds
from guard.errors import ConfigError
from guard.types import EvidenceKind

RULE = Rule(look=0.6, flag=0.66, block=0.7, bits=31)


@pytest.mark.parametrize(
    ("pair", "copies"),
    [
        (Comparison(0.7), True),
        (Comparison(0.69), False),
        (Comparison(0.66, 31), True),
        (Comparison(0.66, 32), False),
        (Comparison(0.65, 0), False),
        (Comparison(0.99, 0, EvidenceKind.NONE, 60), False),
        (Comparison(0.99, 0, EvidenceKind.SAME_TEMPLATE, 3), False),
        (Comparison(0.99, 0, EvidenceKind.PARTIAL, 300), False),
        (Comparison(0.69, None, EvidenceKind.EDITED, 300), False),
        (Comparison(0.7, None, EvidenceKind.EDITED, 300), True),
        (Comparison(0.69, 32, EvidenceKind.EDITED, 300, agreement=0.92), False),
        (Comparison(0.65, 128, EvidenceKind.EDITED, 300, agreement=0.93), False),
        (Comparison(0.66, 128, EvidenceKind.EDITED, 300, agreement=0.93), True),
        (Comparison(0.59, 32, EvidenceKind.EDITED, 300, agreement=0.99), False),
        (Comparison(0.69, 65, EvidenceKind.EDITED, None, agreement=0.99), False),
        (Comparison(0.69, 65, EvidenceKind.EDITED, 59, agreement=0.99), False),
        (Comparison(0.7, 65, EvidenceKind.EDITED, None, agreement=0.99), True),
        (Comparison(0.6, 64, EvidenceKind.EDITED, None, agreement=0.93), True),
        (Comparison(0.7, 128, EvidenceKind.EDITED, 300), True),
        (Comparison(0.6, 31, EvidenceKind.EDITED, 300), True),
        (Comparison(0.6, 64, EvidenceKind.EDITED, 300, same_frame=True, agreement=0.93), True),
        (Comparison(0.2, 31, EvidenceKind.NEAR_IDENTICAL, 300, same_frame=True, agreement=0.93), True),
        (Comparison(0.9, 65, EvidenceKind.EDITED, 300, same_frame=True, agreement=0.99), False),
        (Comparison(0.9, 65, EvidenceKind.NEAR_IDENTICAL, 300, same_frame=True, agreement=0.99), False),
        (Comparison(0.6, 40, EvidenceKind.EDITED, 300, same_frame=True, agreement=0.4), True),
        (Comparison(0.9, 41, EvidenceKind.EDITED, 300, same_frame=True, agreement=0.92), False),
        (Comparison(0.59, 31, EvidenceKind.EDITED, 300, same_frame=True, agreement=0.92), False),
        (Comparison(0.7, None, EvidenceKind.NEAR_IDENTICAL, 300, same_frame=True, agreement=0.4), True),
        (Comparison(0.69, None, EvidenceKind.NEAR_IDENTICAL, 300, same_frame=True, agreement=0.92), False),
        (Comparison(0.9, 128, EvidenceKind.NEAR_IDENTICAL, 300), True),
        (Comparison(0.2, 31, EvidenceKind.NEAR_IDENTICAL), True),
        (Comparison(0.59, 32, EvidenceKind.NEAR_IDENTICAL), False),
        (Comparison(0.7, 31, EvidenceKind.NONE, 59), True),
        (Comparison(0.9, None, EvidenceKind.NONE, 59), False),
        (Comparison(0.7, 32, EvidenceKind.NONE, 59), False),
        (Comparison(0.69, 31, EvidenceKind.NONE, 59), False),
    ],
)
def test_copies(pair: Comparison, copies: bool) -> None:
    assert RULE.copies(pair) is copies


@pytest.mark.parametrize(
    ("transform", "same"),
    [
        (None, False),
        ((1, 0, 0, 0, 1, 0), True),
        ((1.05, 0, -0.05, 0, 0.97, 0.02), True),
        ((1.2, 0, -0.1, 0, 1.2, -0.1), False),
        ((-1, 0, 1, 0, 1, 0), True),
        ((1, 0, 0, 0, -1, 1), False),
        ((0, 1, 0, -1, 0, 1), False),
    ],
)
def test_frames_that_coincide(transform: tuple[float, ...] | None, same: bool) -> None:
    assert same_frame(transform) is same


def test_thresholds_of_the_embedder() -> None:
    rule = Rule.of(Thresholds(0.5, 0.8, "made up"), 31)
    assert (rule.look, rule.flag, rule.block) == (pytest.approx(0.5 - MARGIN), 0.5, 0.8)
    moved = Rule.of(Thresholds(0.5, 0.8, "made up"), 31, similarity=0.9)
    assert (moved.flag, moved.block) == (pytest.approx(0.6), pytest.approx(0.9))
    alone = Rule.of(None, 31, similarity=0.7)
    assert (alone.look, alone.flag, alone.block) == (pytest.approx(0.7 - MARGIN), 0.7, 0.7)


@pytest.mark.parametrize(("thresholds", "similarity", "said"), [(None, None, "without thresholds"), (None, 2, "is 2")])
def test_what_makes_no_rule(thresholds: Thresholds | None, similarity: float | None, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Rule.of(thresholds, 31, similarity=similarity)
