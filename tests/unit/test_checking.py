"""One check by itself: what it needs, and that whatever fails costs a verdict and never an exception."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from guard import Decision, Policy
from guard.checking import Checking
from guard.config import load_config
from guard.decision import Reasoning
from guard.errors import ConfigError
from guard.rules import Rules
from guard.types import Status
from guard.verification.examiner import Examiner
from tests.support.toys import MemoryIndex, ToyEmbedder, picture

TOY = ToyEmbedder()
RULES = Rules.resolve(Policy(flag=0.8, block=0.95), None)
INDEX = MemoryIndex(TOY, {f"{seed}.png": picture(seed) for seed in range(6)})


def checking(rules: Callable[[], Rules] = lambda: RULES, **more: Any) -> Checking:
    policy = Policy(flag=0.8, block=0.95)
    config = load_config(
        None, policy=policy, deadline_s=None, verify=False, query_views="one"
    )  # as a guard resolves it
    return Checking(INDEX, TOY, Examiner(INDEX, None), config, rules, **more)


def test_a_verdict_an_image_in_order_and_how_it_came_about() -> None:
    told: list[int] = []
    traced: list[Reasoning] = []
    verdicts, clock = checking(on_count=told.append).verdicts(3, [picture(3), "a path", picture(99)], None, traced)
    assert [v.status for v in verdicts] == [Status.SUCCESS, Status.ERROR, Status.SUCCESS]
    assert (verdicts[0].decision, verdicts[2].decision) == (Decision.BLOCK, Decision.ALLOW)
    assert verdicts[1].stage == "pixels"
    assert [one.verdict for one in traced] == [verdicts[0], verdicts[2]]
    assert told == [6]
    assert list(clock.by_stage()) == ["pixels", "embed", "search", "decide"]


def test_rules_that_cannot_be_resolved_cost_the_verdicts() -> None:
    def refuse() -> Rules:
        raise ConfigError("no calibration goes that far")

    verdicts, _ = checking(refuse).verdicts(2, [picture(3), picture(4)], None)
    assert [v.status for v in verdicts] == [Status.ERROR, Status.ERROR]
    assert all("no calibration goes that far" in v.reasons[0] for v in verdicts)


@pytest.mark.parametrize("images", [[], ["a path"]])
def test_nothing_to_look_at(images: list[Any]) -> None:
    verdicts, _ = checking().verdicts(len(images), images, None)
    assert [v.status for v in verdicts] == [Status.ERROR] * len(images)
