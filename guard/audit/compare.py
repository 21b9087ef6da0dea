"""Two audits side by side: model A and B, before and after deduplication, small and large. Knows reports; no pictures.

Prompts that both looked at are compared one by one, so that the difference leaves out what both owe to the prompts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict

from guard.audit.report import AuditReport, PromptRow, Rate
from guard.errors import ConfigError
from guard.evaluation.intervals import Interval, difference_of_rates, paired_difference

__all__ = ["Change", "Comparison", "Difference", "GroupRow", "compare"]

MUST_AGREE = (
    "threshold",
    "least_clique",
    "criterion",
    "delta",
    "alpha",
    "neighbours",
    "similarity",
    "collections",
    "buried",
)
"""Settings without which two rates do not mean the same."""


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Difference(_Model):
    """Rate of A minus rate of B with its 95 % interval, in [-1, 1]; null where there was nothing to count."""

    value: float | None
    low: float
    high: float

    @classmethod
    def of(cls, interval: Interval) -> Difference:
        known = math.isfinite(interval.value)
        return cls(value=interval.value if known else None, low=interval.low, high=interval.high)


class GroupRow(_Model):
    """Prompts that both looked at, whose pictures stand between low and high times in A's training set."""

    low: int
    high: int
    a: Rate
    b: Rate
    difference: Difference


class Change(_Model):
    """A prompt that one audit found memorised and the other did not."""

    text: str
    label: int | None
    duplicates: tuple[int | None, int | None]
    memorised_by: Literal["a", "b"]
    copies: tuple[Rate | None, Rate | None]


class Comparison(_Model):
    """The document of `memguard audit compare`."""

    format: Literal[1] = 1
    model_a: str
    model_b: str
    shared: int
    """Prompts that both looked at."""
    only_a: int
    only_b: int
    both: int
    """Shared prompts memorised by both; `a_alone`, `b_alone`, `neither` likewise."""
    a_alone: int
    b_alone: int
    neither: int
    a: Rate
    """Memorised, of the shared prompts."""
    b: Rate
    difference: Difference
    """Paired; Newcombe 1998."""
    unpaired: Difference
    """Of all prompts of each audit, as if they were independent."""
    by_duplicates: tuple[GroupRow, ...]
    changes: tuple[Change, ...]
    notes: tuple[str, ...]
    """Where the two differ in a way that the rates depend on."""


def compare(a: AuditReport, b: AuditReport) -> Comparison:
    """Raises ConfigError where they judged by different rules, or share no prompt and have none to count."""
    for name in MUST_AGREE:
        if getattr(a.settings, name) != getattr(b.settings, name):
            raise ConfigError(
                f"the audits judged by different rules ({name}: {getattr(a.settings, name)} and "
                f"{getattr(b.settings, name)}), so that their rates cannot be compared; run one of them again"
            )
    of_b = {row.key: row for row in b.prompts}
    pairs = [(row, of_b[row.key]) for row in a.prompts if row.key in of_b]
    both, a_alone, b_alone, neither = _counts(pairs)
    ra, rb = a.summary.memorised, b.summary.memorised
    return Comparison(
        model_a=a.model,
        model_b=b.model,
        shared=len(pairs),
        only_a=len(a.prompts) - len(pairs),
        only_b=len(b.prompts) - len(pairs),
        both=both,
        a_alone=a_alone,
        b_alone=b_alone,
        neither=neither,
        a=Rate.exact(both + a_alone, len(pairs)),
        b=Rate.exact(both + b_alone, len(pairs)),
        difference=Difference.of(paired_difference(both, a_alone, b_alone, neither)),
        unpaired=Difference.of(difference_of_rates(ra.hits, ra.of, rb.hits, rb.of)),
        by_duplicates=tuple(_groups(pairs, a)),
        changes=tuple(_change(x, y) for x, y in pairs if x.memorised != y.memorised),
        notes=tuple(_notes(a, b, pairs)),
    )


def _counts(pairs: Sequence[tuple[PromptRow, PromptRow]]) -> tuple[int, int, int, int]:
    """(both, only the first, only the second, neither) memorised."""

    def count(wanted: Callable[[bool, bool], bool]) -> int:
        return sum(wanted(x.memorised, y.memorised) for x, y in pairs)

    return (
        count(lambda x, y: x and y),
        count(lambda x, y: x and not y),
        count(lambda x, y: y and not x),
        count(lambda x, y: not x and not y),
    )


def _groups(pairs: Sequence[tuple[PromptRow, PromptRow]], a: AuditReport) -> list[GroupRow]:
    rows = []
    for group in a.summary.by_duplicates:
        some = [p for p in pairs if p[0].duplicates is not None and group.low <= p[0].duplicates <= group.high]
        if some:
            both, first, second, neither = _counts(some)
            rows.append(
                GroupRow(
                    low=group.low,
                    high=group.high,
                    a=Rate.exact(both + first, len(some)),
                    b=Rate.exact(both + second, len(some)),
                    difference=Difference.of(paired_difference(both, first, second, neither)),
                )
            )
    return rows


def _change(a: PromptRow, b: PromptRow) -> Change:
    return Change(
        text=a.text,
        label=a.label,
        duplicates=(a.duplicates, b.duplicates),
        memorised_by="a" if a.memorised else "b",
        copies=(a.finding.copies if a.finding else None, b.finding.copies if b.finding else None),
    )


def _notes(a: AuditReport, b: AuditReport, pairs: Sequence[tuple[PromptRow, PromptRow]]) -> list[str]:
    notes = []
    uneven = sum(x.generations != y.generations for x, y in pairs)
    if uneven:
        notes.append(
            f"{uneven} of {len(pairs)} shared prompts have more generations in one audit than in the other, and more "
            "generations find more"
        )
    if a.settings.compared_px and b.settings.compared_px and a.settings.compared_px != b.settings.compared_px:
        notes.append("the pictures were compared at different sizes, which moves distances")
    if a.references != b.references:
        notes.append(f"the training sets differ in size: {a.references} and {b.references} pictures")
    if a.settings.sampling != b.settings.sampling:
        notes.append("the models were sampled with different settings")
    return notes
