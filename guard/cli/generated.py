"""`memguard calibrate --pipeline`: its options, and the integration that draws. Knows no pipeline itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated, Any

import typer

from guard.errors import ConfigError, MissingExtraError

__all__ = [
    "GENERATORS",
    "BatchOption",
    "DeviceOption",
    "Drawing",
    "GenerationsOption",
    "GuidanceOption",
    "PipelineOption",
    "PromptsOption",
    "RestartOption",
    "StateOption",
    "StepsOption",
]

GENERATORS = "memguard.generators"
"""Entry points whose function makes pictures; see guard_diffusers.clean.generate_clean."""

PipelineOption = Annotated[
    str | None,
    typer.Option(
        metavar="MODEL",
        help="Make the clean pictures with your pipeline: its folder, a name that diffusers can load, or "
        "MODULE:FUNCTION, as for `memguard audit`.",
    ),
]
PromptsOption = Annotated[
    Path | None,
    typer.Option(
        help="Of --pipeline: a file of prompts, one a line, or a .csv or .jsonl with a column `prompt` or `caption`."
    ),
]
GenerationsOption = Annotated[
    int, typer.Option("--generations", "-n", min=1, help="Of --pipeline: pictures of each prompt.")
]
StateOption = Annotated[Path, typer.Option(help="Of --pipeline: folder of the pictures, to look at and to go on from.")]
RestartOption = Annotated[bool, typer.Option("--restart", help="Of --pipeline: drop what the state holds.")]
StepsOption = Annotated[
    int | None, typer.Option(min=1, help="Of --pipeline: denoising steps (default: the pipeline's).")
]
GuidanceOption = Annotated[float | None, typer.Option(help="Of --pipeline: guidance scale (default: the pipeline's).")]
DeviceOption = Annotated[
    list[str] | None,
    typer.Option(help="Of --pipeline: cuda:0, cuda:1, cpu, …; repeat it for several, each with a copy."),
]
BatchOption = Annotated[int, typer.Option(min=1, help="Of --pipeline: pictures of one call.")]


@dataclass(frozen=True, slots=True)
class Drawing:
    """What to draw, and with which pipeline."""

    model: str
    prompts: Path | None
    generations: int
    state: Path
    restart: bool
    steps: int | None
    guidance: float | None
    devices: list[str]
    batch: int
    seed: int

    def draw(self, on_progress: Callable[[int, int | None], None]) -> Path:
        """Make the pictures that are missing; returns their folder.

        Raises MissingExtraError without an integration that draws, ConfigError for what it cannot draw with, CheckError
        if it fails.
        """
        from guard.calibration.calibrate import LEAST_PICTURES

        call: dict[str, Any] = {"num_inference_steps": self.steps, "guidance_scale": self.guidance}
        for point in entry_points(group=GENERATORS):
            try:
                generate = point.load()
            except ImportError as exc:
                raise MissingExtraError("calibrating with a pipeline", extra="diffusers") from exc
            made = generate(
                self.model,
                state=self.state,
                prompts=self.prompts,
                generations=self.generations,
                call={name: value for name, value in call.items() if value is not None},
                devices=self.devices,
                batch=self.batch,
                seed=self.seed,
                restart=self.restart,
                least=LEAST_PICTURES,
                on_progress=on_progress,
            )
            return Path(made)
        raise ConfigError("no installed package draws with a pipeline: install memorization-guard anew")
