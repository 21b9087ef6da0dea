"""`memguard eval kin`: what pixels, and a whole decision, say of related pictures that are no copies."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from guard.cli.console import Exit, errors_to_exit, out
from guard.cli.eval_options import Embedders, JsonFile, require_folder
from guard.cli.progress import staged

__all__ = ["kin"]

NOTE = """A program matches if its relation does, as it is or under one edit. One drawing: recoloured, moved a little,
or with a few parts changed. A shared part: a texture or a text that is in both. A match is false in other content
alone. At most: the upper end of the 95 % interval."""
COUNTS = {
    "all": "either",
    "one drawing": "one_drawing",
    "a shared part": "shared_part",
    "other content": "other_content",
}


def kin(
    json_file: JsonFile,
    programs: Annotated[int, typer.Option(min=1, help="Procedural programs, each with its relations.")] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Of the programs and the edits.")] = 0,
    embedder: Embedders = None,
    at: Annotated[
        list[float] | None,
        typer.Option(min=-1, max=1, help="Similarity from which something counts (the embedder's advice); repeatable."),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Threads that draw and compare (default: one a core, at most 4).")
    ] = None,
) -> None:
    """Measure how often pictures of one layout, or of one kind, are taken for copies of one another.

    Needs no pictures: procedural programs draw a picture, a sibling (another layout), a variant (the same layout, other
    content) and a near relation. The part of `memguard eval detection --kin` that is cheap enough for thousands.

    [bold]Examples[/bold]

    memguard eval kin --json kin.json

    memguard eval kin --programs 3000 --seed 1 --at 0.6 --at 0.75 --json kin.json
    """
    with errors_to_exit():
        require_folder(json_file)
        from guard.embedders.registry import DEFAULT
        from guard.evaluation.kin_decided import KinSettings, evaluate_kin
        from guard.evaluation.run import takes_part

        bases = list(dict.fromkeys([DEFAULT, *(embedder or [])]))
        entrants = takes_part([*bases, "pdq"], with_baselines=False)
        settings = KinSettings(programs, seed, at or (), workers)
        with staged() as progress:
            document = evaluate_kin(
                entrants, bases, settings, progress=lambda done: progress("comparing kin", done, programs)
            )
        json_file.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
        _print(document)
        raise typer.Exit(Exit.FINE)


def _print(document: dict[str, Any]) -> None:
    table = Table("", "decided by", *COUNTS, "at most", box=None, pad_edge=False)
    for relation in document["pixels"]:
        for i, (what, one) in enumerate(_decided(document)):
            counts = [f"{found['false']} of {found['programs']}" for found in map(one[relation].get, COUNTS.values())]
            most = f"{100 * one[relation]['other_content']['high']:.2f} %"
            table.add_row(relation if i == 0 else "", Text(what, "cyan"), *counts, most)
    out.print(table)
    out.print(NOTE, style="dim", soft_wrap=True)


def _decided(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    yield "pixels alone", document["pixels"]
    for name, by_threshold in document["false_matches"].items():
        if not name.startswith("default"):
            yield from ((f"{name} at {at}", one) for at, one in by_threshold.items())


def _bounded(one: dict[str, Any]) -> tuple[str, str]:
    return f"{one['false']} of {one['programs']}", f"{100 * one['high']:.2f} %"
