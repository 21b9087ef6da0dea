"""Checks against an index without thumbnails, whose pictures lie where they lay; and what is said where they do not."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from guard import ConfigError, Decision, Guard, Policy
from guard.cli.main import app
from guard.config import load_config
from guard.embedders.registry import load_embedder
from guard.indexes.builder import build_index
from guard.types import EvidenceKind
from tests.support.photographs import photograph

NAMES = ("astronaut", "chelsea", "coffee")
PATIENT: dict[str, Any] = {"deadline_s": None, "verify_budget_ms": 60_000.0}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("originals")
    (folder / "training").mkdir()
    for name in NAMES:
        Image.fromarray(photograph(name, 384)).save(folder / "training" / f"{name}.png")
    build_index(folder / "training", folder / "with.index", load_embedder("pdq"))
    build_index(folder / "training", folder / "without.index", load_embedder("pdq"), thumbnails=0)
    return folder


@pytest.fixture
def lost(built: Path, tmp_path: Path) -> Path:
    """An index of its own, whose pictures may be moved."""
    shutil.copytree(built / "training", tmp_path / "training")
    build_index(tmp_path / "training", tmp_path / "x.index", load_embedder("pdq"), thumbnails=0)
    return tmp_path


def count(guard: Guard, result: str) -> float | None:
    labels = {"index": guard.name, "result": result}
    return guard.metrics.registry.get_sample_value("memguard_originals_total", labels)


def piece() -> np.ndarray[Any, Any]:
    """A copy that only pixels find."""
    page = photograph("rocket", 512).copy()
    page[60:280, 150:370] = np.asarray(Image.fromarray(photograph("astronaut", 384)).resize((220, 220)))
    return page


def test_matches_have_the_evidence_that_thumbnails_would_give(built: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "guard")
    guard, stored = (Guard.open(built / f"{name}.index", **PATIENT) for name in ("without", "with"))
    assert (guard.config.verify, guard.config.verify_margin) == (True, 0.0)
    assert [count(guard, result) for result in ("read", "missing", "changed")] == [0, 0, 0]
    copy, other = guard.check([photograph("coffee"), piece()])
    assert (copy.decision, copy.verified) == (Decision.BLOCK, True)
    assert copy.matches[0].evidence == stored.check(photograph("coffee"))[0].matches[0].evidence
    assert (other.decision, other.verified) == (Decision.ALLOW, None), "only what counts anyway is compared"
    assert count(guard, "read") == 1
    guard.check(photograph("coffee"))
    assert count(guard, "read") == 1, "kept in memory"
    assert any("originals are read" in record.getMessage() for record in caplog.records)


def test_all_candidates_are_compared_if_that_is_asked_for(built: Path) -> None:
    guard = Guard.open(built / "without.index", verify=True, **PATIENT)
    found = guard.check(piece())[0]
    assert (found.decision, found.verified) == (Decision.FLAG, True)
    assert found.matches[0].evidence is not None
    assert found.matches[0].evidence.kind is EvidenceKind.PARTIAL


def test_they_are_not_read_if_that_is_asked_for(built: Path) -> None:
    guard = Guard.open(built / "without.index", originals=False, **PATIENT)
    assert guard.config.verify is False
    assert "not to be read" in guard.uncompared
    assert guard.check(photograph("coffee"))[0].verified is None
    assert count(guard, "read") == 0
    assert load_config(None, environ={"MEMGUARD_ORIGINALS": "false"}).originals is False
    with pytest.raises(ConfigError, match="originals"):
        guard.check(photograph("coffee"), options={"originals": True})


@pytest.mark.parametrize(("fault", "result"), [("gone", "missing"), ("another", "changed"), ("a bit", "changed")])
def test_what_cannot_be_had_is_said_and_counted_and_similarity_decides(lost: Path, fault: str, result: str) -> None:
    guard = Guard.open(lost / "x.index", **PATIENT)
    file = lost / "training" / "coffee.png"
    if fault == "gone":
        file.unlink()
    elif fault == "another":
        Image.fromarray(photograph("rocket", 384)).save(file)
    else:
        data = bytearray(file.read_bytes())
        data[len(data) // 2] ^= 1
        file.write_bytes(data)
    verdict, other = guard.check([photograph("coffee"), photograph("chelsea")])
    assert (verdict.decision, verdict.verified) == (Decision.BLOCK, False)
    assert any(reason.startswith("not verified (an original ") for reason in verdict.reasons)
    assert (other.decision, other.verified) == (Decision.BLOCK, True)
    assert (count(guard, result), count(guard, "read")) == (1, 1)


def test_far_references_whose_files_are_gone_are_not_missed(lost: Path) -> None:
    (lost / "training" / "coffee.png").unlink()
    guard = Guard.open(lost / "x.index", verify=True, policy=Policy(flag=0.6, block=0.9), **PATIENT)
    assert guard.check(photograph("rocket"))[0].verified is True


def test_folders_that_are_gone(lost: Path, caplog: pytest.LogCaptureFixture) -> None:
    (lost / "training").rename(lost / "moved")
    caplog.set_level(logging.INFO, "guard")
    guard = Guard.open(lost / "x.index", **PATIENT)
    assert guard.config.verify is False
    assert guard.check(photograph("coffee"))[0].verified is None
    assert "are not there" in guard.uncompared
    assert sum("are not there" in record.getMessage() for record in caplog.records) == 1
    told = CliRunner().invoke(app, ["index", "info", str(lost / "x.index"), "--json"])
    assert json.loads(told.output)["pixels"].startswith("not compared: ")


def test_commands_say_where_they_are(built: Path) -> None:
    runner, index, folder = CliRunner(), str(built / "without.index"), str(built / "training")
    info = json.loads(runner.invoke(app, ["index", "info", index, "--json"]).output)
    assert info["folders"] == [folder]
    assert "originals are read" in info["pixels"]
    assert folder in runner.invoke(app, ["index", "info", index]).output.replace("\n", "")
    picture = str(built / "training" / "coffee.png")
    explain = ["policy", "explain", picture, "--index", index]
    told = json.loads(runner.invoke(app, [*explain, "--json"]).output)
    assert told["index"]["originals"] == [folder]
    assert told["verified"] == {"done": True, "why_not": None}
    assert "originals are read where a thumbnail is missing" in runner.invoke(app, explain).output
    off = json.loads(runner.invoke(app, [*explain, "--json", "--no-originals"]).output)
    assert off["index"]["originals"] is None
    assert "not to be read" in off["verified"]["why_not"]
    checked = runner.invoke(app, ["check", picture, "--index", index, "--json", "--no-originals"])
    assert json.loads(checked.output)["results"][0]["verified"] is None


def test_they_are_drawn_for_who_has_the_files_and_shown_to_nobody_else(built: Path, tmp_path: Path) -> None:
    guard = Guard.open(built / "without.index", **PATIENT)
    coffee = photograph("coffee")
    match = guard.check(coffee)[0].telling
    assert match is not None
    assert guard.examiner.explain(coffee, match) is None
    drawn = guard.examiner.explain(coffee, match, originals=True)
    assert drawn is not None
    assert max(drawn[0].shape) == 256
    picture = str(built / "training" / "coffee.png")
    out = tmp_path / "evidence.png"
    told = CliRunner().invoke(app, ["check", picture, "--index", str(built / "without.index"), "--explain", str(out)])
    assert told.exit_code == 0, told.stderr
    assert out.exists()
