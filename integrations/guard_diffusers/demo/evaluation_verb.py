"""`memguard eval pipeline`: the guard on a pipeline that memorised, against an exhaustive pixel search."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from guard.cli.console import Exit, errors_to_exit, goes_on, out
from guard.cli.progress import staged

__all__ = ["pipeline"]


def pipeline(
    json_file: Annotated[Path, typer.Option("--json", help="Write all figures to this JSON file.")],
    folder: Annotated[
        Path, typer.Option("--out", help="Where training set, index and generations are kept; a stopped run goes on.")
    ] = Path("memguard-pipeline"),
    calibration: Annotated[
        int, typer.Option(min=100, help="Control generations that the index is calibrated on.")
    ] = 2000,
    controls: Annotated[
        int, typer.Option(min=1, help="Other control generations, which must pass; some turn out to be copies.")
    ] = 2050,
    per_picture: Annotated[int, typer.Option(min=1, help="Generations of each planted caption.")] = 50,
    flag: Annotated[float, typer.Option(help="Target false-positive rate of a flag.")] = 1e-2,
    block: Annotated[float, typer.Option(help="Target false-positive rate of a block.")] = 2e-4,
    seed: Annotated[int, typer.Option(min=0, help="Of the generations.")] = 0,
    threads: Annotated[int | None, typer.Option(min=1, help="Of torch (default: its own).")] = None,
) -> None:
    """Guard the demo's pipelines: is every memorised generation blocked, and no other?

    What is memorised is decided by pixels alone, against all training pictures. Three guards are held against that:
    with thresholds calibrated to the rates, comparing pixels; the same without compared pixels; and with the embedder's
    own thresholds. Exit code 1 if the first let a copy pass, blocked an original, or flagged more or less of them than
    calibrated.

    [bold]Examples[/bold]

    memguard eval pipeline --json pipeline.json

    memguard eval pipeline --calibration 1000 --controls 200 --per-picture 4 --block 1e-2 --json small.json
    """
    from guard.cli.eval_options import require_folder

    with errors_to_exit(stopped=goes_on()):
        require_folder(json_file)
        from guard_diffusers.demo.evaluation import DECIDES, PipelineSettings, evaluate_pipeline

        settings = PipelineSettings(calibration, controls, per_picture, flag, block, seed)
        if threads is not None:
            import torch

            torch.set_num_threads(threads)
        with staged() as progress:
            document = evaluate_pipeline(folder, settings, progress=progress)
        json_file.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
        _print(document)
        raise typer.Exit(Exit.FINE if _held(document["guards"][DECIDES]) else Exit.FOUND)


def _held(guard: dict[str, Any]) -> bool:
    """Whether a guard did all that it should."""
    return not guard["copies"]["missed"] and not guard["originals"]["blocked"] and guard["flag_rate"]["inside"]


def _print(document: dict[str, Any]) -> None:
    heads = ("generations", "copies of planted", "copies of others", "own caption", "unclear")
    table = Table("stage", *heads, box=None, pad_edge=False)
    for name, one in document["stages"].items():
        table.add_row(name, *(str(one[key.replace(" ", "_")]) for key in heads))
    out.print(table)
    fresh = document["fresh_drawings"]
    out.print(f"{fresh['copies']} of {fresh['pictures']} drawings that no model made are copies by the same criteria",
              soft_wrap=True)  # fmt: skip
    for name, one in document["guards"].items():
        originals, rate = one["originals"], one["flag_rate"]
        out.print(f"\n{name}", style="bold")
        for part in ("planted", "others"):
            copies = one["copies"][part]
            out.print(f"copies of {part} pictures blocked: {copies['blocked']} of {copies['generations']}, flagged or "
                      f"blocked: {copies['flagged']}", soft_wrap=True)  # fmt: skip
        out.print(f"originals blocked: {originals['blocked']} of {originals['generations']}, at most "
                  f"{100 * originals['upper_bound']:.3f} %", soft_wrap=True)  # fmt: skip
        shown = " ".join(f"{100 * rate[end]:.2f}" for end in ("low", "high"))
        out.print(f"control generations flagged: {100 * rate['observed']:.2f} %, predicted "
                  f"{100 * rate['predicted']:.2f} [{shown}] %", soft_wrap=True)  # fmt: skip
