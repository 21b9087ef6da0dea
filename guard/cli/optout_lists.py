"""`memguard optout export | check`: do-not-train lists, written and applied. Knows options and tables."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from guard.cli.console import Exit, err, errors_to_exit, number_of, out, print_json, print_rows
from guard.cli.progress import counted

if TYPE_CHECKING:
    from guard.optout.lists import ListEntry
    from guard.optout.trainingset import CheckReport
    from guard.sources.base import Source

__all__ = ["check", "export"]

JsonOption = Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")]
SHOWN = 50  # items in the table


def export(
    index: Annotated[Path, typer.Option(metavar="X.index", help="Index whose opt-outs are listed.")],
    out_file: Annotated[
        Path,
        typer.Option("--out", help="List to write: .jsonl, .csv or .parquet; .txt for one --kind, url or domain."),
    ],
    kind: Annotated[
        str | None,
        typer.Option(
            metavar="KIND",
            help="Only one kind of mark, and nothing else of an entry: url, domain, sha256, pdq or descriptor "
            "(default: all, each in a column of its own).",
        ),
    ] = None,
    collection: Annotated[
        list[str] | None,
        typer.Option("--collection", help="What to list (default: opt-out and protected); repeat it for several."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Write a do-not-train list: addresses, domains, SHA-256, PDQ hash and descriptor of all that is protected.

    [bold]Examples[/bold]

    memguard optout export --index training.index --out do-not-train.jsonl

    memguard optout export --index training.index --kind url --out urls.txt

    memguard optout export --index training.index --kind domain --out domains.txt
    """
    from guard.optout.entries import PROTECTING, list_entries
    from guard.optout.lists import write_list

    with errors_to_exit():
        count, left_out = write_list(list_entries(index, tuple(collection or PROTECTING)), out_file, kind)
        if as_json:
            counts = {"entries": count, "left_out": left_out}
            print_json({"index": str(index), "out": str(out_file), "kind": kind, **counts})
        else:
            out.print(f"{number_of(count, 'entry', 'entries')} in {out_file}", soft_wrap=True)
            if left_out:
                err.print(
                    f"{number_of(left_out, 'entry', 'entries')} without a {kind} left out; without --kind, .jsonl, "
                    ".csv and .parquet hold everything",
                    style="yellow",
                )


def check(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE",
            help="Training set: folders, shards, parquet or embeddings, named as for `index build`; or a table with a "
            "column url and no pictures.",
        ),
    ],
    list_file: Annotated[
        list[Path] | None,
        typer.Option("--list", metavar="LIST", help="Do-not-train list (.jsonl, .csv, .parquet, .txt); repeatable."),
    ] = None,
    index: Annotated[
        Path | None, typer.Option(metavar="X.index", help="And what this index protects, as `optout export` writes it.")
    ] = None,
    descriptors: Annotated[
        bool, typer.Option("--descriptors/--no-descriptors", help="Compare descriptors too, where the list has some.")
    ] = True,
    similarity: Annotated[
        float | None, typer.Option(help="From which a descriptor counts, inclusive (default: the embedder's block).")
    ] = None,
    embedder: Annotated[
        str | None,
        typer.Option(help="Of the list's descriptors, where it was a file: onnx:FILE or torchscript:FILE."),
    ] = None,
    out_file: Annotated[
        Path | None, typer.Option("--out", help="Write the items to drop: .jsonl, .csv, .parquet, or .txt (uris).")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Say which items of a training set are on a do-not-train list; exit code 1 if any is.

    [bold]Examples[/bold]

    memguard optout check 'shard-{000..012}.tar' --list do-not-train.jsonl --out drop.csv

    memguard optout check laion-urls.parquet --list urls.txt --list domains.txt

    memguard optout check photos/ --index training.index
    """
    from guard.errors import ConfigError
    from guard.optout.entries import list_entries
    from guard.optout.listed import DoNotTrain
    from guard.optout.lists import read_list
    from guard.optout.trainingset import check_items, write_items

    with errors_to_exit():
        if not list_file and index is None:
            raise ConfigError("say what must not be trained on: --list LIST, --index X.index, or both")
        now = time.time()
        entries = [entry for path in list_file or () for entry in read_list(path) if not entry.over(now)]
        entries += list_entries(index) if index is not None else []
        model = _model(entries, embedder) if descriptors else None
        listed = DoNotTrain(entries, model.spec if model else None)
        if not descriptors:
            listed.other_descriptors = 0
        opened = [_open(source, model) for source in sources]
        with counted("checking", quiet=as_json) as on_progress:
            reports = [
                check_items(source, listed, embedder=model, similarity=similarity, on_progress=on_progress)
                for source in opened
            ]
        found = [item for report in reports for item in report.listed]
        if out_file is not None:
            write_items(found, out_file)
        _show(reports, listed, as_json, out_file)
        skipped = any(report.skipped for report in reports)
        raise typer.Exit(Exit.INPUT if skipped else Exit.FOUND if found else Exit.FINE)


def _open(source: str, model: Any) -> Source:
    from guard.errors import ConfigError
    from guard.sources import open_source
    from guard.sources.addresses import SUFFIXES, AddressSource

    path = Path(source)
    if path.suffix in SUFFIXES and path.suffix != ".parquet":
        return AddressSource(path)
    try:
        return open_source(source, spec=model.spec if model else None)
    except ConfigError:
        if path.suffix == ".parquet" or (path.is_dir() and any(path.glob("*.parquet"))):
            return AddressSource(path)  # no column of pictures: one of addresses, or an error that says so
        raise


def _model(entries: Iterable[ListEntry], named: str | None) -> Any:
    """The embedder of the list's descriptors; None without any, or where it cannot be had."""
    import json

    from guard.embedders.registry import load_index_embedder
    from guard.errors import ConfigError, MissingExtraError

    made_by = {json.loads(entry.embedder)["name"] for entry in entries if entry.descriptor}
    for name in sorted(made_by):
        try:
            return load_index_embedder(name, named)
        except (ConfigError, MissingExtraError) as exc:
            err.print(f"descriptors of {name!r} are not compared: {exc}", style="yellow", markup=False, soft_wrap=True)
    return None


def _show(reports: list[CheckReport], listed: Any, as_json: bool, out_file: Path | None) -> None:
    found = [item for report in reports for item in report.listed]
    skipped = [skip for report in reports for skip in report.skipped]
    items, unseen = (sum(getattr(report, name) for report in reports) for name in ("items", "unseen"))
    by: dict[str, int] = {}
    for report in reports:
        for mark, count in sorted(report.by.items()):
            by[mark] = by.get(mark, 0) + count
    if as_json:
        print_json(
            {
                "items": items,
                "entries": listed.count,
                "listed": len(found),
                "by": by,
                "descriptors_not_compared": listed.other_descriptors,
                "pictures_not_there": unseen,
                "out": str(out_file) if out_file else None,
                "skipped": [{"uri": skip.uri, "reason": skip.reason, "detail": skip.detail} for skip in skipped],
                "hits": [item.to_dict() for item in found],
            }
        )
        return
    table = Table("item", "by", "entry", "how near", box=None, pad_edge=False)
    for item in found[:SHOWN]:
        row = item.to_dict()
        near = "" if row["similarity"] is None else f"similarity {row['similarity']:.3f}"
        near += "" if row["pdq_bits"] is None else f", PDQ {row['pdq_bits']} bits"
        table.add_row(*map(Text, (row["uri"], ", ".join(row["by"]), row["entry"], near.strip(", "))))
    if found:
        print_rows(table)
    more = f"; {len(found) - SHOWN} more are not shown" if len(found) > SHOWN else ""
    out.print(
        f"{len(found)} of {number_of(items, 'item')} on the list "
        f"of {number_of(listed.count, 'entry', 'entries')}{more}",
        soft_wrap=True,
    )
    if out_file:
        err.print(f"they are in {out_file}", style="dim", soft_wrap=True)
    if listed.other_descriptors:
        err.print(
            f"{listed.other_descriptors} descriptors were not compared: another embedder made them", style="yellow"
        )
    if unseen:
        err.print(f"of {unseen} items only the address and SHA-256 were compared: no picture is there", style="yellow")
    for skip in skipped:
        err.print(f"skipped: {skip.detail}", style="yellow", markup=False, soft_wrap=True)
