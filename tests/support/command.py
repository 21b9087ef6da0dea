"""`memguard` called as a person does, within the test's own process."""

from __future__ import annotations

import json
from typing import Any

from typer.testing import CliRunner

from guard.cli.main import app

__all__ = ["as_json", "run"]


def run(*words: object, env: dict[str, str] | None = None) -> tuple[int, str]:
    """(exit code, what was printed on both streams); an error that is none of ours is raised."""
    result = CliRunner().invoke(app, [str(word) for word in words], env=env)
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout + result.stderr


def as_json(*words: object) -> tuple[int, Any]:
    """(exit code, the document on standard output) of the same with --json."""
    result = CliRunner().invoke(app, [*(str(word) for word in words), "--json"])
    return result.exit_code, json.loads(result.stdout)
