"""`memguard policy explain`: the reasoning of the check itself, for people and as JSON."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from guard import Guard
from guard.calibration.calibrate import calibrate_index
from guard.cli.main import app
from guard.embedders.registry import load_embedder
from guard.events import EventLog
from guard.indexes.builder import add_to_index, build_index
from guard.indexes.overlay import Overlay, key_of
from guard.pixels import to_batch
from tests.support.photographs import photograph
from tests.support.pictures_in_memory import InMemory
from tests.support.toys import picture as toy

NAMES = ("astronaut", "chelsea", "coffee")
STEPS = ("pixels", "embedder", "index", "thresholds", "candidates", "pixels compared", "exemptions", "own input",
         "findings", "allowed", "decision")  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("policy")
    (folder / "training").mkdir()
    for name in NAMES:
        Image.fromarray(photograph(name, 256)).save(folder / "training" / f"{name}.png")
    build_index(folder / "training", folder / "my.index", load_embedder("procedural"))
    overlay = Overlay(folder / "my.index")
    with Guard.open(folder / "my.index").index as index:  # type: ignore[attr-defined]
        keys = {record.uri: key_of(record) for record in index.records(range(3))}
    overlay.give([keys["chelsea.png"]], "opt-out", who="ops")
    overlay.give([keys["coffee.png"]], "allow", who="ops")
    row = np.asarray(load_embedder("procedural").embed(to_batch(photograph("astronaut", 256))))[0]
    overlay.exempt(keys["astronaut.png"], row, who="ops")
    return folder


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["policy", "explain", *arguments])
    return result.exit_code, result.output


def explained(folder: Path, name: str, *more: str) -> dict:  # type: ignore[type-arg]
    code, text = run(str(folder / "training" / f"{name}.png"), "--index", str(folder / "my.index"), "--json", *more)
    assert code == 0, text
    found: dict = json.loads(text)  # type: ignore[type-arg]
    return found


@pytest.mark.parametrize(("name", "decision"), [("chelsea", "block"), ("coffee", "allow"), ("astronaut", "allow")])
def test_it_says_what_the_check_says(folder: Path, name: str, decision: str) -> None:
    told = explained(folder, name)
    with Image.open(folder / "training" / f"{name}.png") as image:
        checked = Guard.open(folder / "my.index").check(image)[0]
    assert told["verdict"] == checked.to_dict()
    assert told["verdict"]["decision"] == decision


def test_the_parts_of_the_reasoning(folder: Path) -> None:
    told = explained(folder, "chelsea")
    assert list(told) == [
        "image", "pixels", "embedder", "index", "calibration", "rules", "candidates", "exempted", "own_input",
        "verified", "findings", "allow", "mode", "seconds", "verdict",
    ]  # fmt: skip
    assert (told["pixels"]["width"], told["pixels"]["flat"]) == (256, False)
    assert told["index"]["overlay"] == {"added": 0, "memberships": 2, "reviewed_pairs": 1, "tombstones": 0}
    rules = {rule["collection"]: rule for rule in told["rules"]}
    assert list(rules) == ["training", "opt-out", "allow"]
    assert rules["opt-out"]["block"] == rules["training"]["flag"] < rules["training"]["block"]
    assert rules["opt-out"]["block_from"] == "opt-out blocks every match"
    assert {finding["collection"] for finding in told["findings"]} == {"training", "opt-out"}
    assert told["verdict"]["collection"] == "opt-out"
    assert told["candidates"][0]["uri"] == "chelsea.png"
    coffee = explained(folder, "coffee")
    assert set(coffee["allow"]["excuses"]) == {"training"}
    assert coffee["allow"]["match"]["evidence"]["kind"] == "near_identical"
    astronaut = explained(folder, "astronaut")
    assert [match["uri"] for match in astronaut["exempted"]] == ["astronaut.png"]
    assert astronaut["findings"] == []


def test_own_input_and_verification(folder: Path) -> None:
    picture = str(folder / "training" / "chelsea.png")
    told = explained(folder, "chelsea", "--input", picture, "--verify", "--flag", "0.5", "--block", "0.9")
    assert told["verdict"]["decision"] == "allow"
    assert told["own_input"]["similarity"] == pytest.approx(1, abs=1e-4)
    assert told["verified"] == {"done": True, "why_not": None}
    assert told["candidates"][0]["evidence"]["kind"] == "near_identical"
    rules = {rule["collection"]: rule for rule in told["rules"]}
    assert (rules["training"]["flag"], rules["training"]["flag_from"]) == (0.5, "policy.flag")


def test_for_people_every_step_is_there_in_order(folder: Path) -> None:
    for name in NAMES:
        code, text = run(str(folder / "training" / f"{name}.png"), "--index", str(folder / "my.index"))
        assert code == 0
        places = [text.index(f"{i:>2} {step}") for i, step in enumerate(STEPS, start=1)]
        assert places == sorted(places)
        assert (f"{name}.png: near identical: agreement" in text) is (name != "astronaut")  # which is exempted
    assert "coffee.png (allow) is allowed" in text
    code, text = run(str(folder / "training" / "astronaut.png"), "--index", str(folder / "my.index"))
    assert "a reviewer called it no copy of astronaut.png" in text


def test_a_calibrated_index_tells_the_intervals_of_its_thresholds(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / "my.index", tmp_path / "my.index")
    clean = InMemory([toy(i, 64, 64) for i in range(110)])
    calibrate_index(
        tmp_path / "my.index", clean=clean, embedder=load_embedder("procedural"), targets=(0.2,), candidates=3
    )
    arguments = [str(folder / "training" / "chelsea.png"), "--index", str(tmp_path / "my.index"), "--flag", "fpr:0.2"]
    code, text = run(*arguments, "--block", "0.99", "--no-verify")
    assert code == 0
    assert "(false 0." in text
    assert "compared pixels alone" not in text
    text = run(*arguments, "--block", "0.99")[1]  # 30 candidates, as nobody measured
    assert "compared pixels alone, in training, opt-out: flag never, block never" in text
    assert "(false 0." in text
    settings = tmp_path / "guard.toml"
    settings.write_text('verify = true\nverify_candidates = 3\n[policy]\nblock = "fpr:0.05"\n', encoding="utf-8")
    code, text = run(*arguments, "--config", str(settings))
    assert code == 0, text
    # None of 110 bounds the flags' half of the rate, 0.1, and not the blocks', 0.025.
    assert re.search(r"compared pixels alone, in training: flag from \d+ inliers .*, block never", text)
    _, text = run(*arguments, "--config", str(settings), "--json")
    told = json.loads(text)
    rule = told["rules"][0]
    assert rule["flag_rate"]["low"] <= rule["flag_rate"]["value"] <= rule["flag_rate"]["high"]
    assert (rule["flag_strength"], rule["block_strength"]) == (0.0, None)
    assert told["calibration"]["pictures"] == 110
    add_to_index(InMemory([toy(500 + i, 64, 64) for i in range(3)]), tmp_path / "my.index", load_embedder("procedural"))
    assert "stale: the index holds 6 references, and held 3" in run(*arguments, "--block", "0.99")[1]


def test_nothing_is_counted_or_logged(folder: Path, tmp_path: Path) -> None:
    guard = Guard.open(folder / "my.index", events=tmp_path / "events.sqlite")
    before = guard.metrics.text()
    told = guard.explain(photograph("chelsea", 256), options={"mode": "shadow"})
    assert told.verdict.decision is not None
    assert guard.metrics.text() == before
    assert guard.events is not None
    guard.events.close()
    assert EventLog(tmp_path / "events.sqlite").count() == 0


def test_what_cannot_be_read_and_what_cannot_be_checked(folder: Path, tmp_path: Path) -> None:
    code, text = run(str(tmp_path / "none.png"), "--index", str(folder / "my.index"))
    assert (code, "no such file" in text) == (2, True)
    code, text = run(str(folder / "training" / "coffee.png"), "--index", str(tmp_path))
    assert code == 3
    shutil.copytree(folder / "my.index", tmp_path / "broken.index")
    (tmp_path / "broken.index" / "overlay.sqlite").write_bytes(b"")
    code, text = run(str(folder / "training" / "coffee.png"), "--index", str(tmp_path / "broken.index"))
    assert code == 3
    assert "overlay.sqlite" in text
