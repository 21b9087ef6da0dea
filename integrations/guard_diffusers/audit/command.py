"""What `memguard audit run` does between its options and its report: open, choose, generate, write, print."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from guard.audit.members import AuditedIndex, audited, records_of
from guard.audit.page import Pair, pairs_of, write_page, write_sheet
from guard.audit.plan import Plan, Progress, Told
from guard.audit.prompts import Prompt, Repeats, from_classes, from_file, from_repeats
from guard.audit.report import AuditReport
from guard.audit.run import audit
from guard.audit.state import State, opened
from guard.cli.console import Exit, err, number_of, out
from guard.embedders.base import Embedder
from guard.embedders.registry import load_index_embedder
from guard.errors import ConfigError, MissingExtraError
from guard.indexes.moment import Moment
from guard.indexes.overlaid import open_overlaid
from guard.indexes.sealing import SealingKey
from guard.verification.verifier import PixelVerifier, Verifier
from guard_diffusers.audit.sampler import PipelineSampler, load_samplers
from guard_diffusers.audit.show import demo_lines, report_lines

__all__ = ["Choose", "Outputs", "run_audit", "run_demo"]


@dataclass(frozen=True, slots=True)
class Choose:
    """Which prompts to ask for."""

    file: Path | None
    everything: bool
    duplicates: int
    most: int | None
    classes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Outputs:
    """Files to write. Raises ConfigError at once where one could not be written."""

    json: Path | None
    html: Path | None
    sheet: Path | None

    def __post_init__(self) -> None:
        for option, path in (("--json", self.json), ("--html", self.html), ("--sheet", self.sheet)):
            if path is not None and (path.is_dir() or not path.parent.is_dir()):
                what = "is a folder" if path.is_dir() else f"there is no folder {path.parent}"
                raise ConfigError(f"{option} {path}: {what}; name a file in one that exists")
        if self.sheet is not None and self.sheet.suffix.lower() != ".png":
            raise ConfigError(f"--sheet {self.sheet}: the sheet is a PNG; name a file that ends in .png")


def run_audit(
    model: str,
    index_path: Path,
    plan: Plan,
    *,
    choose: Choose,
    call: Mapping[str, Any],
    devices: Sequence[str],
    dtype: str,
    embedder: str | None,
    key: SealingKey | None,
    state: Path,
    restart: bool,
    outputs: Outputs,
) -> Exit:
    """Audit a model. Raises what guard.audit raises."""
    started = time.monotonic()
    with open_overlaid(index_path, key=key) as overlaid:
        index = audited(overlaid, buried=plan.buried)  # hours may pass, and its overlay change
        _say_left_out(index)
        loaded = _embedder(index, embedder)
        samplers = load_samplers(model, devices, dtype=dtype, call=call)
        prompts = _prompts(index, samplers[0], choose, plan)
        plan = replace(plan, each=plan.each or not any(prompt.text for prompt in prompts))
        settings = {"model": model, "seed": plan.seed, "dtype": dtype, "call": dict(call)}
        with opened(state, settings, restart=restart) as kept:
            with _progress(plan.budget_s) as on_progress:
                report = audit(
                    prompts,
                    samplers,
                    kept,
                    index,
                    loaded,
                    plan=_shortened(plan, started),
                    model=model,
                    verifier=_verifier(),
                    sampling={"dtype": dtype, **call},
                    on_progress=on_progress,
                )
            _write(report, kept, index, outputs)
    for line in report_lines(report):
        out.print(line, soft_wrap=True)
    s = report.summary
    return Exit.FOUND if s.memorised.hits or s.extracted or s.protected else Exit.FINE


def run_demo(folder: Path, plan: Plan, *, most: int | None, restart: bool, outputs: Outputs) -> Exit:
    """Audit the demo's two models and hold the result against the truth."""
    from guard_diffusers.audit.demo import audit_demo

    with _progress(plan.budget_s) as on_progress:
        document, pairs = audit_demo(folder, plan, most=most, restart=restart, on_progress=on_progress)
    if outputs.json is not None:
        document.write(outputs.json)
    lines = demo_lines(document)
    if outputs.html is not None:
        audits = [(document.memorising, pairs["memorising"]), (document.control, pairs["control"])]
        write_page(
            outputs.html, audits, title="Audit of the demo's models", comparison=document.comparison, lines=lines
        )
    _sheet(outputs.sheet, [*pairs["memorising"], *pairs["control"]])
    for line in lines:
        out.print(line, soft_wrap=True)
    return Exit.FINE if document.truth.agrees else Exit.FOUND


def _say_left_out(index: AuditedIndex) -> None:
    if isinstance(index, Moment) and index.buried:
        left_out = number_of(len(index.buried), "reference")
        err.print(f"left out, as the overlay says: {left_out}; --buried counts them", style="yellow", soft_wrap=True)


def _embedder(index: AuditedIndex, name: str | None) -> Embedder:
    embedder = load_index_embedder(index.manifest.embedder.name, name)
    index.manifest.require(embedder.spec, index=str(index.folder.parent.parent))
    return embedder


def _verifier() -> Verifier | None:
    try:
        return PixelVerifier()
    except MissingExtraError as exc:
        err.print(f"no evidence from pixels: {exc}", style="yellow", soft_wrap=True)
        return None


def _prompts(index: AuditedIndex, sampler: Any, choose: Choose, plan: Plan) -> list[Prompt]:
    if isinstance(sampler, PipelineSampler):
        kind = type(sampler.pipe).__name__
        if choose.classes and not sampler.takes_class:
            raise ConfigError(f"{kind} draws no classes; leave --classes out")
        if choose.file is not None and not sampler.takes_prompt:
            raise ConfigError(f"{kind} takes no prompts; leave --prompts out")
    if choose.classes or (isinstance(sampler, PipelineSampler) and not sampler.takes_prompt):
        return from_classes(choose.classes)
    repeats = Repeats(records_of(index), plan.collections)
    if choose.file is not None:
        return from_file(choose.file, repeats, most=choose.most)
    return from_repeats(repeats, least=1 if choose.everything else choose.duplicates, most=choose.most, seed=plan.seed)


def _shortened(plan: Plan, started: float) -> Plan:
    """The plan with what loading took off its budget."""
    if plan.budget_s is None:
        return plan
    return replace(plan, budget_s=max(1.0, plan.budget_s - (time.monotonic() - started)))


def _write(report: AuditReport, state: State, index: AuditedIndex, outputs: Outputs) -> None:
    if outputs.json is not None:
        report.write(outputs.json)
    if outputs.html is not None or outputs.sheet is not None:
        pairs = pairs_of(report, state, index)
        if outputs.html is not None:
            write_page(outputs.html, [(report, pairs)], title=f"Audit of {report.model}")
        _sheet(outputs.sheet, pairs)


def _sheet(path: Path | None, pairs: Sequence[Pair]) -> None:
    """An empty picture would look like a fault; one of an earlier run like a finding."""
    if path is None:
        return
    if pairs:
        write_sheet(path, pairs)
        return
    path.unlink(missing_ok=True)
    err.print("no sheet: nothing is likely memorised, and nothing copied", style="yellow", soft_wrap=True)


@contextmanager
def _progress(budget_s: float | None) -> Iterator[Progress]:
    """A bar of generations, or of the budget's time, with what was found so far."""
    from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    columns = [TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[made]}")]
    columns += [TextColumn("left:"), TimeRemainingColumn()] if budget_s is None else [TextColumn("{task.fields[left]}")]
    with Bars(*columns, console=err, transient=not err.is_terminal) as bars:
        task = bars.add_task("auditing", total=budget_s, made="", left="")
        started = time.monotonic()

        def on_progress(now: Told) -> None:
            if now.stage != "generating":
                bars.update(task, description=now.stage, total=now.total, completed=now.done, made="", left="")
                return
            of = "" if now.total is None else f" of {now.total}"
            made = f"{now.done}{of} generations, {now.likely} likely memorised"
            if budget_s is None:
                bars.update(task, description="generating", total=now.total, completed=now.done, made=made)
                return
            spent = time.monotonic() - started
            left = f"left: {max(0.0, budget_s - spent):.0f} s of the budget"
            bars.update(task, description="generating", total=budget_s, completed=spent, made=made, left=left)

        yield on_progress
