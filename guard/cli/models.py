"""`memguard models`: what is on the model list, and fetching it. Knows the screen; the list is in guard.embedders."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.table import Table
from rich.text import Text

from guard.cli.console import err, errors_to_exit, goes_on, out, percent, print_json, print_rows

__all__ = ["models_app"]

models_app = typer.Typer(invoke_without_command=True)

CACHE_HELP = "Folder for fetched models (default: $MEMGUARD_CACHE, else the user's cache folder)."
Cache = Annotated[Path | None, typer.Option("--cache", metavar="DIR", help=CACHE_HELP)]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")]


@models_app.callback()
def list_models(context: typer.Context, cache: Cache = None, as_json: AsJson = False) -> None:
    """List the networks that make descriptors, show one, or fetch its weights.

    [bold]Examples[/bold]

    memguard models

    memguard models fetch sscd_disc_mixup
    """
    if context.invoked_subcommand is not None:
        return
    from guard.embedders.models import MODELS

    rows = [_row(name, cache) for name in MODELS]
    if as_json:
        print_json(rows)
        return
    table = Table(box=None, pad_edge=False)
    table.add_column("name", no_wrap=True)
    for column in ("model", "licence", "dim", "px", "here"):
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(
            row["name"],
            Text(row["title"]),
            Text(row["licence"]),
            str(row["dim"]),
            str(row["input_size"]),
            "in the package"
            if not row["files"]
            else "yes"
            if row["fetched"]
            else "to be brought"
            if row["bring"]
            else "no",
        )
    out.print(table)
    out.print(
        f"\n{rows[0]['name']} is the default; `memguard models show {rows[0]['name']}` is its model card: training "
        "data, results by group, weak spots. `pdq` needs no network.",
        soft_wrap=True,
    )


@models_app.command("show")
def show(
    name: Annotated[str, typer.Argument(help="A name from the list.")], cache: Cache = None, as_json: AsJson = False
) -> None:
    """Show one model: licence, source, preprocessing, thresholds, files and checksums.

    Of the shipped one also how it was trained, how well it finds copies, and what it is bad at.

    [bold]Examples[/bold]

    memguard models show procedural

    memguard models show sscd_disc_mixup
    """
    with errors_to_exit():
        row = _row(name, cache)
    if as_json:
        print_json(row)
        return
    table = Table(box=None, pad_edge=False, show_header=False)
    for key, value in row.items():
        if key == "files":
            for file in value:
                table.add_row(
                    "file",
                    Text(f"{file['name']}  {file['url']}\nsha256 {file['sha256'] or 'not known'} ({file['checksum']})"),
                )
        elif key == "thresholds" and value:
            for said, advice in _advice(value):
                table.add_row(said, Text(f"flag {advice['flag']}, block {advice['block']}: {advice['source']}"))
        elif key == "card":
            for label, text in _card_lines(value):
                table.add_row(label, Text(text))
        elif value not in (None, ""):
            table.add_row(key, Text(str(value)))
    print_rows(table)


@models_app.command("fetch")
def fetch(
    name: Annotated[str, typer.Argument(help="A name from the list.")],
    cache: Cache = None,
    source: Annotated[
        Path | None, typer.Option("--from", metavar="FILE", help="Weights that you brought yourself.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Download a model once: shows progress, goes on after an interruption, checks the checksum.

    [bold]Examples[/bold]

    memguard models fetch sscd_disc_mixup

    memguard models fetch isc_ft_v107 --from isc_ft_v107.onnx
    """
    from guard.embedders.models import fetch_model, model_card

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with errors_to_exit(stopped=goes_on()):
        card = model_card(name)
        err.print(f"{card.title}; licence: {card.licence}", soft_wrap=True)
        with Progress(*columns, console=err, transient=True) as bar:
            task = bar.add_task(name, total=None)
            folder = fetch_model(
                name,
                cache=cache,
                source=source,
                progress=lambda done, total: bar.update(task, completed=done, total=total),
            )
    if as_json:
        print_json({"name": name, "folder": str(folder)})
    else:
        out.print(f"{name} is in {folder}", soft_wrap=True)


def _advice(thresholds: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each pair under what it is for."""
    white = thresholds["whitened"]
    for said, one in (("thresholds", thresholds), ("whitened", white), ("beside rivals", white and white["rivals"])):
        if one:
            yield said, one
            for kind in ("windows", "regions"):
                if one[kind]:
                    yield ("" if one is thresholds else f"{said}, ") + kind, one[kind]


def _card_lines(card: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """What the card of the shipped weights says, in words."""
    training, evaluation = card["training"], card["evaluation"]
    yield "training data", training["data"]
    with suppress(ImportError):  # drawing needs OpenCV; a base install shows the rest of the card
        from guard.training.generators import FAMILIES

        yield "families", ", ".join(FAMILIES)
    for run in training["runs"]:
        yield (
            "trained",
            (
                f"{run['views']:,} views in {run['hours']:.1f} h on {run['cpu_cores']} cores ({run['device']}), "
                f"seed {run['seed']}, commit {str(run['commit'])[:12]}"
            ),
        )
    for group, one in evaluation["groups"].items():
        mean = one["figures"]["all_edits"]
        yield (
            group,
            (
                f"recall@1 {percent(mean['recall_at_1'])}, at FPR 1 % {percent(mean['recall_at_own_fpr_0.01'])}, "
                f"at 0.1 % {percent(mean['recall_at_own_fpr_0.001'])} "
                f"({one['counts']['pictures']} pictures, each group at its own threshold, {evaluation['date']})"
            ),
        )
    yield from (("bad at", spot) for spot in card["weak_spots"])


def _row(name: str, cache: Path | None) -> dict[str, Any]:
    from guard.embedders.fetch import pinned_sha256
    from guard.embedders.models import fetched, model_card, model_folder
    from guard.embedders.shipped import SHIPPED, shipped_card

    card, folder = model_card(name), model_folder(name, cache)
    files = []
    for file in card.files:
        pinned = pinned_sha256(folder / file.name)
        state = "published" if file.sha256 else "pinned when it was fetched" if pinned else "pinned at the first fetch"
        files.append({**asdict(file), "sha256": file.sha256 or pinned, "checksum": state})
    shipped = {"card": shipped_card().model_dump(mode="json")} if card.name == SHIPPED else {}
    return {
        "name": card.name,
        "title": card.title,
        "licence": card.licence,
        "dim": card.dim,
        "input_size": card.preprocessing.size,
        "preprocessing": str(card.preprocessing),
        "loader": card.loader,
        "source": card.source,
        "thresholds": asdict(card.thresholds) if card.thresholds else None,
        "bring": card.bring,
        "notes": card.notes,
        "fetched": fetched(name, cache),
        "folder": str(folder) if card.files else "in the package",
        "files": files,
        **shipped,
    }
