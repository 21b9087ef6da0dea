"""The options of every verb that checks pictures, and the settings that they come to. Knows no picture."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer

__all__ = [
    "BlockOption",
    "ConfigOption",
    "EmbedderOption",
    "FlagOption",
    "IndexOption",
    "OriginalsOption",
    "VerifyOption",
    "settings_of",
    "unhurried",
]

CALLED = {"policy.flag": "--flag", "policy.block": "--block", "embedder": "--embedder"}
"""The options that set a field, for errors."""
PATIENCE_MS = 60_000  # an image: no pipeline waits for a command, and its first pictures find nothing in memory

IndexOption = Annotated[Path, typer.Option(help="Index directory made by `memguard index build`.")]
ConfigOption = Annotated[Path | None, typer.Option(help="TOML file with settings.")]
EmbedderOption = Annotated[
    str | None, typer.Option(help="Embedder of the index, where it was a file: onnx:FILE or torchscript:FILE.")
]
FlagOption = Annotated[str | None, typer.Option(help="Similarity from which to flag, inclusive, or a rate: fpr:1e-3.")]
BlockOption = Annotated[str | None, typer.Option(help="Similarity from which to block, inclusive, or a rate.")]
VerifyOption = Annotated[
    bool | None,
    typer.Option(
        "--verify/--no-verify",
        help="Compare pixels with those of the references before deciding (default: where that can be done).",
    ),
]
OriginalsOption = Annotated[
    bool | None,
    typer.Option(
        "--originals/--no-originals",
        help="Read a reference's own file where the index holds no thumbnail of it (default: where it is there).",
    ),
]


def settings_of(
    *,
    embedder: str | None,
    flag: str | None,
    block: str | None,
    verify: bool | None,
    originals: bool | None = None,
) -> dict[str, Any]:
    """Keywords of Guard.open; what was not given stays with file and environment."""
    thresholds = {name: value for name, value in (("flag", flag), ("block", block)) if value is not None}
    given = {"policy": thresholds or None, "embedder": embedder, "verify": verify, "originals": originals}
    return {name: value for name, value in given.items() if value is not None}


def unhurried(config: Path | None, settings: dict[str, Any]) -> dict[str, Any]:
    """settings, with time enough to compare pixels unless file or environment bound it, and without a deadline."""
    from guard.config import load_config

    asked = load_config(config, environ=os.environ, called=CALLED, **settings)
    bounded = "verify_budget_ms" in asked.model_fields_set
    return {**settings, "deadline_s": None} | ({} if bounded else {"verify_budget_ms": PATIENCE_MS})
