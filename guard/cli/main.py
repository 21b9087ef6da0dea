"""The `memguard` command: one file a verb, and the verbs of integrations by entry point."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from typing import Annotated

import typer

from guard._version import __version__
from guard.cli.bench import bench
from guard.cli.calibrate import calibrate
from guard.cli.check import check
from guard.cli.console import Exit, err, escape_what_cannot_be_printed
from guard.cli.dedup import dedup
from guard.cli.eval import eval_app
from guard.cli.events import events_app
from guard.cli.index import index_app
from guard.cli.models import models_app
from guard.cli.optout import optout_app
from guard.cli.policy import policy_app
from guard.cli.search import search

__all__ = ["ENTRY_POINTS", "app", "main", "verb_of"]

ENTRY_POINTS = "memguard.commands"

app = typer.Typer(
    name="memguard",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="""Find near-copies of training images in what an image-generation pipeline makes.

    [bold]Examples[/bold]

    memguard demo

    memguard index build photos/ --out training.index

    memguard check render.png --index training.index --fail-on block""",
    epilog="Exit codes: 0 fine; 1 found what was asked for; 2 usage or bad input; 3 the guard could not run.",
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"memguard {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    del version  # its callback has answered
    escape_what_cannot_be_printed()


def verb_of(point: EntryPoint) -> Callable[..., None] | typer.Typer:
    """The verb of an integration, or its group of verbs.

    One that cannot be imported says so when it is called, and costs no other verb.
    """
    try:
        loaded: Callable[..., None] | typer.Typer = point.load()
    except Exception as exc:  # foreign code: anything may go wrong in it
        problem = f"{point.name} comes from {point.value}, which cannot be loaded ({type(exc).__name__}: {exc})"
    else:
        return loaded

    def broken() -> None:
        """Cannot be loaded; call it to see why."""
        err.print(f"error: {problem}; reinstall the package that brings it", style="red", soft_wrap=True)
        raise typer.Exit(Exit.FAILED)

    return broken


app.command()(check)
app.add_typer(index_app, name="index")
app.command()(search)
app.add_typer(optout_app, name="optout")
app.command()(calibrate)
app.add_typer(policy_app, name="policy")
app.command()(dedup)
app.add_typer(models_app, name="models")
app.command()(bench)
app.add_typer(eval_app, name="eval")
app.add_typer(events_app, name="events")
_GROUPS = {"eval": eval_app}  # that integrations may add to: the entry point `eval.NAME` is `memguard eval NAME`
for _point in sorted(entry_points(group=ENTRY_POINTS), key=lambda point: point.name):
    _verb, (_group, _, _name) = verb_of(_point), _point.name.rpartition(".")
    _into = _GROUPS.get(_group, app)
    if isinstance(_verb, typer.Typer):
        _into.add_typer(_verb, name=_name)
    else:
        _into.command(_name)(_verb)


def main() -> None:
    try:
        app()
    except Exception:  # Python would leave with 1, which here means "found what was asked for"
        traceback.print_exc()
        sys.exit(Exit.FAILED)
