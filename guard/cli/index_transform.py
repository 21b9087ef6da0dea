"""`memguard index transform`: whitening and score normalisation of an index. Knows options and lines; no maths."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from guard.cli.console import Exit, err, errors_to_exit, number_of, out, print_json
from guard.cli.index_options import IndexArgument, JsonOption, KeepOption, WorkersOption
from guard.cli.progress import counted

__all__ = ["transform"]


def transform(
    index: IndexArgument,
    whiten: Annotated[
        bool | None,
        typer.Option("--whiten/--no-whiten", help="Fit a whitening on all references, or take it off (default: keep)."),
    ] = None,
    rivals: Annotated[
        bool | None,
        typer.Option(
            "--rivals/--no-rivals",
            help="Weigh similarities in checks beside those of other references, or not (default: keep).",
        ),
    ] = None,
    shrinkage: Annotated[
        float | None, typer.Option(help="Of the covariance, 0 to 1 (default: Ledoit and Wolf's estimate).")
    ] = None,
    dim: Annotated[int | None, typer.Option(help="Directions that the whitening keeps (default: all).")] = None,
    power: Annotated[
        float | None, typer.Option(help="How far to whiten, above 0, to 1, which is fully (default: 0.5).")
    ] = None,
    background: Annotated[
        str | None,
        typer.Option(
            metavar="SOURCE",
            help="Pictures outside of the index, named as for `index build`: similarities are lowered by the query's "
            "mean similarity to the nearest of them. none takes that off.",
        ),
    ] = None,
    beta: Annotated[float | None, typer.Option(help="Share of that mean that is subtracted (default: 1).")] = None,
    nearest: Annotated[int | None, typer.Option(help="Background pictures that the mean is over (default: 3).")] = None,
    remove: Annotated[bool, typer.Option("--remove", help="Take the whole transform off.")] = False,
    embedder: Annotated[
        str | None,
        typer.Option(help="For a background, where the index's embedder was a file: onnx:FILE or torchscript:FILE."),
    ] = None,
    workers: WorkersOption = None,
    keep: KeepOption = 2,
    as_json: JsonOption = False,
) -> None:
    """Change how an index compares: a version with a whitening, a score normalisation, both, or neither.

    What is not spoken of stays. Thresholds are those of the similarities before: set new ones afterwards.

    [bold]Examples[/bold]

    memguard index transform scans.index --whiten

    memguard index transform training.index --background other-photos/ --beta 0.5

    memguard index transform training.index --remove
    """
    from guard.errors import ConfigError
    from guard.indexes.transforming import NONE, describe, remove_transform, transform_index
    from guard.indexes.usual import advised

    with errors_to_exit():
        if remove and not all(x is None for x in (whiten, rivals, shrinkage, dim, power, background, beta, nearest)):
            raise ConfigError("--remove takes the whole transform off; give it alone")
        if remove:
            report = remove_transform(index, keep=keep)
        else:
            pictures = background is not None and background != NONE
            with counted("embedding the background", quiet=as_json) as on_progress:
                report = transform_index(
                    index,
                    whiten=whiten,
                    rivals=rivals,
                    shrinkage=shrinkage,
                    dim=dim,
                    power=power,
                    background=background,
                    embedder=_embedder(index, embedder) if pictures else None,
                    beta=beta,
                    nearest=nearest,
                    workers=workers,
                    keep=keep,
                    on_progress=on_progress,
                )
        if as_json:
            print_json(report.to_dict())
        else:
            out.print(
                f"{report.path}, version {report.version}: {number_of(report.count, 'reference')}", soft_wrap=True
            )
            for line in describe(report.transform, _dim(index)) if report.transform else ["no transform"]:
                out.print(line, soft_wrap=True)
            if report.background_left_out:
                out.print(f"{report.background_left_out} background pictures are references, or nearly: left out",
                          soft_wrap=True)  # fmt: skip
            if report.transform and advised(_manifest(index).spec, report.transform) is None:
                err.print("the embedder's thresholds do not hold for these similarities: set policy.flag and "
                          "policy.block", style="yellow", soft_wrap=True)  # fmt: skip
        for skip in report.skips:
            err.print(f"skipped: {skip.detail}", style="yellow", markup=False, soft_wrap=True)
        raise typer.Exit(Exit.INPUT if report.skips else Exit.FINE)


def _embedder(index: Path, named: str | None) -> Any:
    from guard.embedders.registry import load_index_embedder

    return load_index_embedder(_manifest(index).embedder.name, named)


def _dim(index: Path) -> int:
    return int(_manifest(index).embedder.dim)


def _manifest(index: Path) -> Any:
    from guard.indexes.layout import IndexFolder
    from guard.indexes.manifest import MANIFEST, Manifest

    folder = IndexFolder(index)
    return Manifest.read(folder.version(folder.current()) / MANIFEST)
