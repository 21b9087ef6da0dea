"""`memguard eval calibration`: do predicted false-positive rates come true? Knows options and a table; no maths."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer
from rich.table import Table

from guard.cli.console import Exit, err, errors_to_exit, out
from guard.cli.eval_options import Cache, JsonFile, Limit, Same, groups_of, require_folder, stopped
from guard.cli.progress import staged
from guard.errors import ConfigError

__all__ = ["calibration"]

TITLES = {
    "size": "at the same references",
    "growth": "at more references",
    "tail": "ten times beyond the tail's start",
    "groups": "pictures of other groups",
}
NOTE = """Points are predictions of at least ten matches; inside: the observed share lies within the 95 % predictive
interval. Points of one resample are alike. Other groups: what happens where clean pictures are unlike those to come."""


def calibration(
    json_file: JsonFile,
    group: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=DIR", help="Folder of pictures that are no copies of one another; repeatable."),
    ] = None,
    procedural: Annotated[
        int, typer.Option(min=0, help="Procedural pictures of each family, held out of the training of the descriptor.")
    ] = 0,
    same: Same = None,
    size: Annotated[
        list[int] | None, typer.Option(min=1, help="References; repeatable (100, 1000, 10000 and 100000).")
    ] = None,
    resamples: Annotated[int, typer.Option(min=1, help="Divisions of the sources.")] = 20,
    embedder: Annotated[
        str | None, typer.Option(help="Embedder, named as for `index build` (default: the one that ships).")
    ] = None,
    as_indexed: Annotated[
        bool,
        typer.Option(
            "--as-indexed",
            help="Compare as an index of so many references does by default (whitened, beside rivals), not by cosines.",
        ),
    ] = False,
    limit: Limit = None,
    cache: Cache = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the pictures and divisions.")] = 0,
) -> None:
    """Calibrate on some pictures, and compare the predicted rates of false matches with those of others.

    [bold]Examples[/bold]

    memguard eval calibration --procedural 200 --json calibration.json

    memguard eval calibration --procedural 2600 --cache .memguard-eval --json large.json

    memguard eval calibration --procedural 400 --size 500 --size 1000 --as-indexed --json indexed.json

    memguard eval calibration --group photographs=photos/ --group xrays=scans/ --same patients.tsv --json found.json
    """
    with errors_to_exit(stopped=stopped(cache)):
        require_folder(json_file)
        if not group and not procedural:
            raise ConfigError("give pictures: --group NAME=DIR, or --procedural COUNT")
        from guard.embedders.registry import load_embedder
        from guard.evaluation.calibrated import evaluate_calibration
        from guard.evaluation.calibration_pool import make_pool

        model = load_embedder(embedder)
        with staged() as progress:
            pool, skipped = make_pool(
                model,
                groups=groups_of(None, group) if group else {},
                procedural=procedural,
                same=same or [],
                limit=limit,
                seed=seed,
                cache=cache,
                progress=progress,
            )
            document = evaluate_calibration(
                pool,
                size or (100, 1000, 10_000, 100_000),
                resamples=resamples,
                seed=seed,
                spec=model.spec if as_indexed else None,
                progress=lambda done, total: progress("resampling", done, total),
            )
        document |= {"embedder": model.spec.identity(), "procedural": procedural, "skipped": list(skipped)}
        json_file.write_text(json.dumps(document) + "\n", encoding="utf-8")
        _print(document)
        for line in skipped:
            err.print(f"skipped: {line}", style="yellow", markup=False, soft_wrap=True)
        raise typer.Exit(Exit.INPUT if skipped else Exit.FINE)


def _print(document: dict[str, Any]) -> None:
    out.print(f"{document['pictures']} pictures of {document['sources']} sources in {len(document['groups'])} groups, "
              f"{document['resamples']} resamples", soft_wrap=True)  # fmt: skip
    table = Table("predicted", "references", "points", "inside", "95 % interval", "above", "refused", box=None,
                  pad_edge=False)  # fmt: skip
    for one in document["coverage"]:
        every = one["references"] is None
        if not one["judged"] and not every:
            continue
        shown = "-" if one["share"] is None else f"{100 * one['share']:.0f} %"
        table.add_row(
            TITLES[one["kind"]] if every else "",
            "all" if every else str(one["references"]),
            str(one["judged"]),
            shown,
            f"{100 * one['low']:.0f} to {100 * one['high']:.0f} %" if one["judged"] else "",
            str(one["above"]),
            str(document["refused"][one["kind"]]) if every else "",
        )
    out.print(table)
    if document["sizes_left_out"]:
        out.print(f"too few pictures for {', '.join(map(str, document['sizes_left_out']))} references", soft_wrap=True)
    out.print(NOTE, style="dim", soft_wrap=True)
