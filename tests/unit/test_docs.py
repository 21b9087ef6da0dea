"""The docs name what exists, and what exists is in the docs: settings, metrics, errors, commands."""

from __future__ import annotations

import builtins
import re
import tomllib
from pathlib import Path

import pytest

import guard.errors
from guard import GuardConfig, GuardMetrics
from guard.cli.reference import commands, reference
from guard.events import EventsConfig, Outcome
from guard.metrics import DROP_REASONS, FAILURE_REASONS, REVIEW_OUTCOMES, SKIP_REASONS, STAGES
from guard_server.config import ServerConfig
from guard_server.metrics import REJECTIONS, ServerMetrics
from guard_server.problems import PROBLEMS
from guard_server.tokens import Scope

ONNX_METADATA = {"memguard_name", "memguard_preprocessing", "memguard_weights_sha256"}
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


def test_events() -> None:
    text = page("events.md")
    settings, reasons = text.split("## Settings", 1)[1].split("## What is promised")
    assert first_column(settings) == list(EventsConfig.model_fields)
    assert first_column(reasons) == list(DROP_REASONS)
    assert all(field.description for field in EventsConfig.model_fields.values())
    assert all(f"`{outcome}`" in text for outcome in Outcome)


def test_server() -> None:
    text = page("server.md")
    assert first_column(text.split("## Settings", 1)[1]) == list(ServerConfig.model_fields)
    assert all(field.description for field in ServerConfig.model_fields.values())
    assert first_column(text.split("## Errors", 1)[1].split("\n## ", 1)[0]) == list(PROBLEMS)
    assert first_column(text.split("## Tokens", 1)[1].split("\n## ", 1)[0]) == list(Scope)


def all_metrics() -> GuardMetrics:
    """The guard's, and the sidecar's on the same registry."""
    metrics = GuardMetrics()
    ServerMetrics(metrics.registry, {})
    return metrics


def test_metrics() -> None:
    metrics = all_metrics()
    names = {
        sample if metric.type != "histogram" else metric.name
        for metric in metrics.registry.collect()
        for sample in [metric.name + ("_total" if metric.type == "counter" else "")]
    }
    assert sorted(first_column(page("metrics.md"))) == sorted(names)
    text = page("metrics.md")
    for word in (*FAILURE_REASONS, *SKIP_REASONS, *DROP_REASONS, *REVIEW_OUTCOMES, *STAGES, *REJECTIONS):
        assert f"`{word}`" in text, word


def test_metrics_labels() -> None:
    rows = re.findall(r"^\| `(memguard_\w+)` \| (\w+) \| ([^|]+) \|", page("metrics.md"), flags=re.MULTILINE)
    registered = {c._name: c for c in set(all_metrics().registry._names_to_collectors.values())}
    for name, kind, labels in rows:
        collector = registered[name.removesuffix("_total")]
        assert collector._type == kind, name
        assert list(collector._labelnames) == [
            label.strip() for label in labels.replace("–", "").split(",") if label.strip()
        ], name


def test_errors() -> None:
    rows = first_column(page("errors.md"))
    assert sorted(rows) == guard.errors.__all__
    assert all(name in (guard.errors.__doc__ or "") for name in guard.errors.__all__)


COMMANDS = dict(commands())


def test_the_page_of_commands_is_as_generated() -> None:
    assert page("commands.md") == reference(), "run: python -m guard.cli.reference > docs/commands.md"


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_and_option_has_help_and_an_example(name: str) -> None:
    command = COMMANDS[name]
    assert re.search(rf"^{name}\b", command.help, flags=re.MULTILINE), f"{name} shows no example"
    for parameter in command.params:
        if parameter.name != "help":
            assert getattr(parameter, "help", None), f"{parameter.name} of {name} has no help"
        if parameter.param_type_name == "argument":  # typer puts brackets and dots around it in the usage
            assert not set("[]…") & set(parameter.metavar or ""), parameter.metavar


@pytest.mark.parametrize("path", DOCS, ids=lambda p: p.name)
def test_names_in_prose_exist(path: Path) -> None:
    """Commands, metrics and errors that a page mentions are real."""
    text = path.read_text(encoding="utf-8")
    for command in re.findall(r"(?:`|^)memguard ((?:index|models) [a-z]+|[a-z]+)", text, flags=re.MULTILINE):
        assert any(f"{name} ".startswith(f"memguard {command} ") for name in COMMANDS), f"{path.name}: {command}"
    known = set(first_column(page("metrics.md"))) | ONNX_METADATA
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
    for block in re.findall(r"```toml\n(.*?)```", path.read_text(encoding="utf-8"), flags=re.DOTALL):
        settings = tomllib.loads(block)
        if "tokens" in settings:  # of a file of their own
            settings = {"server": settings}
        ServerConfig.model_validate(settings.pop("server", {}))
        GuardConfig.model_validate(settings)


def test_extras() -> None:
    """Every extra is in the table of installing; together rows ("`test`, `dev`") count for each."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    rows = re.findall(r"^\| (`[^|]+`) \|", page("install.md"), flags=re.MULTILINE)
    assert sorted(name for row in rows for name in re.findall(r"`([a-z]+)`", row)) == sorted(extras)


def test_faults_name_tests_that_exist() -> None:
    """Each row of the page has a test; the name is that of a function or class in the file."""
    rows = [line for line in page("faults.md").splitlines() if line.startswith("| ") and not line.startswith("| fault")]
    assert len(rows) >= 30
    for row in rows:
        named = re.findall(r"`(tests/[^:`]+)::(\w+)`", row)
        assert named, row
        for file, name in named:
            text = (ROOT / file).read_text(encoding="utf-8")
            assert re.search(rf"^(?:    )?(?:def|class) {name}\b", text, flags=re.MULTILINE), f"{file}::{name}"


def test_readme_has_its_two_commands_in_one_line_each() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for heading in ("## Run it", "## Test it"):
        block = re.search(r"```(?:bash|sh)\n(.+?)\n```", readme.split(heading, 1)[1], flags=re.DOTALL)
        assert block is not None
        assert "\n" not in block.group(1)
        assert "constraints.txt" in block.group(1)
