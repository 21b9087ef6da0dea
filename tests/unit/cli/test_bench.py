"""`memguard bench` runs the scripts of tests/benchmarks and reads what they write. No time is asserted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from guard.cli.main import app

runner = CliRunner()
NAMES = sorted(path.stem for path in (Path(__file__).parents[2] / "benchmarks").glob("[a-z]*.py"))


def test_an_unknown_benchmark_lists_the_known_ones() -> None:
    result = runner.invoke(app, ["bench", "speed"])
    assert result.exit_code == 2
    assert {"check_path", "verification"} < set(NAMES)
    assert ", ".join(NAMES) in result.stderr.replace("\n", " ")


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_every_benchmark_runs_and_writes_its_rows(name: str, tmp_path: Path) -> None:
    target = tmp_path / "result.json"
    result = runner.invoke(app, ["bench", name, "--quick", "--out", str(target), "--json"])
    assert result.exit_code == 0, result.stderr
    document = json.loads(target.read_text(encoding="utf-8"))
    assert document == json.loads(result.stdout)
    (benchmark,) = document["results"]
    assert benchmark["benchmark"] == name
    assert len(benchmark["rows"]) >= 3
    assert all({"what", "value", "unit"} <= set(row) for row in benchmark["rows"])
    assert any("met" in row for row in benchmark["rows"]), "no bar to hold the figures to"
