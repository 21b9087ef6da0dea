"""`memguard models`: what is on the model list, and fetching it. Knows the screen; the list is in guard.embedders."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.table import Table
from rich.text import Text

from guard.cli.console import err, errors_to_exit, out, print_json

__all__ = ["models_app"]

models_app = typer.Typer(invoke_without_command=True)

CACHE_HELP = "Folder for fetched models (default: $MEMGUARD_CACHE, else the user's cache folder)."
Cache = Annotated[Path | None, typer.Option("--cache", metavar="DIR", help=CACHE_HELP)]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")]


@models_app.callback()
def list_models(context: typer.Context, cache: Cache = None, as_json: AsJson = False) -> None:
    """List the embedders other than PDQ, show one, or fetch its weights.

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
        table.add_column(column)
    for row in rows:
        table.add_row(
            row["name"],
            Text(row["title"]),
            Text(row["licence"]),
            str(row["dim"]),
            str(row["input_size"]),
            "yes" if row["fetched"] else "to be brought" if row["bring"] else "no",
        )
    out.print(table)
    out.print("\nWithout a model, PDQ is the embedder. `memguard models show NAME` says more about one.")


@models_app.command("show")
def show(
    name: Annotated[str, typer.Argument(help="A name from the list.")], cache: Cache = None, as_json: AsJson = False
) -> None:
    """Show one model: licence, source, preprocessing, thresholds, files and checksums.

    [bold]Example[/bold]

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
            table.add_row(key, Text(f"flag {value['flag']}, block {value['block']}: {value['source']}"))
        elif value not in (None, ""):
            table.add_row(key, Text(str(value)))
    out.print(table)


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
    with errors_to_exit():
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


def _row(name: str, cache: Path | None) -> dict[str, Any]:
    from guard.embedders.fetch import pinned_sha256
    from guard.embedders.models import fetched, model_card, model_folder

    card, folder = model_card(name), model_folder(name, cache)
    files = []
    for file in card.files:
        pinned = pinned_sha256(folder / file.name)
        state = "published" if file.sha256 else "pinned when it was fetched" if pinned else "pinned at the first fetch"
        files.append({**asdict(file), "sha256": file.sha256 or pinned, "checksum": state})
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
        "folder": str(folder),
        "files": files,
    }
