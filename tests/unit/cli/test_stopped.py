"""What Ctrl-C leaves to say."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
import typer

from guard.cli.console import Exit, errors_to_exit, goes_on
from guard.cli.eval_options import stopped


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("stopped", "stopped\n"),
        (goes_on(), "stopped: the same command goes on where it was\n"),
        (goes_on(restart=True), "stopped: the same command without --restart goes on where it was\n"),
        (stopped(Path("kept")), "stopped: the same command goes on where it was\n"),
        (stopped(None), "stopped: with --cache FOLDER a run keeps what it computed, and goes on from it\n"),
    ],
)
def test_it_is_said_and_the_code_is_that_of_shells(said: str, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises((typer.Exit, click.exceptions.Exit)) as left, errors_to_exit(stopped=said):
        raise KeyboardInterrupt
    assert left.value.exit_code == Exit.STOPPED == 130
    assert capsys.readouterr().err == words
