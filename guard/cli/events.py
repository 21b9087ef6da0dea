"""`memguard events list | show | export | prune`: what a decision log holds. Knows options and tables; no SQL.

`events review` is in a file of its own.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from guard.cli.console import STYLES, err, errors_to_exit, number_of, out, print_json, print_rows
from guard.cli.events_review import review
from guard.cli.moments import moment_of, time_cell
from guard.errors import ConfigError
from guard.types import Decision, Status

if TYPE_CHECKING:
    from guard.events import Event, EventFilter, EventLog

__all__ = ["events_app"]

events_app = typer.Typer(
    name="events",
    no_args_is_help=True,
    rich_markup_mode="rich",
    help="""Read, review, export and prune the decision log that a guard writes where events.path is set.

    [bold]Examples[/bold]

    memguard events list events.sqlite --decision block

    memguard events show events.sqlite 3f9c2a61""",
)


class Format(StrEnum):
    JSONL = "jsonl"
    PARQUET = "parquet"


LogArgument = Annotated[Path, typer.Argument(metavar="LOG", help="File of the log: events.path of the guard.")]
DecisionOption = Annotated[
    list[Decision] | None, typer.Option("--decision", help="allow, flag or block; repeat it for several.")
]
StatusOption = Annotated[
    list[Status] | None, typer.Option("--status", help="success, error or skipped; repeat it for several.")
]
PipelineOption = Annotated[list[str] | None, typer.Option("--pipeline", help="Pipeline; repeat it for several.")]
SinceOption = Annotated[
    str | None, typer.Option(help="From then on: 2026-11-22, 2026-11-22T10:00 (UTC), or 7d, 12h, 30m ago.")
]
UntilOption = Annotated[str | None, typer.Option(help="Before then, as --since.")]
ReviewedOption = Annotated[
    bool | None, typer.Option("--reviewed/--unreviewed", help="Only events of which a review stands, or none does.")
]
PromptOption = Annotated[
    str | None,
    typer.Option(
        help="Only events of this very prompt, found by its hash; the key is MEMGUARD_EVENTS__PROMPT_KEY or LOG.key."
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")]


@events_app.command("list")
def list_events(
    log: LogArgument,
    decision: DecisionOption = None,
    status: StatusOption = None,
    pipeline: PipelineOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    reviewed: ReviewedOption = None,
    prompt: PromptOption = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="Events at most, the newest.")] = 50,
    before: Annotated[int | None, typer.Option(help="The page after: only events whose seq is below this.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Print the newest events, newest first.

    [bold]Examples[/bold]

    memguard events list events.sqlite

    memguard events list events.sqlite --decision flag --decision block --unreviewed

    memguard events list events.sqlite --status error --since 24h --json
    """
    with errors_to_exit():
        opened = _open(log)
        where = _filter(opened, decision, status, pipeline, since, until, reviewed, prompt)
        events, count = opened.read(where, limit=limit, before=before), opened.count(where)
        if as_json:
            print_json({"log": str(log), "count": count, "events": [event.to_dict() for event in events]})
            return
        table = Table("seq", "id", "time (UTC)", "pipeline", "decision", "similarity", "nearest reference", "review",
                      box=None, pad_edge=False)  # fmt: skip
        for event in events:
            table.add_row(*_row(event))
        print_rows(table)
        err.print(f"{len(events)} of {number_of(count, 'event')}", style="dim")


@events_app.command()
def show(
    log: LogArgument,
    id: Annotated[str, typer.Argument(metavar="ID", help="Its id, or the first 8 digits or more of it.")],  # noqa: A002
    thumbnail: Annotated[Path | None, typer.Option(help="Write the image's thumbnail to this JPEG.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Print everything about one event, and its reviews.

    [bold]Examples[/bold]

    memguard events show events.sqlite 3f9c2a61

    memguard events show events.sqlite 3f9c2a61 --thumbnail image.jpg --json
    """
    with errors_to_exit():
        opened = _open(log)
        event = opened.get(id)
        if event is None:
            raise ConfigError(f"{log} holds no event {id!r}, or several that begin so; `memguard events list` has ids")
        if thumbnail is not None:
            _write(thumbnail, event)
        reviews = [review.to_dict() for review in opened.reviews(event.id)]
        if as_json:
            print_json({**event.to_dict(), "reviews": reviews})
            return
        table = Table(box=None, show_header=False, pad_edge=False)
        for name, value in event.to_dict().items():
            if value is not None and name not in ("matches", "reasons"):
                table.add_row(name, Text(_flat(value)))
        table.add_row("reasons", Text("\n".join(event.reasons)))
        for match in event.matches:
            table.add_row("match", Text("\n".join(f"{k}: {_flat(v)}" for k, v in match.items() if v is not None)))
        for review in reviews:
            note = f": {review['note']}" if review["note"] else ""
            table.add_row("review", Text(f"{review['outcome']} by {review['who']}, {review['time']}{note}"))
        print_rows(table)


@events_app.command()
def export(
    log: LogArgument,
    out_file: Annotated[
        Path, typer.Option("--out", metavar="FILE", help="File to write; it appears when it is whole.")
    ],
    format: Annotated[Format, typer.Option(help="JSON lines, or a Parquet table.")] = Format.JSONL,  # noqa: A002
    blobs: Annotated[bool, typer.Option("--blobs", help="Thumbnails and descriptors too.")] = False,
    decision: DecisionOption = None,
    status: StatusOption = None,
    pipeline: PipelineOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    reviewed: ReviewedOption = None,
    prompt: PromptOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write events to a file for other tools, newest first.

    [bold]Examples[/bold]

    memguard events export events.sqlite --out events.jsonl

    memguard events export events.sqlite --format parquet --out blocks.parquet --decision block --since 30d
    """
    from guard.events.export import write_jsonl, write_parquet

    with errors_to_exit():
        opened = _open(log)
        where = _filter(opened, decision, status, pipeline, since, until, reviewed, prompt)
        write = write_parquet if format is Format.PARQUET else write_jsonl
        count = write(opened.all(where), out_file, blobs=blobs)
        if as_json:
            print_json({"log": str(log), "out": str(out_file), "events": count})
        else:
            out.print(f"{number_of(count, 'event')} in {out_file}", soft_wrap=True)


events_app.command()(review)


@events_app.command("prune")
def prune_events(
    log: LogArgument,
    max_age_days: Annotated[float | None, typer.Option(min=0, help="Delete events that are older.")] = None,
    max_mb: Annotated[
        float | None, typer.Option(min=0, help="Delete the oldest until the file is smaller; 1,000,000 bytes each.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Delete old events and their reviews. A guard that writes the log does so by itself, to its own bounds.

    [bold]Example[/bold]

    memguard events prune events.sqlite --max-age-days 30 --max-mb 100
    """
    with errors_to_exit():
        if max_age_days is None and max_mb is None:
            raise ConfigError("nothing to prune by: give --max-age-days, --max-mb or both")
        opened = _open(log)
        removed = opened.prune(max_age_days=max_age_days, max_mb=max_mb)
        left, size = opened.count(), log.stat().st_size
        if as_json:
            print_json({"log": str(log), "removed": removed, "events": left, "bytes": size})
        else:
            out.print(f"{number_of(removed, 'event')} deleted; {left} left, in {size} bytes")


def _open(path: Path) -> EventLog:
    from guard.events import EventLog

    return EventLog(path)


def _filter(
    log: EventLog,
    decisions: Sequence[Decision] | None,
    statuses: Sequence[Status] | None,
    pipelines: Sequence[str] | None,
    since: str | None,
    until: str | None,
    reviewed: bool | None,
    prompt: str | None,
) -> EventFilter:
    from guard.events import EventFilter

    key = os.environ.get("MEMGUARD_EVENTS__PROMPT_KEY", "").encode() or None
    return EventFilter(
        since=moment_of(since, "--since"),
        until=moment_of(until, "--until"),
        decisions=tuple(decisions or ()),
        statuses=tuple(statuses or ()),
        pipelines=tuple(pipelines or ()),
        reviewed=reviewed,
        prompt_hash=None if prompt is None else log.hash_prompt(prompt, key),
    )


def _row(event: Event) -> tuple[Text, ...]:
    if event.decision is not None:
        word = Text(event.decision.value, STYLES[event.decision])
    else:
        word = Text(event.status.value, "red" if event.status is Status.ERROR else "dim")
    nearest = event.matches[0] if event.matches else None
    return (
        Text(str(event.seq)),
        Text(event.id[:8]),
        Text(time_cell(event.time)),
        Text(event.pipeline),
        word,
        Text(f"{nearest['similarity']:.3f}" if nearest else ""),
        Text(nearest["uri"] if nearest else "; ".join(event.reasons)),
        Text(event.outcome.value if event.outcome else ""),
    )


def _flat(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{k} {_flat(v)}" for k, v in value.items() if v not in (None, ""))
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _write(path: Path, event: Event) -> None:
    if event.thumbnail is None:
        raise ConfigError(f"event {event.id} has no thumbnail; events.thumbnails makes the guard keep them")
    try:
        path.write_bytes(event.thumbnail)
    except OSError as exc:
        raise ConfigError(f"{path} cannot be written ({exc.strerror}); name another with --thumbnail") from exc
