"""The docs name what exists, and what exists is in the docs: settings, metrics, errors, commands."""

from __future__ import annotations

import builtins
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import typer

import guard.errors
from guard import GuardConfig, GuardMetrics
from guard.cli.main import app
from guard.metrics import FAILURE_REASONS, SKIP_REASONS, STAGES

ROOT = Path(__file__).parents[2]
DOCS = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])


def page(name: str) -> str:
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


def first_column(text: str) -> list[str]:
    """The code words that open the rows of the page's tables."""
    return re.findall(r"^\| `([^`]+)` \|", text, flags=re.MULTILINE)


def test_settings() -> None:
    assert first_column(page("settings.md")) == list(GuardConfig.model_fields)
    assert all(field.description for field in GuardConfig.model_fields.values())


def test_metrics() -> None:
    metrics = GuardMetrics()
    names = {
        sample if metric.type != "histogram" else metric.name
        for metric in metrics.registry.collect()
        for sample in [metric.name + ("_total" if metric.type == "counter" else "")]
    }
    assert sorted(first_column(page("metrics.md"))) == sorted(names)
    text = page("metrics.md")
    for word in (*FAILURE_REASONS, *SKIP_REASONS, *STAGES):
        assert f"`{word}`" in text, word


def test_metrics_labels() -> None:
    rows = re.findall(r"^\| `(memguard_\w+)` \| (\w+) \| ([^|]+) \|", page("metrics.md"), flags=re.MULTILINE)
    registered = {c._name: c for c in set(GuardMetrics().registry._names_to_collectors.values())}
    for name, kind, labels in rows:
        collector = registered[name.removesuffix("_total")]
        assert collector._type == kind, name
        assert list(collector._labelnames) == [label.strip() for label in labels.split(",")], name


def test_errors() -> None:
    rows = first_column(page("errors.md"))
    assert sorted(rows) == guard.errors.__all__
    assert all(name in (guard.errors.__doc__ or "") for name in guard.errors.__all__)


def commands() -> Iterator[tuple[str, click.Command]]:
    def walk(path: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
        children = getattr(command, "commands", {})
        if not children or getattr(command, "invoke_without_command", False):
            yield path, command
        for name, child in children.items():
            yield from walk(f"{path} {name}", child)

    yield from walk("memguard", typer.main.get_command(app))


COMMANDS = dict(commands())


def test_commands_have_a_section_each() -> None:
    headings = re.findall(r"^## `(memguard[^`]*)`", page("commands.md"), flags=re.MULTILINE)
    assert sorted(headings) == sorted(COMMANDS)


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_options_are_in_the_section_and_have_help(name: str) -> None:
    section = page("commands.md").split(f"## `{name}`", 1)[1].split("\n## ", 1)[0]
    options = {}
    for parameter in COMMANDS[name].params:
        if isinstance(parameter, click.Option) and parameter.name != "help" and not parameter.hidden:
            options[max(parameter.opts, key=len)] = getattr(parameter, "help", None)
    documented = set(re.findall(r"`(--[a-z][a-z-]*)", section))
    assert set(options) == documented, name
    assert all(options.values()), f"an option of {name} has no help"
    assert COMMANDS[name].help, name


@pytest.mark.parametrize("path", DOCS, ids=lambda p: p.name)
def test_names_in_prose_exist(path: Path) -> None:
    """Commands, metrics and errors that a page mentions are real."""
    text = path.read_text(encoding="utf-8")
    for command in re.findall(r"(?:`|^)memguard ((?:index|models) [a-z]+|[a-z]+)", text, flags=re.MULTILINE):
        assert any(f"{name} ".startswith(f"memguard {command} ") for name in COMMANDS), f"{path.name}: {command}"
    known = set(first_column(page("metrics.md")))
    for name in re.findall(r"\b(memguard_[a-z_0-9]+)\b", text):
        base = re.sub(r"_(bucket|count|sum)$", "", name)
        assert name in known or base in known, f"{path.name} names an unknown metric {name}"
    for name in re.findall(r"`([A-Z]\w+Error)`", text):
        assert hasattr(guard.errors, name) or hasattr(builtins, name), f"{path.name} names an unknown error {name}"


@pytest.mark.parametrize("path", DOCS, ids=lambda p: p.name)
def test_links_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\((?!https?://|#)([^)#]+)", path.read_text(encoding="utf-8")):
        assert (path.parent / target).exists(), f"{path.name} links to {target}"


@pytest.mark.parametrize("path", DOCS, ids=lambda p: p.name)
def test_python_blocks_compile(path: Path) -> None:
    for block in re.findall(r"```python\n(.*?)```", path.read_text(encoding="utf-8"), flags=re.DOTALL):
        compile(block, str(path), "exec")


@pytest.mark.parametrize("path", DOCS, ids=lambda p: p.name)
def test_toml_blocks_are_valid_settings(path: Path) -> None:
    import tomllib

    for block in re.findall(r"```toml\n(.*?)```", path.read_text(encoding="utf-8"), flags=re.DOTALL):
        GuardConfig.model_validate(tomllib.loads(block))


def test_readme_has_its_two_commands_in_one_line_each() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for heading in ("## Run it", "## Test it"):
        block = re.search(r"```(?:bash|sh)\n(.+?)\n```", readme.split(heading, 1)[1], flags=re.DOTALL)
        assert block is not None
        assert "\n" not in block.group(1)
        assert "constraints.txt" in block.group(1)
