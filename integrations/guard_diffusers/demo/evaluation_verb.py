"""`memguard eval pipeline`: the guard on a pipeline that memorised, against an exhaustive pixel search."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from guard.cli.console import Exit, errors_to_exit, out
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
    controls: Annotated[int, typer.Option(min=1, help="Other control generations, which must pass.")] = 2000,
    per_picture: Annotated[int, typer.Option(min=1, help="Generations of each planted caption.")] = 50,
    flag: Annotated[float, typer.Option(help="Target false-positive rate of a flag.")] = 1e-2,
    block: Annotated[float, typer.Option(help="Target false-positive rate of a block.")] = 1e-3,
    seed: Annotated[int, typer.Option(min=0, help="Of the generations.")] = 0,
    threads: Annotated[int | None, typer.Option(min=1, help="Of torch (default: its own).")] = None,
) -> None:
    """Guard the demo's pipelines: is every memorised generation blocked, and no other?

    What is memorised is decided by pixels alone, against all training pictures. Exit code 1 if a copy was not blocked,
    an original was, or the flag rate lies outside the calibrated interval.

    [bold]Examples[/bold]

    memguard eval pipeline --json pipeline.json

    memguard eval pipeline --calibration 1000 --controls 200 --per-picture 4 --block 1e-2 --json small.json
    """
    from guard.cli.eval_options import require_folder

    with errors_to_exit():
        require_folder(json_file)
        from guard_diffusers.demo.evaluation import PipelineSettings, evaluate_pipeline

        settings = PipelineSettings(calibration, controls, per_picture, flag, block, seed)
        if threads is not None:
            import torch

            torch.set_num_threads(threads)
        with staged() as progress:
            document = evaluate_pipeline(folder, settings, progress=progress)
        json_file.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
        _print(document)
        raise typer.Exit(Exit.FINE if all(_held(one) for one in document["guards"].values()) else Exit.FOUND)


def _held(guard: dict[str, Any]) -> bool:
    """Whether a guard did all that it should."""
    return not guard["copies"]["missed"] and not guard["originals"]["blocked"] and guard["flag_rate"]["inside"]


def _print(document: dict[str, Any]) -> None:
    heads = ("generations", "copies of planted", "near others", "unclear")
    table = Table("stage", *heads, box=None, pad_edge=False)
    for name, one in document["stages"].items():
        keys = ("generations", "copies_of_planted", "near_others", "unclear")
        table.add_row(name, *(str(one[key]) for key in keys))
    out.print(table)
    for name, one in document["guards"].items():
        copies, originals, rate = one["copies"], one["originals"], one["flag_rate"]
        out.print(f"\n{name}", style="bold")
        out.print(f"copies blocked: {copies['blocked']} of {copies['generations']}", soft_wrap=True)
        out.print(f"originals blocked: {originals['blocked']} of {originals['generations']}, at most "
                  f"{100 * originals['upper_bound']:.3f} %", soft_wrap=True)  # fmt: skip
        shown = " ".join(f"{100 * rate[end]:.2f}" for end in ("low", "high"))
        out.print(f"control generations flagged: {100 * rate['observed']:.2f} %, predicted "
                  f"{100 * rate['predicted']:.2f} [{shown}] %", soft_wrap=True)  # fmt: skip
