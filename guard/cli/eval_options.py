"""Options that several verbs of `memguard eval` share: pictures, groups and sources. Knows no evaluation."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from guard.cli.console import goes_on
from guard.errors import ConfigError

__all__ = [
    "PHOTOGRAPHS",
    "Cache",
    "Embedders",
    "Groups",
    "Images",
    "JsonFile",
    "Limit",
    "OneSource",
    "Same",
    "Seed",
    "Splits",
    "groups_of",
    "require_folder",
    "stopped",
]

PHOTOGRAPHS = "photographs"  # the group of --images

JsonFile = Annotated[Path, typer.Option("--json", help="Write all figures to this JSON file.")]
Images = Annotated[list[Path] | None, typer.Option(metavar="DIR", help="Folder of photographs; repeatable.")]
Groups = Annotated[
    list[str] | None,
    typer.Option("--group", metavar="NAME=DIR", help="Folder of another group, e.g. xrays=scans/; may be repeated."),
]
Embedders = Annotated[
    list[str] | None,
    typer.Option(
        "--embedder", metavar="NAME", help="Embedder to compare with, named as for `index build`; may be repeated."
    ),
]
Splits = Annotated[int, typer.Option(min=1, help="Seeded divisions into references and negatives.")]
Limit = Annotated[int | None, typer.Option(min=5, help="At most so many pictures a group.")]
Seed = Annotated[int, typer.Option(min=0, help="Of the choice of pictures, splits, edits and resamples.")]
Same = Annotated[
    list[Path] | None,
    typer.Option(metavar="TSV", help="Table of files that show one source: `file`, label; or pairs. Repeatable."),
]
OneSource = Annotated[
    list[Path] | None,
    typer.Option(metavar="DIR", help="Folder whose pictures all show one source; may be repeated."),
]
Cache = Annotated[
    Path | None, typer.Option(help="Folder that keeps what was computed: a stopped or repeated run goes on from it.")
]


def stopped(cache: Path | None) -> str:
    """What is said of an evaluation that was stopped."""
    return goes_on() if cache else "stopped: with --cache FOLDER a run keeps what it computed, and goes on from it"


def groups_of(images: list[Path] | None, named: list[str] | None) -> dict[str, list[Path]]:
    """Raises ConfigError for a --group that is not NAME=DIR, or without any picture."""
    groups: dict[str, list[Path]] = {PHOTOGRAPHS: list(images)} if images else {}
    for text in named or []:
        name, equals, folder = text.partition("=")
        if not (name and equals and folder):
            raise ConfigError(f"--group {text!r}: write NAME=DIR, e.g. xrays=scans/")
        groups.setdefault(name, []).append(Path(folder))
    if not groups:
        raise ConfigError("give pictures: --images DIR, or --group NAME=DIR")
    return groups


def require_folder(file: Path) -> None:
    """Raises ConfigError for a file that could not be written at the end of a long run."""
    if not file.resolve().parent.is_dir():
        raise ConfigError(f"no such folder: {file.resolve().parent}")
    if file.is_dir():
        raise ConfigError(f"{file} is a folder; name a file in it")
