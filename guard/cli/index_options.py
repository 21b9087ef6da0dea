"""Options that several verbs of `memguard index` share. Knows no index."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from guard.indexes.preparation import Limits

__all__ = [
    "BatchOption",
    "CaptionOption",
    "CollectionOption",
    "ImageOption",
    "IndexArgument",
    "JsonOption",
    "KeepOption",
    "MetadataOption",
    "PixelsOption",
    "PseudonymsOption",
    "RestartOption",
    "SourceArgument",
    "WorkersOption",
    "limits_of",
]

IndexArgument = Annotated[Path, typer.Argument(metavar="X.index", help="Folder of the index.")]
SourceArgument = Annotated[
    str,
    typer.Argument(
        metavar="SOURCE",
        help="Folder of pictures; NAME.tar, a folder of tars or 'shard-{000..012}.tar'; "
        "NAME.parquet or a folder of them; NAME.npy (precomputed embeddings, with NAME.parquet, .jsonl or .csv), or a "
        "folder that clip-retrieval wrote.",
    ),
]
CaptionOption = Annotated[
    str | None, typer.Option(help="Column or JSON field of the captions (default: found by name).")
]
ImageOption = Annotated[str | None, typer.Option(help="Column of the pictures, for parquet (default: found by name).")]
MetadataOption = Annotated[Path | None, typer.Option(help="Table of one .npy file, if it is not beside it.")]
CollectionOption = Annotated[
    list[str] | None, typer.Option("--collection", help="Collection of the references; repeat it for several.")
]
PseudonymsOption = Annotated[
    Path | None,
    typer.Option(
        metavar="NAMES.csv",
        help="With --key: no captions, and names that stand for the uris; this file says which, for you alone.",
    ),
]
BatchOption = Annotated[int, typer.Option(min=1, help="Pictures a step; at most so many are done twice after a kill.")]
WorkersOption = Annotated[int | None, typer.Option(min=1, help="Decoding threads (default: one a core).")]
PixelsOption = Annotated[int | None, typer.Option(min=1, help="Largest picture that is decoded, in pixels.")]
RestartOption = Annotated[bool, typer.Option("--restart", help="Drop an unfinished build and start over.")]
KeepOption = Annotated[int, typer.Option(min=1, help="Versions to keep, the new one included.")]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")]


def limits_of(max_pixels: int | None) -> Limits:
    """Of --max-pixels; None for the usual ones."""
    from guard.indexes.preparation import Limits

    return Limits(max_pixels=max_pixels) if max_pixels else Limits()
