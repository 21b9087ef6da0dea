"""`memguard index add`: put more pictures into an index. Knows options; no format."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from guard.cli.console import errors_to_exit, goes_on
from guard.cli.index_options import (
    BatchOption,
    CaptionOption,
    CollectionOption,
    ImageOption,
    JsonOption,
    KeepOption,
    MetadataOption,
    PixelsOption,
    PseudonymsOption,
    RestartOption,
    SourceArgument,
    WorkersOption,
    limits_of,
)
from guard.cli.index_report import in_use, show
from guard.cli.index_small import KeyOption, measure_again, named, sealing_key
from guard.cli.progress import counted

__all__ = ["add"]


def add(
    source: SourceArgument,
    index: Annotated[Path, typer.Option("--index", "--out", metavar="X.index", help="Index to extend.")],
    embedder: Annotated[
        str | None, typer.Option(help="Needed where the index's embedder was a file: onnx:FILE or torchscript:FILE.")
    ] = None,
    caption_column: CaptionOption = None,
    image_column: ImageOption = None,
    metadata: MetadataOption = None,
    collection: CollectionOption = None,
    batch: BatchOption = 256,
    workers: WorkersOption = None,
    max_pixels: PixelsOption = None,
    key: KeyOption = None,
    pseudonyms: PseudonymsOption = None,
    duplicates: Annotated[
        bool,
        typer.Option(
            "--duplicates",
            help="Add what the index holds already, too: for training sets of which it matters how often they repeat a "
            "picture.",
        ),
    ] = False,
    restart: RestartOption = False,
    keep: KeepOption = 2,
    as_json: JsonOption = False,
) -> None:
    """Add a source's pictures to an index, with the embedder that it was built with.

    Pictures whose bytes the index holds already, in all of the collections, are left out and
    counted; already_there.jsonl of the version lists them.

    [bold]Examples[/bold]

    memguard index add more-photos/ --index training.index

    memguard index add artist/ --index training.index --collection protected --collection training
    """
    from guard.embedders.registry import load_index_embedder
    from guard.indexes.builder import add_to_index
    from guard.sources import open_source

    with errors_to_exit(stopped=goes_on(restart=restart)):
        secret = sealing_key(key)
        model = load_index_embedder(in_use(index)[1].embedder.name, embedder)
        reader = open_source(
            source, spec=model.spec, caption_column=caption_column, image_column=image_column, metadata=metadata
        )
        reader, private = named(reader, pseudonyms, secret)
        with counted("adding", quiet=as_json) as on_progress:
            report = add_to_index(
                reader,
                index,
                model,
                collections=tuple(collection or ["training"]),
                batch=batch,
                workers=workers,
                limits=limits_of(max_pixels),
                restart=restart,
                keep=keep,
                key=secret,
                duplicates=duplicates,
                on_progress=on_progress,
            )
        private()
        measured = measure_again(index, model, keep, changed=report.added > 0, key=secret, quiet=as_json)
        raise typer.Exit(show(report, as_json, measured))
