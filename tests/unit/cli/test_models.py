"""`memguard models` on the screen and as JSON."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from guard.cli.models import models_app
from guard.embedders.base import Thresholds
from guard.embedders.model_cards import CARDS, ModelCard, ModelFile
from guard.embedders.models import register_model
from guard.embedders.preprocess import Preprocessing
from guard.embedders.shipped import SHIPPED, shipped_card
from tests.support.range_server import Site, serve

run = CliRunner()


def test_the_list_names_every_model(tmp_path: Path) -> None:
    shown = run.invoke(models_app, ["--cache", str(tmp_path)], env={"COLUMNS": "200"})
    assert shown.exit_code == 0
    assert all(card.name in shown.stdout for card in CARDS)
    assert f"`memguard models show {SHIPPED}` is its model card" in shown.stdout
    rows = json.loads(run.invoke(models_app, ["--json", "--cache", str(tmp_path)]).stdout)
    assert [row["name"] for row in rows][: 1 + len(CARDS)] == [SHIPPED, *(card.name for card in CARDS)]
    assert [row["name"] for row in rows if row["fetched"]] == [SHIPPED]


def test_show(tmp_path: Path) -> None:
    shown = run.invoke(models_app, ["show", "sscd_disc_mixup", "--cache", str(tmp_path)], env={"COLUMNS": "200"})
    assert shown.exit_code == 0
    for text in ("MIT", "squash:320", "flag 0.5, block 0.75", "pinned at the first fetch", "fbaipublicfiles"):
        assert text in shown.stdout
    row = json.loads(run.invoke(models_app, ["show", "isc_ft_v107", "--json", "--cache", str(tmp_path)]).stdout)
    assert row["bring"]
    assert row["thresholds"] is None


def test_every_pair_of_thresholds_is_shown(tmp_path: Path) -> None:
    seen, seen_white = Thresholds(0.57, 0.66, "a source"), Thresholds(0.47, 0.56, "a source")
    white = Thresholds(0.49, 0.55, "a source", windows=seen_white)
    advice = Thresholds(0.59, 0.67, "a source", white, seen)
    file = ModelFile("w.pt", "https://example.org/w.pt")
    card = ModelCard("tests-advice", "A title", "MIT", 4, Preprocessing(32), "torchscript", (file,), "s", advice)
    register_model(card)
    command = ["show", "tests-advice", "--cache", str(tmp_path)]
    shown = run.invoke(models_app, command, env={"COLUMNS": "200"}).stdout
    expected = {
        "thresholds": "flag 0.59, block 0.67",
        "windows": "flag 0.57, block 0.66",
        "whitened": "flag 0.49, block 0.55",
        "whitened, windows": "flag 0.47, block 0.56",
    }
    lines = [" ".join(line.split()) for line in shown.splitlines() if "flag" in line]
    assert lines == [f"{what} {advice}: a source" for what, advice in expected.items()]
    row = json.loads(run.invoke(models_app, [*command, "--json"]).stdout)
    assert row["thresholds"]["whitened"]["windows"]["block"] == 0.56


def test_the_card_of_the_shipped_one_says_how_it_was_trained_and_what_it_is_bad_at() -> None:
    shown = run.invoke(models_app, ["show", SHIPPED], env={"COLUMNS": "200"})
    assert shown.exit_code == 0
    for text in ("procedural pictures only", "views in", "recall@1", "bad at", "thresholds", "in the package"):
        assert text in shown.stdout
    row = json.loads(run.invoke(models_app, ["show", SHIPPED, "--json"]).stdout)
    assert row["card"]["weights_sha256"] == shipped_card().weights_sha256
    fetched = run.invoke(models_app, ["fetch", SHIPPED])
    assert fetched.exit_code == 2
    assert "comes with the package" in fetched.stderr


@pytest.mark.parametrize("command", [["show", "nope"], ["fetch", "nope"], ["fetch", "isc_ft_v107"]])
def test_mistakes_exit_with_2(tmp_path: Path, command: list[str]) -> None:
    found = run.invoke(models_app, [*command, "--cache", str(tmp_path)])
    assert found.exit_code == 2
    assert "error:" in found.stderr
    assert found.stdout == ""


def test_fetch_says_what_and_where(tmp_path: Path) -> None:
    with serve(Site({"/w.pt": b"weights" * 1000})) as site:
        file = ModelFile("w.pt", f"{site.url}/w.pt")
        register_model(ModelCard("tests-cli", "A title", "MIT", 4, Preprocessing(32), "torchscript", (file,), "s"))
        done = run.invoke(models_app, ["fetch", "tests-cli", "--cache", str(tmp_path)])
        assert done.exit_code == 0
        assert str(tmp_path / "models" / "tests-cli") in done.stdout
        assert "A title; licence: MIT" in done.stderr
        row = json.loads(run.invoke(models_app, ["show", "tests-cli", "--json", "--cache", str(tmp_path)]).stdout)
        assert row["fetched"]
        assert row["files"][0]["checksum"] == "pinned when it was fetched"
        (tmp_path / "models" / "tests-cli" / "w.pt").unlink()
        site.status = 503
        failed = run.invoke(models_app, ["fetch", "tests-cli"], env={"MEMGUARD_CACHE": str(tmp_path)})
        assert failed.exit_code == 3
        assert "answered 503" in failed.stderr


def test_the_card_names_the_families_and_does_without_opencv(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("cv2")
    families = "leaves, expressions, fractals"
    assert families in run.invoke(models_app, ["show", SHIPPED], env={"COLUMNS": "200"}).stdout
    monkeypatch.setitem(sys.modules, "guard.training.generators", None)  # as if it could not be imported
    without = run.invoke(models_app, ["show", SHIPPED], env={"COLUMNS": "200"})
    assert without.exit_code == 0
    assert "training data" in without.stdout
    assert families not in without.stdout
