"""`memguard eval`: how well embedders tell copies from other pictures, on the user's own pictures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from guard.cli.console import Exit, err, errors_to_exit, out, percent
from guard.cli.eval_calibration import calibration
from guard.cli.eval_detection import detection
from guard.cli.eval_kin import kin
from guard.cli.eval_options import (
    Cache,
    Embedders,
    Groups,
    Images,
    JsonFile,
    Limit,
    OneSource,
    Same,
    Seed,
    Splits,
    groups_of,
    require_folder,
    stopped,
)
from guard.cli.eval_paired import print_paired
from guard.cli.eval_small import small
from guard.cli.progress import staged

if TYPE_CHECKING:
    from guard.evaluation.derived import Derived

__all__ = ["eval_app"]

NOTE = """Percent, with 95 % intervals over sources. Thresholds are those of all groups together.
Each group's own, every single edit and FPR 0.01 % are in the file."""

eval_app = typer.Typer(no_args_is_help=True, help="Measure embedders on your own pictures.")


@eval_app.command()
def descriptors(
    json_file: JsonFile,
    images: Images = None,
    group: Groups = None,
    embedder: Embedders = None,
    splits: Splits = 5,
    limit: Limit = None,
    seed: Seed = 0,
    real_pairs: Annotated[
        Path | None, typer.Option(help="Table of real copies: query, reference and label, with tabs between.")
    ] = None,
    same: Same = None,
    one_source: OneSource = None,
    no_baselines: Annotated[bool, typer.Option("--no-baselines", help="Only the named embedders.")] = False,
    multi_view: Annotated[
        bool,
        typer.Option("--multi-view", help="Also the first embedder with turns and crops; takes about 20 times longer."),
    ] = False,
    whitened: Annotated[
        bool,
        typer.Option(
            "--whitened", help="Also each embedder whitened on each split's references, without and with rivals."
        ),
    ] = False,
    background: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="DIR", help="Pictures of other sources: also each embedder with score normalisation. Repeatable."
        ),
    ] = None,
    shrinkage: Annotated[
        float | None, typer.Option(min=0, max=1, help="Of the whitening (default: Ledoit and Wolf's estimate).")
    ] = None,
    power: Annotated[
        float, typer.Option(min=0.01, max=1, help="Of the whitening: how far to whiten; 1 is fully.")
    ] = 0.5,
    beta: Annotated[float, typer.Option(min=0, max=10, help="Of the normalisation: share that is subtracted.")] = 1.0,
    nearest: Annotated[int, typer.Option(min=1, help="Of the normalisation: background pictures of the mean.")] = 3,
    cache: Cache = None,
) -> None:
    """Edit pictures in many ways, and measure which embedder finds the originals without false alarms.

    [bold]Examples[/bold]

    memguard eval descriptors --images photos/ --json photos.json

    memguard eval descriptors --images photos/ --group xrays=scans/ --embedder sscd_disc_mixup --json compared.json
    """
    with errors_to_exit(stopped=stopped(cache)):
        groups = groups_of(images, group)
        require_folder(json_file)
        from guard.embedders.registry import DEFAULT
        from guard.evaluation.entrants import OF_INDEX, REGIONS, WINDOWS
        from guard.evaluation.markdown import names_of
        from guard.evaluation.pdq_beside import pdq_beside
        from guard.evaluation.run import Settings, evaluate_descriptors, takes_part
        from guard.evaluation.transformed import transformed

        settings = Settings(
            splits=splits,
            seed=seed,
            limit=limit,
            real_pairs=real_pairs,
            same=same or [],
            one_source=one_source or [],
            background=background or [],
            cache=cache,
        )
        entrants = takes_part(embedder or [], with_baselines=not no_baselines, multi_view=multi_view, regions=True)
        named = (DEFAULT, *(embedder or []))
        bases = [f"{name}{way}" for name in named for way in ("", "+turns")]
        derived: list[Derived] = [
            *pdq_beside(bases, entrants),
            *transformed(
                [f"{name}{way}" for way in ("", WINDOWS, WINDOWS + REGIONS, OF_INDEX) for name in named],
                entrants,
                whitened=whitened,
                rivals=whitened,
                normalised=bool(background),
                shrinkage=shrinkage,
                beta=beta,
                nearest=nearest,
                power=power,
            ),
        ]
        with staged() as progress:
            document = evaluate_descriptors(groups, entrants, settings, derived=derived, progress=progress)
        json_file.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
        for line in document["skipped"]:
            err.print(f"skipped: {line}", style="yellow", markup=False, soft_wrap=True)
        _print(document, names_of(document))
        err.print(f"all figures in {json_file}", style="dim", soft_wrap=True)
        print_paired(document, [name for name in document.get("paired", {}) if not name.startswith("default")])
        raise typer.Exit(Exit.INPUT if document["skipped"] else Exit.FINE)


eval_app.command()(detection)
eval_app.command()(kin)
eval_app.command()(calibration)
eval_app.command()(small)


def _print(document: dict[str, Any], entrants: list[str]) -> None:
    """A table a group: each entrant's families, then the mean of the families."""
    for group, counts in document["protocol"]["groups"].items():
        table = Table("", "recall@1", "at FPR 1 %", "at FPR 0.1 %", "µAP", box=None, pad_edge=False)
        for name in entrants:
            figures = document["results"][name][group]
            table.add_row(Text(name, "cyan"))
            for key in [key for key in figures if key.startswith("family:") or key == "all_edits"]:
                one = figures[key]
                at = one["recall_at_fpr"]
                cells = (percent(cell) for cell in (one["recall_at_1"], at["0.01"], at["0.001"], one["micro_ap"]))
                mean = key == "all_edits"
                label = " all edits" if mean else f" {key.removeprefix('family:')}"
                table.add_row(label, *cells, style="bold" if mean else "")
        out.print(f"{group}: {counts['pictures']} pictures of {counts['sources']} sources,", style="bold", end=" ")
        out.print(f"{counts['queries_an_edit']} queries an edit, {counts['negative_queries']} negative queries",
                  soft_wrap=True)  # fmt: skip
        out.print(table)
        out.print()
    for name in [name for name in entrants if name in document.get("real_pairs", {})]:
        found = document["real_pairs"][name]
        at = ", ".join(f"{percent(found['recall_at_fpr'][fpr])} at FPR {fpr}" for fpr in ("0.01", "0.001"))
        text = f"real pairs ({found['pairs']} of {found['sources']} pictures), {name}: "
        out.print(text + f"{percent(found['recall_at_1'])} found first, {at}", soft_wrap=True, markup=False)
    out.print(NOTE, style="dim", soft_wrap=True)
