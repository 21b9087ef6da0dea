"""`memguard index build`: make an index of a source. Knows options; no format."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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
from guard.cli.index_report import show
from guard.cli.index_small import KeyOption, SmallBuild, named, sealing_key
from guard.cli.progress import counted, staged

if TYPE_CHECKING:
    from guard.indexes.manifest import ClustersEntry
    from guard.indexes.sealing import SealingKey

__all__ = ["build"]

EmbedderOption = Annotated[
    str | None,
    typer.Option(help="procedural (the default), pdq, a name of `memguard models`, onnx:FILE or torchscript:FILE."),
]


def build(
    source: SourceArgument,
    out_folder: Annotated[Path, typer.Option("--out", metavar="X.index", help="Folder of the index.")],
    embedder: EmbedderOption = None,
    caption_column: CaptionOption = None,
    image_column: ImageOption = None,
    metadata: MetadataOption = None,
    collection: CollectionOption = None,
    thumbnails: Annotated[int, typer.Option(min=0, help="Longer side of stored thumbnails in px; 0 for none.")] = 256,
    regions: Annotated[
        bool | None,
        typer.Option(
            "--regions/--no-regions",
            help="Index 14 crops and an equalised copy of each picture too, for images that show a part of it or have "
            "other levels; 16 times the vectors, and most of the build's time (default: up to 2,000 pictures that are "
            "no small set, with the embedder that ships).",
        ),
    ] = None,
    hashes: Annotated[
        bool | None, typer.Option("--hashes/--no-hashes", help="PDQ hashes beside descriptors (default: with them).")
    ] = None,
    keypoints: Annotated[
        bool,
        typer.Option(
            "--keypoints",
            help="Store the keypoints of each thumbnail, so that comparing pixels with pictures that were not met "
            "before is quicker; some 25 kB a picture.",
        ),
    ] = False,
    batch: BatchOption = 256,
    workers: WorkersOption = None,
    max_pixels: PixelsOption = None,
    small: Annotated[
        bool | None,
        typer.Option(
            "--small/--no-small",
            help="A small set of pictures that may look alike: compare pixels, and take thresholds from the set itself "
            "(default: up to 500 pictures, with the embedder that ships and thumbnails).",
        ),
    ] = None,
    whiten: Annotated[
        bool | None,
        typer.Option(
            "--whiten/--no-whiten",
            help="Compare by a whitening that is fitted on the references, and weigh similarities beside rivals: both "
            "tell copies from look-alikes better than plain cosines (default: more than 250 pictures that are no small "
            "set, with the embedder that ships).",
        ),
    ] = None,
    key: KeyOption = None,
    pseudonyms: PseudonymsOption = None,
    clusters: Annotated[
        bool,
        typer.Option(
            "--clusters",
            help="Look for duplicates too, as `memguard dedup` does: verdicts and audits then say how often a picture "
            "stands in the set.",
        ),
    ] = False,
    restart: RestartOption = False,
    keep: KeepOption = 2,
    as_json: JsonOption = False,
) -> None:
    """Build the index of a source and make it the version in use.

    A build that was killed is resumed by the same command. Pictures that cannot be read are
    listed in skipped.jsonl with the reason, and the exit code is 2 after the others are done.

    [bold]Examples[/bold]

    memguard index build photos/ --out training.index

    memguard index build 'laion-{00000..00031}.tar' --out training.index --collection training

    memguard index build train.parquet --out training.index --caption-column prompt --thumbnails 0

    memguard index build photos/ --out training.index --clusters

    memguard index build photos/ --out training.index --keypoints

    memguard index build xrays/ --out scans.index --small

    memguard index build xrays/ --out scans.index --small --key scans.key --pseudonyms names.csv
    """
    from guard.embedders.registry import load_embedder
    from guard.errors import ConfigError
    from guard.indexes.builder import build_index
    from guard.indexes.hashes import HASHES_BY_DEFAULT
    from guard.sources import open_source

    with errors_to_exit(stopped=goes_on(restart=restart)):
        model = load_embedder(embedder)
        reader = open_source(
            source, spec=model.spec, caption_column=caption_column, image_column=image_column, metadata=metadata
        )
        secret = sealing_key(key)
        reader, private = named(reader, pseudonyms, secret)
        if small and whiten:
            raise ConfigError("a small set has a transform of its own; give --small or --whiten")
        chosen = SmallBuild.choose(False if whiten else small, reader, model, thumbnails)
        with counted("indexing", quiet=as_json) as on_progress:
            report = build_index(
                reader,
                out_folder,
                model,
                collections=tuple(collection or ["training"]),
                thumbnails=thumbnails,
                hashes=HASHES_BY_DEFAULT if hashes is None else hashes,
                keypoints=keypoints,
                regions=False if chosen and regions is None else regions,
                batch=batch,
                workers=workers,
                limits=limits_of(max_pixels),
                restart=restart,
                keep=keep,
                transform=chosen.transform if chosen else None,
                whiten=False if chosen else whiten,
                key=secret,
                on_progress=on_progress,
            )
        private()
        measured = chosen.measure(out_folder, model, keep, key=secret, quiet=as_json) if chosen else None
        found = _clustered(out_folder, workers, keep, secret, as_json) if clusters else None
        raise typer.Exit(show(report, as_json, measured, found))


def _clustered(index: Path, workers: int | None, keep: int, key: SealingKey | None, quiet: bool) -> ClustersEntry:
    from guard.dedup.clusters import find_clusters

    with staged(quiet=quiet) as on_progress:
        return find_clusters(index, workers=workers, keep=keep, key=key, on_progress=on_progress)
