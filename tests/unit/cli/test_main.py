"""The main command's own part: verbs that integrations bring by entry point."""

from __future__ import annotations

from importlib.metadata import EntryPoint

import typer
from typer.testing import CliRunner

from guard.cli.main import ENTRY_POINTS, verb_of


def test_an_integration_that_cannot_be_loaded_costs_no_other_verb() -> None:
    app = typer.Typer()
    app.command("works")(verb_of(EntryPoint("works", "tests.unit.cli.test_main:works", ENTRY_POINTS)))
    for value in ("no_such_package.verb:verb", "guard.cli.main:no_such_name"):
        app.command(value.split(".")[0])(verb_of(EntryPoint(value.split(".")[0], value, ENTRY_POINTS)))
    runner = CliRunner()
    assert runner.invoke(app, ["works"]).exit_code == 0
    broken = runner.invoke(app, ["no_such_package"])
    assert broken.exit_code == 3
    assert "no_such_package.verb:verb" in broken.stderr
    assert "reinstall" in broken.stderr
    assert runner.invoke(app, ["--help"]).exit_code == 0


def works() -> None:
    """Do nothing."""
