"""The audit of the demo's memorising model and its control, held against what was planted. Prints nothing.

The training set is written as the memorising model saw it, each planted picture as often as its k says; the audit
chooses prompts, generates and confirms as for any other model. The truth is established by pixels alone and by
generations of its own (guard_diffusers.demo.truth).
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from guard._version import __version__
from guard.audit.compare import Comparison, compare
from guard.audit.page import Pair, pairs_of
from guard.audit.plan import Plan, Progress, Told
from guard.audit.prompts import Prompt, Repeats, from_repeats
from guard.audit.report import AuditReport, Rate, write_document
from guard.audit.run import audit, peak_mib
from guard.audit.state import opened
from guard.embedders.registry import load_embedder
from guard.indexes.builder import build_index
from guard.indexes.store import open_index
from guard.sources import open_source
from guard.verification.verifier import PixelVerifier
from guard_diffusers.audit.sampler import PipelineSampler
from guard_diffusers.demo.pipeline import GUIDANCE, STEPS, load_pipeline
from guard_diffusers.demo.run import write_training_set
from guard_diffusers.demo.trainingset import Item, item_name, training_set
from guard_diffusers.demo.truth import COUNTS_AS_MEMORISED, copy_bound, is_copy, planted_items

if TYPE_CHECKING:
    from guard.audit.generate import Sampler

__all__ = ["GENERATIONS", "PROMPTS", "DemoReport", "Truth", "audit_demo"]

GENERATIONS = 64  # of one prompt at most
PROMPTS = 64
FRESH = 100  # generations of a picture that the truth looks at, fewer where the answer is certain before
FRESH_SEED = 1_000_003  # of the truth's generations, beside the audit's own seed
FRESH_BATCH = 20
SHARES = {"memorising": 0.45, "control": 0.5}
"""Of the budget that is left when each model's turn comes; what then remains is the truth's."""

Model = Literal["memorising", "control"]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TruthRow(_Model):
    """One picture, judged by fresh generations of one prompt."""

    picture: str
    k: int
    prompt: str
    copies: int
    generations: int
    """Fewer than FRESH where more could not change the answer."""
    memorised: bool | None
    """At least 20 of 100 fresh generations are copies; None if the time did not suffice."""
    found: bool
    """By the audit of the memorising model."""


class KRow(_Model):
    k: int
    pictures: int
    memorised: int
    """That count as memorised by the truth."""
    found: int
    """Of those, by the audit."""


class Truth(_Model):
    """What the audit found against what was planted."""

    precision: float | None
    """Of the pictures found, the share that count as memorised."""
    recall: float | None
    """Of the planted pictures that count as memorised, the share that was found."""
    control_found: int
    """Pictures found in the control, which memorised none."""
    precision_rate: Rate
    recall_rate: Rate
    by_k: tuple[KRow, ...]
    pictures: tuple[TruthRow, ...]
    not_judged: int
    """Found pictures, or planted ones, that the time did not suffice to judge."""

    @property
    def agrees(self) -> bool:
        """True if audit and truth say the same of every picture that was judged."""
        return self.precision in (1.0, None) and self.recall == 1.0 and self.control_found == 0


class DemoReport(_Model):
    """The document of `memguard audit --demo`."""

    format: Literal[1] = 1
    memguard: str
    at: str
    budget_s: float | None
    truth: Truth
    comparison: Comparison
    """Memorising model against control."""
    memorising: AuditReport
    control: AuditReport
    seconds: dict[str, float]
    """prepare, memorising, control, truth, all."""
    peak_memory_mib: float

    def write(self, path: Path) -> None:
        """Raises ConfigError if it cannot be written."""
        write_document(self, path)


def audit_demo(
    folder: Path,
    plan: Plan,
    *,
    most: int | None = None,
    weights: Path | None = None,
    restart: bool = False,
    on_progress: Progress | None = None,
) -> tuple[DemoReport, Mapping[str, Sequence[Pair]]]:
    """Audit both models; returns the document and the pairs of each.

    folder: gets training set, index and generations, and is gone on from. plan.budget_s: of everything. most: prompts.
    weights: another folder of weights than the shipped one.
    """
    started = time.monotonic()
    deadline = started + (plan.budget_s if plan.budget_s is not None else float("inf"))
    seconds: dict[str, float] = {}
    index_path = folder / "training.index"
    source = write_training_set(folder / "training", copies=True)
    embedder, verifier = load_embedder(), PixelVerifier()
    build_index(open_source(source), index_path, embedder)
    reports: dict[str, AuditReport] = {}
    pairs: dict[str, Sequence[Pair]] = {}
    samplers: dict[str, Sampler] = {}
    with open_index(index_path, embedder=embedder) as index:
        prompts = from_repeats(Repeats(index.reader.all()), most=most or PROMPTS, seed=plan.seed)
        seconds["prepare"] = time.monotonic() - started
        for model, share in SHARES.items():
            begun = time.monotonic()
            call = {"num_inference_steps": STEPS, "guidance_scale": GUIDANCE}
            samplers[model] = PipelineSampler(load_pipeline(model, folder=weights), call)  # type: ignore[arg-type]
            budget = None if plan.budget_s is None else max(1.0, share * (deadline - begun))
            settings = {"model": f"{model} {weights or 'shipped'}", "seed": plan.seed}
            with opened(folder / model, settings, restart=restart) as state:
                reports[model] = audit(
                    prompts, [samplers[model]], state, index, embedder,
                    plan=replace(plan, budget_s=budget), model=f"demo/{model}", verifier=verifier, sampling=call,
                    on_progress=on_progress,
                )  # fmt: skip
                pairs[model] = pairs_of(reports[model], state, index)
            seconds[model] = time.monotonic() - begun
    begun = time.monotonic()
    truth = _truth(reports["memorising"], reports["control"], samplers["memorising"], deadline, on_progress)
    seconds["truth"] = time.monotonic() - begun
    seconds["all"] = time.monotonic() - started
    document = DemoReport(
        memguard=__version__,
        at=datetime.now(UTC).isoformat(timespec="seconds"),
        budget_s=plan.budget_s,
        truth=truth,
        comparison=compare(reports["memorising"], reports["control"]),
        memorising=reports["memorising"],
        control=reports["control"],
        seconds={name: round(value, 1) for name, value in seconds.items()},
        peak_memory_mib=round(peak_mib(), 1),
    )
    return document, pairs


def _truth(
    memorising: AuditReport, control: AuditReport, sampler: Sampler, deadline: float, on_progress: Progress | None
) -> Truth:
    """Judge what was planted, and whatever else was found by the prompt that found it."""
    items = {item.name: item for item in training_set()}
    found = {item_name(row.finding.uri): row.text for row in memorising.prompts if row.finding and row.memorised}
    wanted = [(item, item.caption) for item in planted_items()]
    planted = {item.name for item, _ in wanted}
    wanted += [(items[name], text) for name, text in found.items() if name not in planted]
    rows: list[TruthRow] = []
    for item, text in wanted:
        if on_progress is not None:
            on_progress(Told("judging", len(rows), len(wanted), len(found)))
        rows.append(_judged(item, text, sampler, deadline, found=item.name in found))
    judged = [row for row in rows if row.memorised is not None]
    hits = [row for row in judged if row.found]
    right = [row for row in hits if row.memorised]
    there = [row for row in judged if row.memorised and row.picture in planted]
    recalled = sum(row.found for row in there)
    precision, recall = Rate.exact(len(right), len(hits)), Rate.exact(recalled, len(there))
    ks = sorted({row.k for row in judged}, reverse=True)
    return Truth(
        precision=precision.value,
        recall=recall.value,
        control_found=len({row.finding.id for row in control.prompts if row.finding and row.memorised}),
        precision_rate=precision,
        recall_rate=recall,
        by_k=tuple(_of_k(k, [row for row in judged if row.k == k and row.picture in planted]) for k in ks),
        pictures=tuple(rows),
        not_judged=len(rows) - len(judged),
    )


def _of_k(k: int, rows: Sequence[TruthRow]) -> KRow:
    memorised = [row for row in rows if row.memorised]
    return KRow(k=k, pictures=len(rows), memorised=len(memorised), found=sum(row.found for row in memorised))


def _judged(item: Item, text: str, sampler: Sampler, deadline: float, *, found: bool) -> TruthRow:
    """Generate until at least COUNTS_AS_MEMORISED of FRESH are copies, or cannot be any more."""
    prompt, bound = Prompt(text), copy_bound(item)
    least = round(COUNTS_AS_MEMORISED * FRESH)
    copies = made = 0
    memorised: bool | None = None
    while memorised is None and time.monotonic() < deadline:
        numbers = range(made, min(made + FRESH_BATCH, FRESH))
        pictures = np.stack(sampler(prompt, [prompt.seed(FRESH_SEED, number) for number in numbers]))
        copies += int(is_copy(pictures, item, bound).sum())
        made += len(numbers)
        if copies >= least:
            memorised = True
        elif copies + FRESH - made < least:
            memorised = False
    return TruthRow(
        picture=item.name,
        k=item.copies,
        prompt=text,
        copies=copies,
        generations=made,
        memorised=memorised,
        found=found,
    )
