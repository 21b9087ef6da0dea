"""`memguard eval detection`: descriptor and verifier as one decision, on the user's own pictures."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from guard.cli.console import Exit, err, errors_to_exit, out, percent
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
from guard.cli.progress import staged
from guard.errors import ConfigError

__all__ = ["detection"]

NOTE = """Percent, mean over all edits, with 95 % intervals over sources. Thresholds are those of all groups
together; at `none` no negative query at all lies above. `default` in the file is {default}."""
BESIDE = (".md", ".png")  # what is written beside OUT.json


def detection(
    json_file: JsonFile,
    images: Images = None,
    group: Groups = None,
    embedder: Embedders = None,
    splits: Splits = 5,
    limit: Limit = None,
    seed: Seed = 0,
    same: Same = None,
    one_source: OneSource = None,
    candidates: Annotated[
        int | None, typer.Option(min=1, max=1000, help="Nearest references looked at for each query (a guard's).")
    ] = None,
    kin: Annotated[
        int, typer.Option(min=0, help="Procedural pictures whose siblings and template variants are compared, too.")
    ] = 200,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Threads that edit and compare (default: one a core, at most 4).")
    ] = None,
    cache: Cache = None,
) -> None:
    """Measure what a guard finds with its verifier on, beside its descriptor alone, PDQ, pHash and plain distance.

    Writes OUT.json, and beside it OUT.md with the tables and OUT.png with every edit.

    [bold]Examples[/bold]

    memguard eval detection --images photos/ --json found.json

    memguard eval detection --images photos/ --group xrays=scans/ --embedder sscd_disc_mixup --cache .eval --json f.json
    """
    with errors_to_exit(stopped=stopped(cache)):
        groups = groups_of(images, group)
        require_folder(json_file)
        if json_file.suffix.lower() in BESIDE:
            raise ConfigError(f"--json {json_file}: the tables and the picture are written beside it, as .md and .png; "
                              "name a file that ends in .json")  # fmt: skip
        from guard.embedders.registry import DEFAULT
        from guard.evaluation.detection import DetectionSettings, evaluate_detection
        from guard.evaluation.detection_plot import draw
        from guard.evaluation.entrants import REGIONS, l2_entrant, phash_entrant
        from guard.evaluation.markdown import page
        from guard.evaluation.run import takes_part

        settings = DetectionSettings(kin=kin, workers=workers)
        settings = replace(
            settings,
            candidates=candidates or settings.candidates,
            protocol=replace(
                settings.protocol,
                splits=splits,
                seed=seed,
                limit=limit,
                same=same or [],
                one_source=one_source or [],
                cache=cache,
            ),
        )
        named = list(dict.fromkeys([DEFAULT, *(embedder or [])]))
        ways = takes_part([*named, "pdq"], with_baselines=False, regions=True)
        entrants = {name: entrant for name, entrant in ways.items() if not name.endswith(REGIONS)}
        entrants |= {entrant.name: entrant for entrant in (phash_entrant(), l2_entrant())}
        with staged() as progress:
            document = evaluate_detection(groups, entrants, named, settings, progress=progress)
        json_file.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
        tables, drawn = (json_file.with_suffix(suffix) for suffix in BESIDE)
        tables.write_text(page(document) + "\n", encoding="utf-8")
        draw(document).save(drawn)
        for line in document["skipped"]:
            err.print(f"skipped: {line}", style="yellow", markup=False, soft_wrap=True)
        _print(document)
        err.print(f"all figures in {json_file}, tables of every edit in {tables}, drawn in {drawn}", style="dim",
                  soft_wrap=True)  # fmt: skip
        raise typer.Exit(Exit.INPUT if document["skipped"] else Exit.FINE)


def _print(document: dict[str, Any]) -> None:
    names = [name for name in document["results"] if not name.startswith("default")]
    for group, counts in document["protocol"]["groups"].items():
        out.print(f"{group}: {counts['pictures']} pictures of {counts['sources']} sources,", style="bold", end=" ")
        bound = document["no_false_match"][group]
        independent, sources = bound["upper_bound_if_queries_were_independent"], bound["upper_bound_by_sources"]
        out.print(f"{counts['queries_an_edit']} queries an edit, {counts['negative_queries']} negative queries; none "
                  f"above bounds the rate by {100 * independent:.3g} % if they were independent, by "
                  f"{100 * sources:.3g} % by sources", soft_wrap=True)  # fmt: skip
        table = Table("", "recall@1", "at FPR 1 %", "at FPR 0.1 %", "none", box=None, pad_edge=False)
        for name in names:
            one = document["results"][name][group]["all_edits"]
            at = one["recall_at_fpr"]
            cells = (percent(cell) for cell in (one["recall_at_1"], at["0.01"], at["0.001"], at["0.0001"]))
            table.add_row(Text(name, "cyan"), *cells)
        out.print(table)
        wrong = document["evidence"]["wrong"][group]
        out.print(
            "pixels called a copy: "
            + ", ".join(f"{one['false']} of {one['queries']} {what} negatives" for what, one in wrong.items()),
            soft_wrap=True,
        )
        for name, one in document["paired"].items():
            below = one.get("below", {}).get(group, {}).get("0.001", {})
            worse = [edit for edit, p in below.items() if p is not None and p < 0.05]
            if worse and not name.startswith("default"):
                out.print(f"{name} is significantly below {one['against']} at FPR 0.1 %: {', '.join(worse)}",
                          style="yellow", soft_wrap=True)  # fmt: skip
        out.print()
    if "kin" in document:
        for relation, one in document["kin"]["pixels"].items():
            said = (
                f"{of['false']} of {of['programs']}, at most {100 * of['high']:.2f} %"
                for of in (one["either"], one["other_content"])
            )
            out.print("{}: pixels called a copy: {}, of other content {}".format(relation, *said),
                      soft_wrap=True)  # fmt: skip
    out.print(NOTE.format(default=document["protocol"]["default"]), style="dim", soft_wrap=True, markup=False)
