"""`memguard dedup`: which pictures of a training set are copies of one another. Knows options and tables."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from guard.cli.console import Exit, errors_to_exit, goes_on, number_of, print_json, print_rows
from guard.cli.index_small import KeyOption, sealing_key
from guard.cli.progress import staged
from guard.dedup.choose import Keep

if TYPE_CHECKING:
    from guard.dedup.run import DedupReport

__all__ = ["dedup"]


def dedup(
    target: Annotated[
        str,
        typer.Argument(
            metavar="X.index|SOURCE",
            help="An index; or what one is built of: a folder of pictures, tar shards, parquet files.",
        ),
    ],
    out_folder: Annotated[
        Path | None,
        typer.Option("--out", metavar="FOLDER", help="Folder for lists, plot and page (default: NAME.dedup, here)."),
    ] = None,
    keep: Annotated[
        Keep, typer.Option(help="Which picture of a cluster stays: the largest, of the best caption, the oldest.")
    ] = Keep.LARGEST,
    apply: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Write the set without its duplicates to this new folder."),
    ] = None,
    source: Annotated[
        str | None, typer.Option(help="With --apply on an index: the folder, shards or parquet that it was made of.")
    ] = None,
    copy: Annotated[bool, typer.Option("--copy", help="With --apply: copies instead of hard links.")] = False,
    similarity: Annotated[
        float | None,
        typer.Option(help="Cosine from which descriptors alone make a copy (default: the embedder's block threshold)."),
    ] = None,
    verify: Annotated[
        bool,
        typer.Option("--verify/--no-verify", help="Compare thumbnails pixel by pixel before two are called copies."),
    ] = True,
    collection: Annotated[
        str | None,
        typer.Option(
            help="Of an index: only this collection (default: all but what is only protected, opt-out, allow or "
            "canary)."
        ),
    ] = None,
    publish: Annotated[
        bool, typer.Option("--publish/--no-publish", help="Write cluster sizes into the index, as a new version.")
    ] = True,
    keep_versions: Annotated[int, typer.Option(min=1, help="Versions of the index to keep, the new one included.")] = 2,
    embedder: Annotated[str | None, typer.Option(help="Of a source: as for `memguard index build`.")] = None,
    caption_column: Annotated[
        str | None, typer.Option(help="Column or JSON field of the captions (default: found by name).")
    ] = None,
    image_column: Annotated[
        str | None, typer.Option(help="Column of the pictures, for parquet (default: found by name).")
    ] = None,
    key: KeyOption = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Threads (default: one a core).")] = None,
    restart: Annotated[bool, typer.Option("--restart", help="Of a source: build what is needed anew.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")] = False,
) -> None:
    """Find the copies in a training set, and say which one of each to keep.

    Copies are of the same bytes, of the same pixels, or near: their descriptors or PDQ hashes are close and their
    pixels agree. Nothing is ever deleted: lists, a plot and a page of the largest clusters go to a folder, cluster
    sizes into the index, and --apply writes the set anew. A run that was killed goes on with the same command.

    [bold]Examples[/bold]

    memguard dedup photos/ --apply photos-once/

    memguard dedup training.index --keep caption

    memguard dedup 'laion-{00000..00031}.tar' --out laion.dedup --apply laion-once/
    """
    from guard.dedup.run import Options, dedup_index, dedup_source
    from guard.embedders.registry import load_embedder
    from guard.errors import ConfigError
    from guard.indexes.layout import IndexFolder
    from guard.sources import open_source

    options = Options(keep, collection, similarity, verify, "auto", workers, copy)
    folder = out_folder or Path(f"{_stem(target)}.dedup")
    with errors_to_exit(stopped=goes_on(restart=restart)):
        is_index = IndexFolder(target).exists
        if is_index and (embedder or restart):
            raise ConfigError(f"{target} is an index: --embedder and --restart belong to a source")
        if not is_index and (source or collection or not publish):
            raise ConfigError(f"{target} is no index: --source, --collection and --no-publish belong to one")
        secret = sealing_key(key)
        model = None if is_index else load_embedder(embedder)
        named = source if is_index else target
        spec = model.spec if model else None
        read = (
            open_source(named, spec=spec, caption_column=caption_column, image_column=image_column) if named else None
        )
        with staged(quiet=as_json) as on_progress:
            if model is None:
                report = dedup_index(
                    target, folder, options, source=read, apply=apply, publish=publish, keep_versions=keep_versions,
                    key=secret, on_progress=on_progress,
                )  # fmt: skip
            else:
                assert read is not None
                report = dedup_source(
                    read, folder, model, options, apply=apply, restart=restart, key=secret, on_progress=on_progress
                )
        _show(report, apply, as_json)
        raise typer.Exit(Exit.INPUT if report.skipped or not report.pictures else Exit.FINE)


def _show(report: DedupReport, apply: Path | None, as_json: bool) -> None:
    if as_json:
        print_json(report.to_dict())
        return
    dropped = sum(report.dropped.values())
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_row("pictures", f"{report.pictures}")
    table.add_row("clusters", f"{report.clusters} of two or more, the largest of {report.largest}")
    table.add_row("to keep", f"{report.kept}")
    why = ", ".join(f"{name} {n}" for name, n in report.dropped.items())
    table.add_row("to drop", f"{dropped} ({why})" if dropped else "0")
    table.add_row("found by", report.method)
    if report.skipped:
        table.add_row("unreadable", ", ".join(f"{name} {n}" for name, n in report.skipped.items()))
    table.add_row("index", f"{report.index}, version {report.version}")
    table.add_row("written", f"{report.out}: {', '.join(report.files)}")
    if report.note:
        table.add_row("", report.note)
    if report.applied:
        made = report.applied
        table.add_row(
            "applied",
            f"{apply}: {number_of(made.kept, 'picture')} kept, {made.dropped} dropped, {made.unreadable} unreadable; "
            f"{number_of(made.linked, 'file')} linked, {made.copied} written",
        )
    print_rows(table)


def _stem(target: str) -> str:
    """photos/ -> photos, x.index -> x, a/s-{00..12}.tar -> s-00-12."""
    name = Path(target).resolve().name
    name = re.sub(r"\.(index|tar|tar\.gz|tgz|parquet)$", "", name)
    return re.sub(r"[^\w.]+", "-", name.replace("..", "-")).strip("-.") or "pictures"
