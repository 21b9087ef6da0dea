"""An audit from prompts to a report: generate, look for crowds, ask the training set. Knows the order of the steps.

Nothing of the training set is looked at before a prompt was called likely memorised or not.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from guard._version import __version__
from guard.audit.confirm import agreed_similarity
from guard.audit.density import MOST, density
from guard.audit.findings import Findings, rounded
from guard.audit.generate import Generating, Sampler, generating
from guard.audit.members import AuditedIndex, Members
from guard.audit.plan import Plan, Progress, Told
from guard.audit.prompts import NO_TRAINING, Prompt
from guard.audit.references import thumbnails_of
from guard.audit.report import AuditReport, Finding, LeftOut, PromptRow, Rate, Settings, summarise
from guard.audit.schedule import Look, budgeted
from guard.audit.state import State
from guard.errors import ConfigError

if TYPE_CHECKING:
    from guard.embedders.base import Embedder
    from guard.indexes.overlaid import OverlaidIndex
    from guard.verification.verifier import Verifier

__all__ = ["audit", "peak_mib"]

EXAMPLES = 10  # prompts left out that the report names
_CHUNK = 64  # generations that are confirmed before the next are read
_RESERVE = 0.03  # of a budget, for confirming; and more for the references, which are read once
_RESERVE_A_REFERENCE = 0.002  # seconds


def audit(
    prompts: Sequence[Prompt],
    samplers: Sequence[Sampler],
    state: State,
    index: AuditedIndex | OverlaidIndex,
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
    there are not made again. index, embedder: of the training set; what its overlay protects now is looked for too.
    model, sampling: for the report alone.
    Raises ConfigError for a plan or an index that cannot be used, CheckError if the model fails.
    """
    plan = plan or Plan()
    if not prompts:
        raise ConfigError("there is no prompt to ask for")
    # Before hours of generating, not after.
    members = Members(index, plan.collections, buried=plan.buried)
    now = members.index
    thumbnails_of(now)
    if not members.training:
        raise ConfigError(NO_TRAINING)
    similarity = agreed_similarity(now, embedder, plan.rule, verifier)
    run = _Run(plan, state, members, embedder, verifier, on_progress)
    with generating(state, samplers, batch=plan.batch, seed=plan.seed) as made:
        looks = run.looks(prompts, made)
    rows, found = run.rows(looks), run.findings
    told = {row.key: row for row in rows}
    run.clock("all", time.monotonic() - run.started)
    return AuditReport(
        memguard=__version__,
        at=datetime.now(UTC).isoformat(timespec="seconds"),
        model=model,
        index=str(now.folder.parent.parent),
        index_version=now.version,
        references=len(members.training),
        protected_references=len(members.guarded),
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
            compared_px=found.compared_px,
            exhaustive=found.exhaustive,
            collections=plan.collections,
            buried=plan.buried,
            sampling=sampling or {},
        ),
        summary=summarise(
            rows,
            left_out=_left_out(prompts, told, plan),
            copies=Rate.exact(found.copies, found.confirmed) if plan.each else None,
            extracted=found.extracted,
            repeated=found.repeated,
        ),
        prompts=tuple(rows),
        seconds={name: round(seconds, 2) for name, seconds in {**run.seconds, "generate": made.seconds}.items()},
        peak_memory_mib=round(peak_mib(), 1),
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
        members: Members,
        embedder: Embedder,
        verifier: Verifier | None,
        on_progress: Progress | None,
    ) -> None:
        self.started = time.monotonic()
        self.plan, self.state, self.references = plan, state, len(members.training)
        self.findings = Findings(members, embedder, plan.rule, verifier)
        self.seconds: dict[str, float] = {}
        self._on_progress = on_progress
        self._likely: set[str] = set()
        self._seen: dict[str, _Seen] = {}
        self._tallied: dict[str, set[int]] = {}
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
            reserve = _RESERVE * self.plan.budget_s + _RESERVE_A_REFERENCE * self.references
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
            self._tally(prompt)
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
        finding, protected = self._found(prompt) if found.likely else (None, None)
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
            closest=rounded(found.closest),
            spread=rounded(found.spread),
            likely=found.likely,
            finding=finding,
            protected=protected,
        )

    def _found(self, prompt: Prompt) -> tuple[Finding | None, Finding | None]:
        """Among the training pictures, and of what is protected besides."""
        medoid = self._seen[prompt.key].medoid
        if medoid is None:
            return None, None
        pictures, numbers = self.state.read(prompt, self._numbers(prompt)[:MOST])
        return (
            self.findings.finding(pictures, numbers, medoid),
            self.findings.beside(pictures, numbers, medoid),
        )

    def _tally(self, prompt: Prompt) -> None:
        started = time.monotonic()
        done = self._tallied.setdefault(prompt.key, set())
        new = [number for number in self._numbers(prompt) if number not in done]
        for at in range(0, len(new), _CHUNK):
            self.findings.tally(prompt, *self.state.read(prompt, new[at : at + _CHUNK]))
        done.update(new)
        self.clock("confirm", time.monotonic() - started)


def _left_out(prompts: Sequence[Prompt], told: dict[str, PromptRow], plan: Plan) -> LeftOut:
    never = [prompt for prompt in prompts if prompt.key not in told]
    fewer = [row for row in told.values() if not row.likely and row.generations < plan.generations]
    return LeftOut(
        never_looked_at=len(never),
        fewer_generations=len(fewer),
        largest_never_looked_at=max((p.duplicates for p in never if p.duplicates is not None), default=None),
        examples=tuple(prompt.name for prompt in never[:EXAMPLES]),
    )


def peak_mib() -> float:
    """Of this process so far."""
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1 << 20) if sys.platform == "darwin" else peak / 1024
