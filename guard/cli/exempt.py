"""`memguard policy exempt | exemptions | unexempt`: pictures that are no copies of single references. Knows options."""

from __future__ import annotations

import getpass
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from guard.cli.check import decoded
from guard.cli.check_options import ConfigOption, EmbedderOption, IndexOption, unhurried
from guard.cli.console import STYLES, errors_to_exit, number_of, out, print_json, print_rows
from guard.cli.moments import moment_of, time_cell
from guard.cli.optout import IdOption, UntilOption, UriOption, WhoOption, WhyOption
from guard.errors import InputError

__all__ = ["exempt", "exemptions", "unexempt"]

JsonOption = Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")]


def exempt(
    image: Annotated[Path, typer.Argument(metavar="IMAGE", help="Picture file that is no copy.")],
    index: IndexOption,
    ids: IdOption = None,
    uris: UriOption = None,
    sha256s: Annotated[
        list[str] | None, typer.Option("--sha256", help="Reference of these bytes; may be repeated.")
    ] = None,
    every: Annotated[
        bool, typer.Option("--all", help="All references that match it (default: the one that a check shows).")
    ] = False,
    who: WhoOption = None,
    why: WhyOption = "",
    until: UntilOption = None,
    config: ConfigOption = None,
    embedder: EmbedderOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say that a picture is no copy of a reference: from the next check on, also in services that run.

    The reference counts for every other picture, and all other references for this one. A flagged image of the
    decision log is better reviewed there: `memguard events review`, or the review page.

    [bold]Examples[/bold]

    memguard policy exempt render.png --index training.index --why 'another facade, same street'

    memguard policy exempt render.png --index training.index --all

    memguard policy exempt render.png --index training.index --uri photos/0042.jpg --until 90d --json
    """
    with errors_to_exit():
        from guard.exempting import exempt as said_to_be_none
        from guard.guard import Guard

        picture = decoded(image)
        if isinstance(picture, InputError):
            raise picture
        ends = moment_of(until, "--until", ahead=True)
        settings = {} if embedder is None else {"embedder": embedder}
        guard = Guard.open(index, config=config, **unhurried(config, settings))
        done = said_to_be_none(
            guard,
            picture,
            ids=ids or (),
            uris=uris or (),
            sha256s=sha256s or (),
            every=every,
            who=who or getpass.getuser(),
            why=why,
            until=ends,
        )
        if as_json:
            pairs = [{"pair": pair, "uri": uri} for pair, uri in done.pairs]
            verdicts = {"before": done.before.to_dict(), "after": done.after.to_dict()}
            print_json({"index": str(index), "image": str(image), "pairs": pairs, **verdicts})
            return
        for pair, uri in done.pairs:
            out.print(f"pair {pair}: {image} is no copy of {uri}", soft_wrap=True)
        said = Text("the picture was ")
        for verdict, after in ((done.before, ", and is now "), (done.after, "")):
            if verdict.decision is not None:
                said = said.append(verdict.decision.value, STYLES[verdict.decision]).append(after)
        out.print(said)


def exemptions(
    index: IndexOption,
    over: Annotated[bool, typer.Option("--over", help="Also those that are over already.")] = False,
    as_json: JsonOption = False,
) -> None:
    """List the pictures that are no copies of single references: since when, until when, and who said so.

    [bold]Examples[/bold]

    memguard policy exemptions --index training.index

    memguard policy exemptions --index training.index --over --json
    """
    with errors_to_exit():
        from guard.exempting import exemptions as of_index

        found = [one for one in of_index(index) if over or not one.over]
        if as_json:
            print_json({"index": str(index), "pairs": [one.to_dict() for one in found]})
            return
        table = Table("pair", "reference", "since (UTC)", "until", "who", "why", box=None, pad_edge=False)
        for one in found:
            ends = "for ever" if one.until is None else time_cell(one.until) + (", over" if one.over else "")
            cells = (str(one.pair), one.uri or f"{one.key} (gone)", time_cell(one.since), ends, one.who, one.why)
            table.add_row(*map(Text, cells))
        if found:
            print_rows(table)
        else:
            out.print("no picture is exempt")


def unexempt(
    pairs: Annotated[list[int], typer.Argument(metavar="PAIR", help="As `memguard policy exemptions` numbers them.")],
    index: IndexOption,
    who: WhoOption = None,
    why: WhyOption = "",
    as_json: JsonOption = False,
) -> None:
    """Take exemptions back; the next check sees it. The history keeps both (`memguard optout history`).

    One that a review of the decision log brought about is better undone there (`memguard events review --undo`, or the
    review page), so that the log says what holds.

    [bold]Example[/bold]

    memguard policy unexempt 3 4 --index training.index --why 'it is one'
    """
    with errors_to_exit():
        from guard.exempting import take_back

        take_back(index, pairs, who=who or getpass.getuser(), why=why)
        if as_json:
            print_json({"index": str(index), "taken_back": list(dict.fromkeys(pairs))})
        else:
            out.print(f"{number_of(len(set(pairs)), 'exemption')} taken back; from the next check on")
