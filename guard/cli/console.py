"""What every verb shares: the exit codes, the two streams, and errors turned into text."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from enum import IntEnum
from typing import Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from guard.errors import ConfigError, GuardError, InputError
from guard.types import Decision

__all__ = [
    "STYLES",
    "Exit",
    "err",
    "errors_to_exit",
    "escape_what_cannot_be_printed",
    "goes_on",
    "number_of",
    "out",
    "percent",
    "print_json",
    "print_rows",
]

# No markup and no emoji codes: what is printed are paths, and "scans[draft]" is one.
# Piped into a file there is no width to fit, and rich's 80 columns would only cut them.
out = Console(highlight=False, markup=False, emoji=False, width=None if sys.stdout.isatty() else 160)
err = Console(stderr=True, highlight=False, markup=False, emoji=False)
_wide = Console(highlight=False, markup=False, emoji=False, width=10_000)
STYLES = {Decision.ALLOW: "green", Decision.FLAG: "yellow", Decision.BLOCK: "red"}


class Exit(IntEnum):
    """Exit codes of memguard; the highest that applies wins."""

    FINE = 0
    FOUND = 1
    """What was asked for was found: a flagged image with --fail-on, a damaged index."""
    INPUT = 2
    """Usage, configuration or a picture that cannot be read."""
    FAILED = 3
    """The guard could not run."""
    STOPPED = 130
    """By Ctrl-C, as shells have it."""


def percent(rate: Mapping[str, float | None]) -> str:
    """{value, low, high} of a share -> "93.1 [90,95]": in percent, the interval in whole percent."""
    value, low, high = (rate[key] for key in ("value", "low", "high"))
    return (
        "-" if value is None or low is None or high is None else f"{100 * value:.1f} [{100 * low:.0f},{100 * high:.0f}]"
    )


def number_of(count: int, one: str, more: str = "") -> str:
    """1, "picture" -> "1 picture"; 0 or 3 -> "3 pictures". more: a plural that takes more than an s."""
    return f"{count} {one if count == 1 else more or one + 's'}"


def print_rows(table: Table) -> None:
    """A table whose rows stay lines, in a terminal too: a path that is broken in two, or padded, cannot be copied."""
    for line in _wide.render_lines(table, pad=False):
        text = Text.assemble(*((part.text, part.style or "") for part in line))
        text.rstrip()
        _wide.print(text, soft_wrap=True)


def print_json(value: Any) -> None:
    """One JSON document on standard output, for programs."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:  # a name that is no UTF-8, or a terminal that knows ASCII alone
        text = json.dumps(value, indent=2)
    sys.stdout.write(text + "\n")


def escape_what_cannot_be_printed() -> None:
    """File names may hold bytes that no terminal shows: escape them instead of failing in the middle of a table."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def goes_on(*, restart: bool = False) -> str:
    """What is said of a stopped command that keeps what it did. restart: whether it dropped what there was."""
    return f"stopped: the same command{' without --restart' if restart else ''} goes on where it was"


@contextmanager
def errors_to_exit(*, stopped: str = "stopped") -> Iterator[None]:
    """Print an error of ours as one line on standard error and leave with its exit code.

    stopped: what is said after Ctrl-C.
    """
    try:
        yield
    except KeyboardInterrupt:
        err.print(stopped, style="yellow", soft_wrap=True)
        raise typer.Exit(Exit.STOPPED) from None
    except GuardError as exc:
        err.print(f"error: {exc}", style="red", soft_wrap=True)
        code = Exit.INPUT if isinstance(exc, ConfigError | InputError) else Exit.FAILED
        raise typer.Exit(code) from exc
    except BrokenPipeError:  # `memguard … | head` is no error
        sys.stderr.close()
        raise typer.Exit(Exit.FINE) from None
