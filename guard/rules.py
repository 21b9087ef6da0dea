"""What a match leads to in each collection: its thresholds, where they come from, and how far it may go.

Knows settings and their defaults; no candidate and no pixel. Every collection that nobody set is as strict as the
policy itself, but for those with a meaning of their own: `opt-out` and `protected` block every match, `canary` flags at
most, and `allow` holds nothing against an image.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from guard.calibration.target import FalsePositiveRate
from guard.embedders.base import Thresholds
from guard.errors import ConfigError
from guard.policy import IDENTICAL, SEVERITY, CollectionPolicy, Identical, Policy, known
from guard.types import Collection, Decision, Match
from guard.verification.weigh import sure_from

__all__ = ["Rule", "Rules"]

BLOCKS_EVERY_MATCH: frozenset[str] = frozenset({Collection.OPT_OUT, Collection.PROTECTED})
AT_MOST: Mapping[str, Decision] = {Collection.CANARY: Decision.FLAG, Collection.ALLOW: Decision.ALLOW}


@dataclass(frozen=True, slots=True)
class Rule:
    """How matches with one collection are judged. Similarities are inclusive."""

    collection: str
    flag: float
    block: float
    """At least flag."""
    sure: float
    """Similarity from which compared pixels refute nothing: a block that was set for this collection, or else what lies
    well above the policy's (guard.verification.weigh.sure_from)."""
    identical: Identical = IDENTICAL
    at_most: Decision = Decision.BLOCK
    flag_strength: float = 0.0
    """Strength of evidence from which pixels flag by themselves; inf: they only confirm."""
    block_strength: float = 0.0
    """The same to block; at least flag_strength."""
    flag_from: str = ""
    """Where the threshold comes from, in words."""
    block_from: str = ""

    def copied(self, match: Match) -> bool:
        """Whether its pixels say enough to count by themselves."""
        evidence = match.evidence
        return evidence is not None and evidence.is_copy and max(evidence.strength, 0.0) >= self.flag_strength

    def capped(self, decision: Decision) -> Decision:
        return min(decision, self.at_most, key=SEVERITY.index)


class Rules:
    """The rule of every collection. Immutable."""

    def __init__(self, others: Rule, named: Mapping[str, Rule]) -> None:
        """others: of any collection without a rule of its own."""
        self.others, self._named = others, dict(named)

    @classmethod
    def resolve(
        cls,
        policy: Policy,
        advice: Thresholds | None,
        *,
        without: str = "and the index's embedder comes with no thresholds of its own",
        threshold_of: Callable[[FalsePositiveRate], float] | None = None,
        strength_of: Callable[[FalsePositiveRate], float] | None = None,
        advised_by: str = "the embedder's advice",
    ) -> Rules:
        """See Policy.resolve. strength_of: of evidence, that keeps a rate; None: all evidence counts. advised_by: where
        thresholds that nobody set come from, in words.

        Raises ConfigError also for a collection's threshold that cannot be had.
        """
        flag, block = policy.resolve(advice, without=without, threshold_of=threshold_of)
        strength = _strength(policy.flag, strength_of, 0.0)
        others = Rule(
            "", flag, block, sure_from(block), policy.identical or IDENTICAL,
            flag_strength=strength, block_strength=max(strength, _strength(policy.block, strength_of, 0.0)),
            flag_from=_source("policy.flag", policy.flag) or advised_by,
            block_from=_source("policy.block", policy.block) or advised_by,
        )  # fmt: skip
        names = [*(c.value for c in Collection), *(n for n in policy.collections if n not in set(Collection))]
        rules = {n: _rule(n, policy.collections.get(n), others, threshold_of, strength_of) for n in names}
        return cls(others, rules)

    def __iter__(self) -> Iterator[Rule]:
        """Of the collections with a meaning or settings of their own."""
        return iter(self._named.values())

    def of(self, collection: str) -> Rule:
        found = self._named.get(collection)
        return replace(self.others, collection=collection) if found is None else found

    @property
    def of_the_policy(self) -> tuple[float, float]:
        """(flag, block) of every collection without a rule of its own."""
        return self.others.flag, self.others.block

    def can_block(self, collections: Iterable[str]) -> bool:
        """True if a match with any of them may be blocked."""
        return any(self.of(name).at_most is Decision.BLOCK for name in collections)

    def counts(self, match: Match) -> bool:
        """True if it reaches a flag threshold, or its hash is identical where that counts."""
        rules = [self.of(name) for name in match.record.collections]
        hashed = match.bits is not None and any(rule.identical != "ignore" for rule in rules)
        return hashed or any(match.similarity >= rule.flag for rule in rules)

    def lowest_flag(self, collections: Iterable[str]) -> float:
        """The similarity below which no match with any of them can count."""
        return min((self.of(name).flag for name in collections), default=self.others.flag)

    @property
    def asks_hashes(self) -> bool:
        """False if no collection's rule does anything with identical PDQ hashes."""
        return any(rule.identical != "ignore" for rule in (self.others, *self))

    def can_flag(self, collections: Iterable[str]) -> bool:
        """True if a match with any of them may be flagged or blocked, and none of them allows it."""
        return all(self.of(name).at_most is not Decision.ALLOW for name in collections)

    def are_stricter(self, collections: Iterable[str]) -> bool:
        """True if a further match, with one of them, may weigh more than a nearer one with another."""
        others = self.of(Collection.TRAINING)
        rules = [self.of(name) for name in collections]
        return any(r.at_most is Decision.BLOCK and (r.flag < others.flag or r.block < others.block) for r in rules)


def _rule(
    name: str,
    given: CollectionPolicy | None,
    others: Rule,
    threshold_of: Callable[[FalsePositiveRate], float] | None,
    strength_of: Callable[[FalsePositiveRate], float] | None,
) -> Rule:
    given = given or CollectionPolicy()
    field = f"policy.collections.{name}"
    flag, block = (
        known(f"collections.{name}.{part}", value, threshold_of)
        for part, value in (("flag", given.flag), ("block", given.block))
    )
    flag_from, block_from = _source(f"{field}.flag", given.flag), _source(f"{field}.block", given.block)
    if flag is None:
        flag, flag_from = (others.flag, others.flag_from)
        if block is not None and block < flag:
            flag, flag_from = block, block_from
    sure = sure_from(max(flag, others.block)) if block is None else block
    if block is None:
        every = name in BLOCKS_EVERY_MATCH
        usual = max(flag, others.block)
        block, block_from = (flag, f"{name} blocks every match") if every else (usual, others.block_from)
    elif block < flag:
        if not (isinstance(given.flag, FalsePositiveRate) and isinstance(given.block, FalsePositiveRate)):
            raise ConfigError(f"{field}.flag ({flag:.4f}) lies above {field}.block ({block:.4f})")
        block = sure = flag  # of two rates, the rarer one's bound may come out lower: it rests on a tail
    flag_strength = _strength(given.flag, strength_of, others.flag_strength)
    every = given.block is None and name in BLOCKS_EVERY_MATCH
    block_strength = flag_strength if every else _strength(given.block, strength_of, others.block_strength)
    at_most = Decision(given.at_most or AT_MOST.get(name, Decision.BLOCK))
    return Rule(
        name, flag, block, sure, given.identical or others.identical, at_most,
        flag_strength, max(flag_strength, block_strength), flag_from, block_from,
    )  # fmt: skip


def _strength(
    value: float | FalsePositiveRate | None,
    strength_of: Callable[[FalsePositiveRate], float] | None,
    unset: float,
) -> float:
    """A rate asks for a strength of its own; a similarity says nothing of pixels, and all evidence counts."""
    if isinstance(value, FalsePositiveRate):
        return strength_of(value) if strength_of is not None else 0.0
    return unset if value is None else 0.0


def _source(field: str, value: float | FalsePositiveRate | None) -> str:
    """ "" for one that nobody set."""
    if value is None:
        return ""
    return f"{field} = {value}, by the index's calibration" if isinstance(value, FalsePositiveRate) else field
