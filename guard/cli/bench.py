"""`memguard bench`: run the benchmarks on this machine, print their table and write it down."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from importlib.resources import as_file, files
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from guard._version import __version__
from guard.cli.console import Exit, err, errors_to_exit, out, print_json
from guard.errors import ConfigError

__all__ = ["bench"]


def bench(
    names: Annotated[list[str] | None, typer.Argument(metavar="NAME", help="Only these; all if none is given.")] = None,
    json_file: Annotated[Path | None, typer.Option("--out", help="Write the results to this JSON file.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Smaller sizes: a minute instead of many.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")] = False,
) -> None:
    """Time this installation; each figure beside a peer's in the same run.

    [bold]Examples[/bold]

    memguard bench --quick

    memguard bench check_path --out check-path.json
    """
    with errors_to_exit(), as_file(_folder()) as folder:
        scripts = {path.stem: path for path in sorted(folder.glob("[a-z]*.py"))}
        unknown = sorted(set(names or ()) - set(scripts))
        if unknown:
            raise ConfigError(f"unknown benchmark {', '.join(unknown)}; known: {', '.join(scripts)}")
        results, failed = [], False
        for name in names or scripts:
            err.print(f"{name} …", style="dim")
            result = _run(scripts[name], ["--quick"] if quick else [])
            failed |= result is None
            results.append(result or {"benchmark": name, "error": "it failed; see above", "rows": []})
    now = datetime.now(UTC).isoformat(timespec="seconds")
    document = {"memguard": __version__, "at": now, "machine": _machine(), "results": results}
    if as_json:
        print_json(document)
    else:
        _print(results)
    if json_file:
        with errors_to_exit():
            _write(json_file, json.dumps(document, indent=1) + "\n")
    raise typer.Exit(Exit.FAILED if failed else Exit.FINE)


def _write(file: Path, text: str) -> None:
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as exc:
        raise ConfigError(f"{file} cannot be written ({exc.strerror}); name another file with --out") from exc


def _folder() -> Any:
    """The scripts: inside the package where it was installed, tests/benchmarks in a checkout."""
    packaged = files("guard") / "_benchmarks"
    return packaged if packaged.is_dir() else Path(__file__).parents[2] / "tests" / "benchmarks"


def _run(script: Path, arguments: list[str]) -> dict[str, Any] | None:
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "result.json"
        command = [sys.executable, str(script), *arguments, "--json", str(target)]
        done = subprocess.run(command, stdout=subprocess.DEVNULL, check=False)  # noqa: S603 - our own scripts
        if done.returncode != 0 or not target.exists():
            return None
        result: dict[str, Any] = json.loads(target.read_text(encoding="utf-8"))
        return result


def _machine() -> dict[str, Any]:
    return {
        "system": platform.system(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "cpus": os.cpu_count(),
    }


def _print(results: list[dict[str, Any]]) -> None:
    table = Table("what", "value", "", "bar", box=None, pad_edge=False)
    table.columns[1].justify = "right"
    for result in results:
        table.add_section()
        for row in result["rows"]:
            style = {True: "green", False: "red", None: ""}[row.get("met")]
            table.add_row(row["what"], f"{row['value']:.3f}", row["unit"], Text(row.get("bar", ""), style))
        if "error" in result:
            table.add_row(result["benchmark"], "", "", Text(result["error"], "red"))
    out.print(table)
