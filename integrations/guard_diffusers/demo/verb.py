"""`memguard demo`: a diffusion model that really memorised, guarded, with every decision checked."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from guard.cli.console import STYLES, Exit, err, errors_to_exit, out, print_json

if TYPE_CHECKING:
    from guard_diffusers.demo.run import Outcome

__all__ = ["demo"]

BATCH = 17  # prompts a call of the pipeline
CONTROLS = 17
METRICS = "metrics.prom"


def demo(
    folder: Annotated[Path, typer.Option("--out", help="Where to put training set, index and contact sheet.")] = Path(
        "memguard-demo"
    ),
    rounds: Annotated[int, typer.Option(min=1, max=50, help="Images a prompt.")] = 2,
    seed: Annotated[int, typer.Option(help="Of the generations.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")] = False,
) -> None:
    """Guard a diffusion pipeline that memorised some of its training pictures.

    Draws the training set, indexes it, wraps the pipeline that ships with this package, generates
    for planted and for control prompts, and holds every decision against the pixels. Exit code 1
    if a decision was wrong.

    [bold]Examples[/bold]

    memguard demo

    memguard demo --out /tmp/demo --rounds 4 --seed 7
    """
    with errors_to_exit():
        raise typer.Exit(_demo(folder, rounds, seed, as_json))


def _demo(folder: Path, rounds: int, seed: int, as_json: bool) -> Exit:
    from guard import Guard
    from guard.embedders.registry import load_embedder
    from guard.indexes.builder import build_index
    from guard.sources import open_source
    from guard_diffusers import protect
    from guard_diffusers.demo.pipeline import load_pipeline
    from guard_diffusers.demo.run import prompts, run_pipeline, write_training_set

    started = time.perf_counter()
    with _progress(as_json) as progress:
        task = progress.add_task("drawing the training set", total=None)
        source = write_training_set(
            folder / "training", lambda done, total: progress.update(task, completed=done, total=total)
        )
        progress.update(task, total=1, completed=1, description="training set drawn")
        task = progress.add_task("loading the pipeline", total=1)
        pipe = load_pipeline("memorising")
        progress.update(task, completed=1, description="pipeline loaded")
        index = folder / "training.index"
        task = progress.add_task("building the index", total=1)
        build_index(open_source(source), index, load_embedder(), restart=True)
        progress.update(task, completed=1, description="index built")
        guard = Guard.open(index)
        pipe = protect(pipe, guard, name="demo")
        wanted = prompts(CONTROLS) * rounds
        task = progress.add_task("generating and checking", total=len(wanted))
        outcomes: list[Outcome] = []
        for number, first in enumerate(range(0, len(wanted), BATCH)):
            for outcome in run_pipeline(pipe, wanted[first : first + BATCH], seed=seed + number):
                outcomes.append(outcome)
                progress.advance(task)
    sheet = _contact_sheet(folder, outcomes)
    (folder / METRICS).write_text(guard.metrics.text(), encoding="utf-8")
    wrong = sum(outcome.judgement.wrong for outcome in outcomes)
    seconds = time.perf_counter() - started
    if as_json:
        print_json(_document(outcomes, guard.metrics.text(), sheet, seconds))
    else:
        _print(outcomes, guard.metrics.text(), sheet, seconds)
    return Exit.FOUND if wrong else Exit.FINE


def _progress(quiet: bool) -> Progress:
    return Progress(
        TextColumn("{task.description:<26}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=err,
        disable=quiet,
    )


def _contact_sheet(folder: Path, outcomes: list[Outcome]) -> Path:
    from PIL import Image

    from guard.contact_sheet import Entry, write_html, write_png

    entries = []
    for o in sorted(outcomes, key=lambda o: -(o.verdict.nearest.similarity if o.verdict.nearest else 0)):
        reference = None
        if o.verdict.nearest is not None:
            with Image.open(folder / "training" / o.verdict.nearest.record.uri) as opened:
                reference = opened.convert("RGB")
        distance = "control prompt" if o.rms is None else f"RMS distance to the planted picture {o.rms:.3f}"
        entries.append(Entry(o.prompt.text, o.generated, reference, o.verdict, f"{o.judgement}; {distance}"))
    write_png(entries[:24], folder / "contact-sheet.png")
    return write_html(
        entries, folder / "contact-sheet.html", title="memguard demo: generated beside nearest training image"
    )


def _print(outcomes: list[Outcome], metrics: str, sheet: Path, seconds: float) -> None:
    from guard_diffusers.demo.run import Judgement

    table = Table(box=None, pad_edge=False)
    table.add_column("prompt", no_wrap=True, min_width=16)
    table.add_column("k", justify="right")
    table.add_column("decision")
    table.add_column("nearest training image", no_wrap=True, min_width=12)
    for figure in ("similarity", "RMS", "made, s", "check, ms"):
        table.add_column(figure, justify="right")
    table.add_column("truth", no_wrap=True)
    for o in outcomes:
        nearest, decision = o.verdict.nearest, o.verdict.decision
        table.add_row(
            Text(o.prompt.text),
            str(o.prompt.planted.copies) if o.prompt.planted else "",
            Text(decision.value, STYLES[decision]) if decision else Text(o.verdict.status.value, "red"),
            nearest.record.uri.removesuffix(".png") if nearest else "",
            f"{nearest.similarity:.3f}" if nearest else "",
            "" if o.rms is None else f"{o.rms:.3f}",
            f"{o.generate_s:.2f}",
            f"{1000 * o.check_s:.1f}",
            Text(o.judgement.value, "red bold" if o.judgement.wrong else ""),
        )
    out.print(table)
    counts = Counter(o.judgement for o in outcomes)
    wrong = sum(n for judgement, n in counts.items() if judgement.wrong)
    right = len(outcomes) - wrong - counts[Judgement.BETWEEN]
    each = ", ".join(f"{n} {judgement.value}" for judgement, n in sorted(counts.items()))
    out.print(f"\ndecisions: {right} right, {wrong} wrong ({each})", style="bold")
    out.print("\nmetrics, those that are not zero:", style="bold")
    out.print("\n".join(_nonzero(metrics)), markup=False, soft_wrap=True)
    out.print(f"\ncontact sheet: {sheet} ({sheet.with_suffix('.png').name} beside it)", soft_wrap=True)
    out.print(f"all metrics: {sheet.with_name(METRICS)}; took {seconds:.0f} s", soft_wrap=True)


def _nonzero(metrics: str) -> list[str]:
    """Prometheus text of the samples that moved; zeros and the single buckets of histograms would be pages."""
    lines = [line for line in metrics.splitlines() if not line.startswith("#")]
    return [line for line in lines if "_bucket{" not in line and "_created" not in line and not line.endswith(" 0.0")]


def _document(outcomes: list[Outcome], metrics: str, sheet: Path, seconds: float) -> dict[str, Any]:
    counts = Counter(o.judgement.value for o in outcomes)
    return {
        "seconds": round(seconds, 1),
        "counts": dict(sorted(counts.items())),
        "wrong": sum(o.judgement.wrong for o in outcomes),
        "contact_sheet": str(sheet),
        "outcomes": [
            {
                "prompt": o.prompt.text,
                "planted": o.prompt.planted.name if o.prompt.planted else None,
                "k": o.prompt.planted.copies if o.prompt.planted else None,
                "rms": o.rms,
                "truth": o.judgement.value,
                "generate_s": round(o.generate_s, 4),
                "check_s": round(o.check_s, 5),
                **o.verdict.to_dict(),
            }
            for o in outcomes
        ],
        "metrics": metrics,
    }
