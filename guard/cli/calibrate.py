"""`memguard calibrate`: thresholds from target false-positive rates. Knows options, lines and a table; no maths."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from guard.cli.console import Exit, err, errors_to_exit, goes_on, number_of, out, print_json
from guard.cli.generated import (
    BatchOption,
    DeviceOption,
    Drawing,
    GenerationsOption,
    GuidanceOption,
    PipelineOption,
    PromptsOption,
    RestartOption,
    StateOption,
    StepsOption,
)
from guard.cli.progress import counted

if TYPE_CHECKING:
    from guard.calibration.calibrate import CalibrationReport
    from guard.calibration.record import Calibration
    from guard.indexes.manifest import Manifest

__all__ = ["calibrate", "calibration_lines", "calibration_summary"]

NAMED = 10  # pictures that are named one by one


class Views(StrEnum):
    """guard.embedders.views.AskedViews, for the command line."""

    AUTO = "auto"
    ONE = "one"
    WINDOWS = "windows"
    TURNS = "turns"
    CROPS = "crops"
    BOTH = "turns+crops"
    LEVELS = "levels"
    CROPS_AND_LEVELS = "crops+levels"
    WINDOWS_AND_LEVELS = "windows+levels"


def calibrate(
    index: Annotated[Path, typer.Argument(metavar="X.index", help="Folder of the index.")],
    clean: Annotated[
        str | None,
        typer.Option(
            metavar="SOURCE",
            help="Pictures that are no copies, e.g. generations of your own pipeline that somebody looked at; named as "
            "for `index build`.",
        ),
    ] = None,
    from_references: Annotated[
        bool, typer.Option("--from-references", help="Look up each reference among the others instead.")
    ] = False,
    pipeline: PipelineOption = None,
    prompts: PromptsOption = None,
    generations: GenerationsOption = 1,
    steps: StepsOption = None,
    guidance: GuidanceOption = None,
    device: DeviceOption = None,
    batch: BatchOption = 16,
    state: StateOption = Path("memguard-calibrate"),
    restart: RestartOption = False,
    target: Annotated[
        list[float] | None,
        typer.Option("--target", help="False-positive rate to show a threshold for; repeatable (1e-3 and 1e-5)."),
    ] = None,
    query_views: Annotated[
        Views,
        typer.Option(
            help="As in the checks: the setting `query_views` (auto: of clean pictures as checks do by themselves, of "
            "references one)."
        ),
    ] = Views.AUTO,
    hashes: Annotated[
        bool, typer.Option("--hashes/--no-hashes", help="Whether PDQ counts as in the setting `policy.identical`.")
    ] = True,
    verify: Annotated[
        bool | None,
        typer.Option(
            "--verify/--no-verify",
            help="Whether pixels are compared as well, as with the setting `verify` (default: if that can be done).",
        ),
    ] = None,
    candidates: Annotated[
        int, typer.Option(min=1, max=100, help="References looked at for each picture: the setting verify_candidates.")
    ] = 30,
    duplicate: Annotated[
        float, typer.Option(help="Of references: cosine above which two of them are one picture.")
    ] = 0.95,
    limit: Annotated[int, typer.Option(min=1, help="Of references: at most so many are looked up.")] = 100_000,
    seed: Annotated[int, typer.Option(min=0, help="Of the choice of references, and of the generations.")] = 0,
    embedder: Annotated[
        str | None,
        typer.Option(help="Needed where the index's embedder was a file: onnx:FILE or torchscript:FILE."),
    ] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Decoding threads (default: one a core).")] = None,
    keep: Annotated[int, typer.Option(min=1, help="Versions to keep, the new one included.")] = 2,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")] = False,
) -> None:
    """Measure how often pictures that are no copies match, and keep the result with the index.

    `policy.block = "fpr:1e-5"` and `Policy(block=fpr(1e-5))` then mean the threshold that keeps this rate.

    [bold]Examples[/bold]

    memguard calibrate training.index --clean generations/

    memguard calibrate training.index --pipeline my-model/ --prompts prompts.txt --generations 4

    memguard calibrate training.index --from-references --target 1e-2 --target 1e-3
    """
    from guard.calibration.calibrate import TARGETS, calibrate_index
    from guard.errors import ConfigError

    with errors_to_exit(stopped=goes_on(restart=restart) if pipeline is not None else "stopped"):
        if [clean is not None, pipeline is not None, from_references].count(True) != 1:
            raise ConfigError("say what is clean: --clean SOURCE, --pipeline MODEL, or --from-references")
        if pipeline is None and prompts is not None:
            raise ConfigError("--prompts are for a --pipeline: name one")
        loaded = _embedder(index, embedder) if not from_references else None
        if pipeline is not None:
            wanted = Drawing(pipeline, prompts, generations, state, restart, steps, guidance, device or [], batch, seed)
            with counted("generating", quiet=as_json) as on_progress:
                clean = str(wanted.draw(on_progress))
        with counted("looking up", quiet=as_json) as on_progress:
            report = calibrate_index(
                index,
                clean=clean,
                embedder=loaded,
                targets=tuple(target) if target else TARGETS,
                query_views=query_views.value,
                hashes=hashes,
                verify=verify,
                candidates=candidates,
                duplicate=duplicate,
                limit=limit,
                seed=seed,
                workers=workers,
                keep=keep,
                on_progress=on_progress,
            )
        if as_json:
            print_json(report.to_dict())
        else:
            _show(report)
            if pipeline is not None:
                err.print(f"the generations are in {clean}: look at them; once copies are taken out, name that folder "
                          "with --clean", style="dim", soft_wrap=True)  # fmt: skip
        for skip in report.skips:
            err.print(f"skipped: {skip.detail}", style="yellow", markup=False, soft_wrap=True)
        missed = bool(target and report.calibration.unsupported)
        raise typer.Exit(Exit.INPUT if report.skips or missed else Exit.FINE)


def calibration_lines(calibration: Calibration) -> list[str]:
    """In words, for people: what it rests on."""
    from guard.evaluation.intervals import clopper_pearson

    one = calibration
    seen = clopper_pearson(one.identical, one.pictures)
    left_out = "".join(f", {count} left out ({reason})" for reason, count in one.left_out.items())
    lines = [
        f"{one.pictures} clean pictures ({one.described}{left_out}) against {one.count} references, "
        f"{one.created_at:%Y-%m-%d}",
    ]
    if one.source == "references":
        lines.append(
            f"a cosine above {one.duplicate:g} counted as the same picture; design effect {one.design_effect:.2f}"
        )
    elif one.hashes:
        lines.append(f"identical to a reference by PDQ: {one.identical} of {one.pictures}, at most {seen.high:.2g}")
    lines += one.unknown
    if one.tail is None:
        lines.append(f"nothing beyond the counts: {one.tail_refused}")
    else:
        lines.append(
            f"tail: the {one.tail.exceeding} similarities above {one.tail.start:.4f}, generalised Pareto with shape "
            f"{one.tail.shape:.3f} and scale {one.tail.scale:.4f}; fit p = {one.tail.p:.2g}"
        )
    if one.pixels is not None:
        strengths, least = one.pixels.strengths, one.pixels.strengths.sample
        found = clopper_pearson(least.reaching(0.0) / least.design_effect, least.effective)
        lines.append(
            f"pixels compared with the {one.pixels.candidates} nearest of {strengths.pictures}: {least.reaching(0.0)} "
            f"called a copy, at most {found.high:.2g}; "
            + (f"beyond: no tail ({strengths.tail_refused})" if strengths.tail is None else "beyond: a tail")
        )
    if one.dispersion is not None:
        lines.append(f"matches cluster (dispersion {one.dispersion:.2g}): they grow slower than the references")
    return lines


def calibration_summary(calibration: Calibration, manifest: Manifest, held: int) -> dict[str, Any]:
    """Plain JSON values for `index info`. held: references, with what the overlay adds and buries."""
    return {
        "created_at": calibration.created_at.isoformat(),
        "source": calibration.source,
        "pictures": calibration.pictures,
        "count": calibration.count,
        "query_views": calibration.query_views,
        "thresholds": [entry.model_dump() for entry in calibration.thresholds],
        "unsupported": dict(calibration.unsupported),
        "with_pixels": [entry.model_dump() for entry in calibration.pixels.thresholds] if calibration.pixels else None,
        "stale": calibration.stale(manifest, datetime.now(UTC), count=held),
        "unknown": calibration.unknown,
    }


def _show(report: CalibrationReport) -> None:
    from guard.calibration.strength import in_words

    one = report.calibration
    out.print(f"{report.path}, version {report.version}: {number_of(one.count, 'reference')}", soft_wrap=True)
    for line in calibration_lines(one):
        out.print(line, soft_wrap=True)
    table = Table("false-positive rate", "threshold", "most likely", "95 % interval", "by", box=None, pad_edge=False)
    for entry in one.thresholds:
        table.add_row(
            f"{entry.rate:g}",
            f"{entry.similarity:.4f}",
            f"{entry.estimate:.4f}",
            f"{entry.low:.4f} to {entry.similarity:.4f}",
            "counts" if entry.method == "empirical" else "tail",
        )
    for rate in one.unsupported:
        table.add_row(rate, "not supported", "", "", "")
    out.print(table)
    if one.pixels is not None:
        whole = Table("with verify", "threshold", "pixels count by themselves from", box=None, pad_edge=False)
        for both in one.pixels.thresholds:
            similarity = "not supported" if both.similarity is None else f"{both.similarity:.4f}"
            strength = math.inf if both.strength is None else both.strength
            from_ = "" if both.strength is None else f"strength {strength:.2f}: "
            whole.add_row(f"{both.rate:g}", similarity, from_ + in_words(strength))
        out.print(whole)
    for rate, why in one.unsupported.items():
        err.print(f"{rate}: {why}", style="yellow", markup=False, soft_wrap=True)
    if report.copies:
        err.print(f"called copies by their pixels, {len(report.copies)} in all: "
                  + ", ".join(f"{image} ({uri})" for image, uri, _ in report.copies[:NAMED])
                  + "; look at them, take copies out, and calibrate again", style="yellow", markup=False,
                  soft_wrap=True)  # fmt: skip
    if report.identical:
        more = f" and {len(report.identical) - NAMED} others" if len(report.identical) > NAMED else ""
        err.print(f"identical to a reference by PDQ: {', '.join(report.identical[:NAMED])}{more}; take copies out of "
                  "the clean pictures, and calibrate again", style="yellow", markup=False, soft_wrap=True)  # fmt: skip


def _embedder(index: Path, named: str | None) -> Any:
    from guard.embedders.registry import load_index_embedder
    from guard.indexes.layout import IndexFolder
    from guard.indexes.manifest import MANIFEST, Manifest

    folder = IndexFolder(index)
    built_with = Manifest.read(folder.version(folder.current()) / MANIFEST).embedder.name
    return load_index_embedder(built_with, named)
