"""`memguard events review`: what a person says of a logged image, as on the review page. Knows options; no SQL."""

from __future__ import annotations

import getpass
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from guard.cli.console import err, errors_to_exit, number_of, out, print_json
from guard.cli.optout import WhoOption
from guard.errors import ConfigError

__all__ = ["review"]


class Word(StrEnum):
    CONFIRM = "confirm"
    NOT_A_COPY = "not-a-copy"
    UNSURE = "unsure"


def review(
    log: Annotated[Path, typer.Argument(metavar="LOG", help="File of the log: events.path of the guard.")],
    id: Annotated[str, typer.Argument(metavar="ID", help="Its id, or the first 8 digits or more of it.")],  # noqa: A002
    index: Annotated[Path, typer.Option(metavar="X.index", help="Index that it was checked against.")],
    outcome: Annotated[
        Word | None, typer.Argument(metavar="OUTCOME", help="confirm, not-a-copy or unsure; none with --undo.")
    ] = None,
    every: Annotated[
        bool, typer.Option("--all", help="not-a-copy of all references that match it (default: of the nearest).")
    ] = False,
    undo: Annotated[bool, typer.Option("--undo", help="Take the last outcome back, and what it exempted.")] = False,
    note: Annotated[str, typer.Option(help="For whoever reads the review.")] = "",
    who: WhoOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")] = False,
) -> None:
    """Review a logged image. "not-a-copy" exempts it from the reference, from the next check on.

    The reference counts for every other image. `memguard policy exemptions` lists what is exempt.

    [bold]Examples[/bold]

    memguard events review events.sqlite 3f9c2a61 confirm --index training.index

    memguard events review events.sqlite 3f9c2a61 not-a-copy --index training.index --note 'another facade'

    memguard events review events.sqlite 3f9c2a61 --undo --index training.index
    """
    with errors_to_exit():
        from guard.events import EventLog, Outcome
        from guard.reviewing import Reviews

        if (outcome is None) != undo:
            raise ConfigError("give one outcome (confirm, not-a-copy or unsure), or --undo")
        opened = EventLog(log)
        event = opened.get(id)
        if event is None:
            raise ConfigError(f"{log} holds no event {id!r}, or several that begin so; `memguard events list` has ids")
        reviews, name = Reviews.at(index, opened), who or getpass.getuser()
        if event.detail["index"] != reviews.index:
            raise ConfigError(f"event {event.id} was checked against {event.detail['index']}, and not {reviews.index}")
        if undo:
            if event.outcome is None:
                raise ConfigError(f"no review of event {event.id} stands that could be taken back")
            standing = reviews.undo(event, who=name)
        else:
            standing = Outcome(str(outcome).replace("-", "_"))
            matches = range(len(event.matches)) if every else (0,)
            reviews.say(event, standing, who=name, note=note, matches=matches)
        exempted = reviews.exempt_pairs(event)
        problem = reviews.problem(event) if standing is Outcome.NOT_A_COPY and not exempted else ""
        if as_json:
            said = standing.value if standing else None
            print_json({"id": event.id, "outcome": said, "exempted": exempted, "not_exempted": problem or None})
            return
        word = standing.value.replace("_", " ") if standing else "not reviewed"
        out.print(f"{event.id}: {word}; {number_of(exempted, 'pair')} exempt by it")
        if problem:
            err.print(f"nothing is exempt: {problem}", style="yellow", soft_wrap=True)
