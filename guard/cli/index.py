"""`memguard index build | add | info`: make an index, and say what it holds. Knows options and tables; no format."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from guard.cli.calibrate import calibration_lines, calibration_summary
from guard.cli.console import Exit, err, errors_to_exit, out, print_json
from guard.cli.index_edit import merge, remove, verify
from guard.cli.index_small import KeyOption, SmallBuild, measure_again, named, sealing_key, show_small, small_json
from guard.cli.index_transform import transform
from guard.cli.progress import counted, staged

if TYPE_CHECKING:
    from guard.indexes.builder import BuildReport
    from guard.indexes.manifest import ClustersEntry, Manifest
    from guard.indexes.sealing import SealingKey
    from guard.small.build import SmallReport

__all__ = ["index_app"]

index_app = typer.Typer(
    name="index",
    no_args_is_help=True,
    rich_markup_mode="rich",
    help="""Build, extend, inspect and check the index of a reference set.

    [bold]Examples[/bold]

    memguard index build photos/ --out training.index

    memguard index info training.index""",
)

SourceArgument = Annotated[
    str,
    typer.Argument(
        metavar="SOURCE",
        help="Folder of pictures; NAME.tar, a folder of tars or 'shard-{000..012}.tar'; "
        "NAME.parquet or a folder of them; NAME.npy (precomputed embeddings, with NAME.parquet, .jsonl or .csv), or a "
        "folder that clip-retrieval wrote.",
    ),
]
EmbedderOption = Annotated[
    str | None,
    typer.Option(help="procedural (the default), pdq, a name of `memguard models`, onnx:FILE or torchscript:FILE."),
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


@index_app.command()
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
        bool, typer.Option("--regions", help="Index 14 crops of each picture too, for images that show a part of it.")
    ] = False,
    hashes: Annotated[
        bool | None, typer.Option("--hashes/--no-hashes", help="PDQ hashes beside descriptors (default: with them).")
    ] = None,
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

    memguard index build xrays/ --out scans.index --small

    memguard index build xrays/ --out scans.index --small --key scans.key --pseudonyms names.csv
    """
    from guard.embedders.registry import load_embedder
    from guard.indexes.builder import build_index
    from guard.indexes.hashes import HASHES_BY_DEFAULT
    from guard.sources import open_source

    with errors_to_exit():
        model = load_embedder(embedder)
        reader = open_source(
            source, spec=model.spec, caption_column=caption_column, image_column=image_column, metadata=metadata
        )
        secret = sealing_key(key)
        reader, private = named(reader, pseudonyms, secret)
        chosen = SmallBuild.choose(small, reader, model, thumbnails)
        with counted("indexing", quiet=as_json) as on_progress:
            report = build_index(
                reader,
                out_folder,
                model,
                collections=tuple(collection or ["training"]),
                thumbnails=thumbnails,
                hashes=HASHES_BY_DEFAULT if hashes is None else hashes,
                regions=regions,
                batch=batch,
                workers=workers,
                limits=_limits(max_pixels),
                restart=restart,
                keep=keep,
                transform=chosen.transform if chosen else None,
                key=secret,
                on_progress=on_progress,
            )
        private()
        measured = chosen.measure(out_folder, model, keep, key=secret, quiet=as_json) if chosen else None
        found = _clustered(out_folder, workers, keep, secret, as_json) if clusters else None
        raise typer.Exit(_show(report, as_json, measured, found))


@index_app.command()
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
    restart: RestartOption = False,
    keep: KeepOption = 2,
    as_json: JsonOption = False,
) -> None:
    """Add a source's pictures to an index, with the embedder that it was built with.

    [bold]Examples[/bold]

    memguard index add more-photos/ --index training.index

    memguard index add artist/ --index training.index --collection protected --collection training
    """
    from guard.embedders.registry import load_index_embedder
    from guard.indexes.builder import add_to_index
    from guard.sources import open_source

    with errors_to_exit():
        secret = sealing_key(key)
        model = load_index_embedder(_manifest(index)[1].embedder.name, embedder)
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
                limits=_limits(max_pixels),
                restart=restart,
                keep=keep,
                key=secret,
                on_progress=on_progress,
            )
        private()
        raise typer.Exit(_show(report, as_json, measure_again(index, model, keep, key=secret, quiet=as_json)))


@index_app.command()
def info(
    index: Annotated[Path, typer.Argument(metavar="X.index", help="Folder of the index.")], as_json: JsonOption = False
) -> None:
    """Say what an index holds: how much, from where, by which embedder, and what it lacks.

    [bold]Example[/bold]

    memguard index info training.index
    """
    from guard.calibration.record import read_calibration
    from guard.indexes.clusters import describe_clusters
    from guard.indexes.overlaid import state_of
    from guard.indexes.transforming import describe
    from guard.small.record import read_small

    with errors_to_exit():
        name, manifest = _manifest(index)
        calibration = read_calibration(index / "versions" / name, manifest)
        overlay = state_of(index, manifest).counts()
        small = read_small(index / "versions" / name, manifest)
        if as_json:
            known = calibration_summary(calibration, manifest) if calibration else None
            set_known = small.model_dump(mode="json") | {"warnings": small.warnings} if small else None
            shown = {"path": str(index), "version": name, **manifest.model_dump(mode="json"), "calibration": known,
                     "overlay": overlay, "small": set_known}  # fmt: skip
            print_json(shown)
            return
        table = Table(box=None, show_header=False, pad_edge=False)
        table.add_row("index", f"{index}, version {name}")
        table.add_row("references", f"{manifest.count}")
        table.add_row("embedder", f"{manifest.embedder.name} ({manifest.embedder.dim} values, {manifest.vectors})")
        table.add_row("built", f"{manifest.built_at:%Y-%m-%d %H:%M:%S} UTC by version {manifest.tool_version}")
        table.add_row("regions", f"{manifest.regions} vectors a picture" if manifest.regions > 1 else "none")
        if manifest.sealed:
            table.add_row("thumbnails", f"sealed ({manifest.sealed.cipher}, key {manifest.sealed.key_id})")
        if small:
            lines = [f"flag {small.flag:.4f}, block {small.block:.4f}, of {small.count} references", *small.warnings]
            table.add_row("small set", "\n".join(lines))
        table.add_row("hashes", f"PDQ, of {manifest.hashes.usable} references" if manifest.hashes else "none")
        found = describe_clusters(manifest.clusters, manifest.count) if manifest.clusters else ["not looked for"]
        table.add_row("clusters", "\n".join(found))
        changed = describe(manifest.transform, manifest.embedder.dim) if manifest.transform else ["none"]
        table.add_row("transform", "\n".join(changed))
        table.add_row("sources", "\n".join(manifest.sources))
        table.add_row("collections", _counts(manifest.collections))
        table.add_row("overlay", _counts({kind.replace("_", " "): n for kind, n in overlay.items() if n}))
        table.add_row("skipped", _counts(manifest.skipped))
        table.add_row("notes", _counts(manifest.notes))
        if manifest.thresholds:
            advice = manifest.thresholds
            hold = "; they do not hold after the transform" if manifest.transform else ""
            table.add_row("thresholds", f"flag {advice.flag:.4f}, block {advice.block:.4f} ({advice.source}){hold}")
        if calibration:
            stale = calibration.stale(manifest, datetime.now(UTC))
            rates = [f"{one.rate:g}: threshold {one.similarity:.4f}" for one in calibration.thresholds]
            said = [f"stale: {reason}" for reason in stale]
            table.add_row("calibration", "\n".join([*calibration_lines(calibration), *rates, *said]))
        else:
            table.add_row("calibration", "none")
        table.add_row("files", _counts({n: f"{f.bytes} bytes" for n, f in manifest.files.items()}))
        out.print(table)


index_app.command()(verify)
index_app.command()(merge)
index_app.command()(remove)
index_app.command()(transform)


def _limits(max_pixels: int | None) -> Any:
    from guard.indexes.preparation import Limits

    return Limits(max_pixels=max_pixels) if max_pixels else Limits()


def _clustered(index: Path, workers: int | None, keep: int, key: SealingKey | None, quiet: bool) -> ClustersEntry:
    from guard.dedup.clusters import find_clusters

    with staged(quiet=quiet) as on_progress:
        return find_clusters(index, workers=workers, keep=keep, key=key, on_progress=on_progress)


def _manifest(index: Path) -> tuple[str, Manifest]:
    from guard.indexes.layout import IndexFolder
    from guard.indexes.manifest import MANIFEST, Manifest

    folder = IndexFolder(index)
    name = folder.current()
    return name, Manifest.read(folder.version(name) / MANIFEST)


def _show(
    report: BuildReport, as_json: bool, small: SmallReport | None = None, clusters: ClustersEntry | None = None
) -> Exit:
    if small is not None or clusters is not None:
        report = replace(report, version=_manifest(report.path)[0])
    nothing = not (report.added or report.skipped or report.unchanged)
    code = Exit.INPUT if report.skipped or nothing else Exit.FINE
    if nothing:
        beside = f", only {report.ignored} other files" if report.ignored else ""
        err.print(f"the source holds no picture{beside}: look at its path and kind", style="yellow", soft_wrap=True)
    if as_json:
        said = clusters.model_dump(mode="json") if clusters else None
        print_json({**report.to_dict(), "small": small_json(small), "clusters": said})
        return code
    if report.unchanged:
        out.print(
            f"{report.path} is complete, and its source has not changed (--restart builds it anew)", soft_wrap=True
        )
    else:
        resumed = f", resumed at item {report.resumed_at}" if report.resumed_at else ""
        rate = f"{report.seconds:.1f} s, {report.images_per_second:.0f} images/s{resumed}"
        out.print(f"{report.added} references added in {rate}", soft_wrap=True)
    out.print(f"{report.path}, version {report.version}: {report.count} references", soft_wrap=True)
    if report.notes:
        out.print(f"handled: {_counts(report.notes, ', ')}", soft_wrap=True)
    if report.background_left_out:
        left = f"{report.background_left_out} background pictures are references now, and left the background"
        out.print(left, soft_wrap=True)
    if report.transform_lost:
        err.print("the version before had a transform, and this one has none: `memguard index transform` makes one",
                  style="yellow", soft_wrap=True)  # fmt: skip
    if report.ignored:
        out.print(f"{report.ignored} files beside the pictures were ignored", soft_wrap=True)
    if report.skipped:
        table = Table("skipped because", "pictures", box=None, pad_edge=False)
        for reason, count in report.skipped.items():
            table.add_row(reason, str(count))
        out.print(table)
        listed = report.path / "versions" / report.version / "skipped.jsonl"
        out.print(f"each one with its reason: {listed}", soft_wrap=True)
    if small is not None:
        show_small(small)
    if clusters is not None:
        from guard.indexes.clusters import describe_clusters

        out.print(f"clusters: {describe_clusters(clusters, report.count)[0]}", soft_wrap=True)
    return code


def _counts(counts: dict[str, Any], between: str = "\n") -> str:
    return between.join(f"{name}: {count}" for name, count in counts.items()) or "none"
