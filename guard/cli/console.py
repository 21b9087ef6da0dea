"""What every verb shares: the exit codes, the two streams, and errors turned into text."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from typing import Any

import typer
from rich.console import Console

from guard.errors import ConfigError, GuardError, InputError
from guard.types import Decision

__all__ = ["STYLES", "Exit", "err", "errors_to_exit", "out", "print_json"]

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)
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


def print_json(value: Any) -> None:
    """One JSON document on standard output, for programs."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


@contextmanager
def errors_to_exit() -> Iterator[None]:
    """Print an error of ours as one line on standard error and leave with its exit code."""
    try:
        yield
    except GuardError as exc:
        err.print(f"error: {exc}", style="red", markup=False, soft_wrap=True)
        code = Exit.INPUT if isinstance(exc, ConfigError | InputError) else Exit.FAILED
        raise typer.Exit(code) from exc
    except BrokenPipeError:  # `memguard … | head` is no error
        sys.stderr.close()
        raise typer.Exit(Exit.FINE) from None
