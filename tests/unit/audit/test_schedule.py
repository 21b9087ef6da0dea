from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import pytest

from guard.audit.cliques import Clique
from guard.audit.density import Density
from guard.audit.prompts import Prompt
from guard.audit.schedule import Look, budgeted, targets


@dataclass
class Simulated:
    """A world in which a generation takes a second, and a share of each prompt's are copies."""

    shares: dict[str, float]
    now: float = 0.0
    made: dict[str, int] = field(default_factory=dict)

    def __call__(self, prompts: Sequence[Prompt], generations: int, until: float, /) -> Iterator[Look]:
        for prompt in prompts:
            missing = max(0, generations - self.made.get(prompt.text, 0))
            if self.now + missing > until:
                return
            self.now += missing
            self.made[prompt.text] = max(generations, self.made.get(prompt.text, 0))
            yield Look(prompt, self.density(prompt.text))

    def density(self, text: str) -> Density:
        n = self.made[text]
        clique = max(1, int(n * self.shares[text]))
        closest = 0.05 if clique > 1 else 0.4
        return Density(n, 0, Clique(tuple(range(clique)), clique), 10, 0, closest, closest)


def prompts_of(shares: dict[str, float]) -> list[Prompt]:
    return [Prompt(text) for text in shares]


def spend(world: Simulated, budget: float, generations: int = 64) -> dict[str, Look]:
    return budgeted(prompts_of(world.shares), generations, world, deadline=budget, clock=lambda: world.now)


def test_targets() -> None:
    assert targets(500) == [8, 16, 32, 64, 128, 256, 500]
    assert (targets(8), targets(3), targets(9, first=8)) == ([8], [3], [8, 9])


def test_enough_time_finds_everything_and_stops() -> None:
    world = Simulated({"all": 1.0, "half": 0.5, "few": 0.2, "none": 0.0})
    looks = spend(world, budget=10_000)
    found = {seen.prompt.text for seen in looks.values() if seen.decided}
    assert found == {"all", "half", "few"}
    assert world.made == {"all": 16, "half": 32, "few": 64, "none": 64}  # a decided one costs nothing more


def test_short_time_goes_to_what_is_promising() -> None:
    shares = {f"none {i}": 0.0 for i in range(20)} | {"half": 0.5, "some": 0.3}
    world = Simulated(shares)
    looks = spend(world, budget=600)
    assert world.now <= 600
    found = {seen.prompt.text for seen in looks.values() if seen.decided}
    assert found == {"half", "some"}
    # All to the end would have been 22 x 64 = 1408; evenly spread, 27 of each leave "some" with 8 copies.
    assert max(world.made[f"none {i}"] for i in range(20)) <= 64


def test_the_first_are_looked_at_first() -> None:
    world = Simulated({f"prompt {i}": 0.0 for i in range(100)})
    looks = spend(world, budget=100)
    seen = {look.prompt.text for look in looks.values()}
    assert 2 <= len(seen) <= 12
    assert seen == {f"prompt {i}" for i in range(len(seen))}


def test_a_slow_model_still_uses_its_time() -> None:
    """A first look takes longer than a round's part of the budget."""
    world = Simulated({"none": 0.0, "all": 1.0})
    looks = spend(world, budget=30)
    assert world.made == {"none": 8, "all": 16}
    assert looks[Prompt("all").key].decided


def test_no_time_at_all() -> None:
    world = Simulated({"a": 1.0})
    assert spend(world, budget=0) == {}
    assert spend(world, budget=3) == {}  # not even a first look; and it ends


@pytest.mark.parametrize("budget", [50, 333, 1_000])
def test_the_deadline_holds(budget: float) -> None:
    world = Simulated({f"prompt {i}": (i % 7) / 10 for i in range(40)})
    spend(world, budget=budget, generations=500)
    assert world.now <= budget
