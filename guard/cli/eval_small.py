"""`memguard eval small`: does a small set of look-alikes find its copies and leave strangers alone? No maths here."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from guard.cli.console import Exit, err, errors_to_exit, out, percent
from guard.cli.eval_options import Cache, JsonFile, Limit, Same, Seed, require_folder, stopped
from guard.cli.progress import staged
from guard.errors import ConfigError

__all__ = ["small"]


class Family(StrEnum):
    """guard.evaluation.edits.FAMILIES, for the command line."""

    PHOTOMETRIC = "photometric"
    GEOMETRIC = "geometric"
    OVERLAY = "overlay"
    GENERATION = "generation"
    COMBINATION = "combination"


def small(
    images: Annotated[list[Path], typer.Option(metavar="DIR", help="Folder of look-alike pictures; repeatable.")],
    json_file: JsonFile,
    same: Same = None,
    family: Annotated[
        list[Family] | None, typer.Option("--family", help="Only edits of this family; repeat it for several.")
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option("--only", metavar="EDIT", help="Only this edit, e.g. crop_40 (docs/evaluation.md); repeatable."),
    ] = None,
    edits: Annotated[
        int, typer.Option("--edits", min=1, help="Edits of each picture, drawn from those that take part.")
    ] = 12,
    size: Annotated[
        int | None,
        typer.Option(min=2, help="Pictures of a private set, as 30 of a LoRA (default: half of the sources)."),
    ] = None,
    splits: Annotated[
        int, typer.Option(min=1, help="Private sets, one after the other; every source takes its turn in one.")
    ] = 2,
    embedder: Annotated[
        str | None, typer.Option(help="Embedder, named as for `index build` (default: the one that ships).")
    ] = None,
    limit: Limit = None,
    seed: Seed = 0,
    cache: Cache = None,
) -> None:
    """Hide some of the patients in a small index: are edited copies found, and other patients left alone?

    Pictures of one source (patients.tsv beside them, or --same) never tell against one another.
    Writes OUT.json, and beside it OUT.png with every family of edits.

    [bold]Examples[/bold]

    memguard eval small --images xrays/ --json small.json

    memguard eval small --images xrays/ --edits 52 --cache small.cache --json small.json

    memguard eval small --images xrays/ --size 30 --splits 3 --json thirty.json

    memguard eval small --images xrays/ --only crop_60 --only crop_40 --json crops.json

    memguard eval small --images portraits/ --same people.tsv --family photometric --json small.json
    """
    with errors_to_exit(stopped=stopped(cache)):
        require_folder(json_file)
        from guard.embedders.registry import load_embedder
        from guard.evaluation.edits import EDITS
        from guard.evaluation.pictures import find_pictures
        from guard.evaluation.small import evaluate_small
        from guard.evaluation.small_plot import draw

        unknown = sorted({*(only or [])} - {*EDITS})
        if unknown:
            raise ConfigError(f"there is no edit {unknown[0]!r}; known: {', '.join(EDITS)}")
        families = (edit for edit in EDITS.values() if not family or edit.family in family)
        chosen = [edit for edit in families if not only or edit.name in only]
        if not chosen:
            raise ConfigError("none of the edits of --only is of a --family that was asked for")
        with staged() as progress:
            loaded = find_pictures(
                {"set": images},
                same=same or [],
                limit=limit,
                seed=seed,
                progress=lambda done, total: progress("reading", done, total),
            )
            if not loaded.pictures:
                raise ConfigError("none of the pictures can be read")
            document = evaluate_small(
                loaded.pictures,
                load_embedder(embedder),
                chosen,
                edits_each=edits,
                size=size,
                splits=splits,
                seed=seed,
                cache=cache,
                progress=progress,
            )
        document["skipped"] = list(loaded.skipped)
        json_file.write_text(json.dumps(document) + "\n", encoding="utf-8")
        draw(document).save(json_file.with_suffix(".png"))
        _print(document)
        for line in loaded.skipped:
            err.print(f"skipped: {line}", style="yellow", markup=False, soft_wrap=True)
        raise typer.Exit(Exit.INPUT if loaded.skipped else Exit.FINE)


def _print(document: dict[str, Any]) -> None:
    of = f" of {document['size']}" if document["size"] else ""
    out.print(f"{document['pictures']} pictures of {document['sources']} sources, {document['splits']} private "
              f"sets{of}, {document['edits_each']} of {len(document['edits'])} edits each",
              soft_wrap=True)  # fmt: skip
    table = Table("guard", "pictures", "queries", "flagged or blocked", "blocked", box=None, pad_edge=False)
    for way, groups in document["ways"].items():
        for name, found in sorted(groups.items()):
            table.add_row(way, name, str(found["queries"]), percent(found["flagged"]), percent(found["blocked"]))
            way = ""
        table.add_section()
    out.print(table)
    out.print("Percent, with 95 % intervals over sources.", style="dim")
    for one in document["sets"]:
        for warning in one["warnings"]:
            out.print(f"of {one['references']} references: {warning}", style="yellow", soft_wrap=True)
