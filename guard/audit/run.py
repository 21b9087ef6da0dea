"""An audit from prompts to a report: generate, look for crowds, ask the training set. Knows the order of the steps.

Nothing of the training set is looked at before a prompt was called likely memorised or not.
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from guard._version import __version__
from guard.audit.confirm import Confirmation, Confirmer, Rule, agreed_similarity
from guard.audit.density import LEAST_CLIQUE, MOST, THRESHOLD, density
from guard.audit.generate import BATCH, Generating, Sampler, generating
from guard.audit.prompts import Prompt
from guard.audit.references import thumbnails_of
from guard.audit.report import (
    AuditReport,
    Extracted,
    Finding,
    LeftOut,
    PromptRow,
    Rate,
    Settings,
    summarise,
)
from guard.audit.schedule import FIRST, Look, budgeted
from guard.audit.state import State
from guard.errors import ConfigError

if TYPE_CHECKING:
    from guard.embedders.base import Embedder
    from guard.indexes.store import OpenIndex
    from guard.verification.verifier import Verifier

__all__ = ["GENERATIONS", "Plan", "Progress", "Told", "audit"]

GENERATIONS = 500  # of one prompt; Carlini et al. 2023, section 4.2
EXAMPLES = 10  # prompts left out that the report names
_CHUNK = 64  # generations that are confirmed before the next are read
_RESERVE = 0.03  # of a budget, for confirming; and more for the references, which are read once
_RESERVE_A_REFERENCE = 0.002  # seconds


@dataclass(frozen=True, slots=True)
class Told:
    """How far an audit is."""

    stage: Literal["generating", "confirming"]
    done: int
    """Generations that are there, or likely prompts whose training picture was looked up."""
    total: int | None
    """None under a budget."""
    likely: int
    """Prompts so far."""


Progress = Callable[[Told], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do; the defaults are the paper's."""

    generations: int = GENERATIONS
    """Of one prompt at most."""
    threshold: float = THRESHOLD
    least_clique: int = LEAST_CLIQUE
    rule: Rule = field(default_factory=Rule)
    seed: int = 0
    batch: int = BATCH
    budget_s: float | None = None
    """Of this run, everything included; None: all generations of all prompts."""
    first: int = FIRST
    """Generations of a first look under a budget."""
    each: bool = False
    """Confirm every generation and not only cliques: what a model without prompts needs."""

    def __post_init__(self) -> None:
        if self.generations < 1 or self.least_clique < 2 or self.batch < 1 or self.first < 1:
            raise ConfigError("generations, batch and first look must be at least 1, and a clique at least 2")
        if not 0 < self.threshold <= 1 or not 0 < self.rule.delta <= 1 or self.rule.alpha <= 0:
            raise ConfigError("threshold and delta are distances in (0, 1], and alpha is positive")
        if self.budget_s is not None and self.budget_s <= 0:
            raise ConfigError("a budget must be longer than nothing")


def audit(
    prompts: Sequence[Prompt],
    samplers: Sequence[Sampler],
    state: State,
    index: OpenIndex,
    embedder: Embedder,
    *,
    plan: Plan | None = None,
    model: str = "",
    verifier: Verifier | None = None,
    sampling: dict[str, Any] | None = None,
    on_progress: Progress | None = None,
) -> AuditReport:
    """Ask a model for pictures and find those that it memorised.

    prompts: the likeliest first. samplers: the model, once a device. state: where generations are kept; those that are
    there are not made again. index, embedder: of the training set. model, sampling: for the report alone.
    Raises ConfigError for a plan or an index that cannot be used, CheckError if the model fails.
    """
    plan = plan or Plan()
    if not prompts:
        raise ConfigError("there is no prompt to ask for")
    # Before hours of generating, not after.
    thumbnails_of(index)
    similarity = agreed_similarity(index, embedder, plan.rule, verifier)
    run = _Run(plan, state, index, embedder, verifier, on_progress)
    with generating(state, samplers, batch=plan.batch, seed=plan.seed) as made:
        looks = run.looks(prompts, made)
    rows = run.rows(looks)
    told = {row.key: row for row in rows}
    run.clock("all", time.monotonic() - run.started)
    return AuditReport(
        memguard=__version__,
        at=datetime.now(UTC).isoformat(timespec="seconds"),
        model=model,
        index=str(index.folder.parent.parent),
        index_version=index.version,
        references=len(index),
        settings=Settings(
            generations=plan.generations,
            threshold=plan.threshold,
            least_clique=plan.least_clique,
            criterion=plan.rule.criterion,
            delta=plan.rule.delta,
            alpha=plan.rule.alpha,
            neighbours=plan.rule.neighbours,
            similarity=similarity,
            seed=plan.seed,
            budget_s=plan.budget_s,
            each=plan.each,
            compared_px=next((c.references.size for c in run.confirmers.values()), None),
            exhaustive=all(c.exhaustive for c in run.confirmers.values()),
            sampling=sampling or {},
        ),
        summary=summarise(
            rows,
            left_out=_left_out(prompts, told, plan),
            copies=Rate.exact(run.copies, run.confirmed) if plan.each else None,
            extracted=sorted(run.extracted.values(), key=lambda e: e.ratio if e.ratio is not None else e.l2),
        ),
        prompts=tuple(rows),
        seconds={name: round(seconds, 2) for name, seconds in {**run.seconds, "generate": made.seconds}.items()},
        peak_memory_mib=round(_peak_mib(), 1),
    )


@dataclass(frozen=True, slots=True)
class _Seen:
    """The last look at a prompt."""

    generations: int
    look: Look
    medoid: int | None
    """Number of the generation."""


class _Run:
    """The state of one call of audit."""

    def __init__(
        self,
        plan: Plan,
        state: State,
        index: OpenIndex,
        embedder: Embedder,
        verifier: Verifier | None,
        on_progress: Progress | None,
    ) -> None:
        self.started = time.monotonic()
        self.plan, self.state, self.index, self.embedder, self.verifier = plan, state, index, embedder, verifier
        self.confirmers: dict[tuple[int, int], Confirmer] = {}
        self.seconds: dict[str, float] = {}
        self.extracted: dict[int, Extracted] = {}
        self.copies = self.confirmed = 0
        self._on_progress = on_progress
        self._likely: set[str] = set()
        self._seen: dict[str, _Seen] = {}
        self._each: dict[str, set[int]] = {}
        self._there = 0

    def clock(self, what: str, seconds: float) -> None:
        self.seconds[what] = self.seconds.get(what, 0.0) + seconds

    def looks(self, prompts: Sequence[Prompt], made: Generating) -> list[Look]:
        """The last look at each prompt that was looked at, in the order of the prompts."""
        wanted = self.plan.generations * len(prompts) if self.plan.budget_s is None else None
        self._there = sum(self.plan.generations - len(self.state.missing(p, self.plan.generations)) for p in prompts)

        def progress(more: int) -> None:
            self._there += more
            self._tell("generating", self._there, wanted)

        def look(some: Sequence[Prompt], generations: int, until: float) -> Iterator[Look]:
            for prompt in made.fill(some, generations, until=until, on_progress=progress):
                if self._numbers(prompt):
                    yield self._look(prompt)

        progress(0)
        if self.plan.budget_s is None:
            found = {seen.prompt.key: seen for seen in look(prompts, self.plan.generations, float("inf"))}
        else:
            reserve = _RESERVE * self.plan.budget_s + _RESERVE_A_REFERENCE * len(self.index)
            deadline = self.started + self.plan.budget_s - min(reserve, self.plan.budget_s / 2)
            found = budgeted(
                prompts, self.plan.generations, look,
                deadline=deadline, clock=time.monotonic, first=self.plan.first,
            )  # fmt: skip
        return [found[prompt.key] for prompt in prompts if prompt.key in found]

    def _look(self, prompt: Prompt) -> Look:
        """At all generations that there are, also those of an earlier run."""
        started = time.monotonic()
        numbers = self._numbers(prompt)[:MOST]
        before = self._seen.get(prompt.key)
        if before is not None and before.generations >= len(numbers):
            return before.look
        pictures, read = self.state.read(prompt, numbers)
        found = density(pictures, threshold=self.plan.threshold, least=self.plan.least_clique)
        medoid = None if found.medoid is None else read[found.medoid]
        self._seen[prompt.key] = _Seen(len(numbers), Look(prompt, found), medoid)
        if found.likely:
            self._likely.add(prompt.key)
        self.clock("look", time.monotonic() - started)
        if self.plan.each:
            self._confirm_each(prompt)
        return self._seen[prompt.key].look

    def _numbers(self, prompt: Prompt) -> list[int]:
        return [number for number in self.state.numbers(prompt) if number < self.plan.generations]

    def rows(self, looks: Sequence[Look]) -> list[PromptRow]:
        """A line of the report each; the training set is asked about those that are likely memorised."""
        rows, confirmed = [], 0
        for seen in looks:
            rows.append(self._row(seen))
            if seen.decided:
                confirmed += 1
                self._tell("confirming", confirmed, len(self._likely))
        return rows

    def _tell(self, stage: Literal["generating", "confirming"], done: int, total: int | None) -> None:
        if self._on_progress is not None:
            self._on_progress(Told(stage, done, total, len(self._likely)))

    def _row(self, seen: Look) -> PromptRow:
        prompt, found = seen.prompt, seen.density
        started = time.monotonic()
        finding = self._finding(prompt) if found.likely else None
        self.clock("confirm", time.monotonic() - started)
        return PromptRow(
            key=prompt.key,
            text=prompt.text,
            label=prompt.label,
            duplicates=prompt.duplicates,
            generations=len(self._numbers(prompt)),
            plain=found.plain,
            clique=found.largest,
            clique_at_most=found.clique.bound,
            closest=_rounded(found.closest),
            spread=_rounded(found.spread),
            likely=found.likely,
            finding=finding,
        )

    def _finding(self, prompt: Prompt) -> Finding | None:
        """Of the medoid of the clique."""
        pictures, read = self.state.read(prompt, self._numbers(prompt)[:MOST])
        number = self._seen[prompt.key].medoid
        if number not in read:
            return None
        medoid = pictures[read.index(number)]
        confirmer = self._confirmer(medoid.shape[:2])
        confirmation = confirmer.confirm(medoid, likeness=True)
        if confirmation is None or confirmation.likeness is None:
            return None
        copies = int(confirmer.copies(pictures, confirmation).sum())
        record, likeness = confirmation.record, confirmation.likeness
        similar = likeness.similar
        return Finding(
            id=record.id,
            uri=record.uri,
            sha256=record.sha256,
            caption=record.caption,
            cluster_size=record.cluster_size,
            number=number,
            l2=round(confirmation.l2, 5),
            tiled_l2=round(confirmation.tiled_l2, 5),
            ratio=_rounded(confirmation.ratio),
            neighbours=confirmation.neighbours,
            near=confirmation.near,
            plain=confirmation.plain,
            memorised=confirmation.memorised,
            similarity=round(likeness.similarity, 5),
            evidence=likeness.evidence.to_dict() if likeness.evidence else None,
            similar_uri=similar.record.uri,
            similar=round(similar.similarity, 5),
            similar_evidence=similar.evidence.to_dict() if similar.evidence else None,
            copies=Rate.exact(copies, len(pictures)),
        )

    def _confirm_each(self, prompt: Prompt) -> None:
        started = time.monotonic()
        done = self._each.setdefault(prompt.key, set())
        numbers = [number for number in self._numbers(prompt) if number not in done]
        for at in range(0, len(numbers), _CHUNK):
            pictures, read = self.state.read(prompt, numbers[at : at + _CHUNK])
            for picture, number in zip(pictures, read, strict=True):
                confirmation = self._confirmer(pictures.shape[1:3]).confirm(picture)
                self.confirmed += 1
                if confirmation is not None and confirmation.memorised:
                    self._extract(prompt, number, confirmation)
        done.update(numbers)
        self.clock("confirm", time.monotonic() - started)

    def _extract(self, prompt: Prompt, number: int, found: Confirmation) -> None:
        self.copies += 1
        before = self.extracted.get(found.record.id)
        if before is not None and before.l2 <= found.l2:
            self.extracted[found.record.id] = before.model_copy(update={"generations": before.generations + 1})
            return
        self.extracted[found.record.id] = Extracted(
            id=found.record.id,
            uri=found.record.uri,
            cluster_size=found.record.cluster_size,
            generations=1 if before is None else before.generations + 1,
            l2=round(found.l2, 5),
            ratio=_rounded(found.ratio),
            key=prompt.key,
            number=number,
        )

    def _confirmer(self, size: tuple[int, ...]) -> Confirmer:
        height, width = size
        if (height, width) not in self.confirmers:
            self.confirmers[height, width] = Confirmer(
                self.index, self.embedder, (height, width), rule=self.plan.rule, verifier=self.verifier
            )
        return self.confirmers[height, width]


def _left_out(prompts: Sequence[Prompt], told: dict[str, PromptRow], plan: Plan) -> LeftOut:
    never = [prompt for prompt in prompts if prompt.key not in told]
    fewer = [row for row in told.values() if not row.likely and row.generations < plan.generations]
    return LeftOut(
        never_looked_at=len(never),
        fewer_generations=len(fewer),
        largest_never_looked_at=max((p.duplicates for p in never if p.duplicates is not None), default=None),
        examples=tuple(prompt.name for prompt in never[:EXAMPLES]),
    )


def _rounded(value: float | None) -> float | None:
    return None if value is None or not np.isfinite(value) else round(value, 5)


def _peak_mib() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1 << 20) if sys.platform == "darwin" else peak / 1024
