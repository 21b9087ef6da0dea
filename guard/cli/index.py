"""The verbs of `memguard index`, one file a verb or a few that belong together. Knows their order and no option."""

from __future__ import annotations

import typer

from guard.cli.index_add import add
from guard.cli.index_build import build
from guard.cli.index_edit import merge, remove, verify
from guard.cli.index_info import info
from guard.cli.index_transform import transform

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

for _verb in (build, add, info, verify, merge, remove, transform):
    index_app.command()(_verb)
