"""Exempting a picture from a reference, and reviewing a logged one: in force with the next check, and undone."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner

from guard import Guard
from guard.cli.main import app
from guard.embedders.registry import load_embedder
from guard.events import EventLog, Outcome
from guard.indexes.builder import build_index
from guard.indexes.overlay import Overlay
from tests.support.photographs import photograph

NAMES = ("astronaut", "chelsea", "coffee")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exempt")
    (folder / "training").mkdir()
    for name in NAMES:
        Image.fromarray(photograph(name, 256)).save(folder / "training" / f"{name}.png")
    Image.fromarray(photograph("astronaut", 256)).save(folder / "training" / "again.jpg", quality=90)
    build_index(folder / "training", folder / "my.index", load_embedder("pdq"))
    return folder


@pytest.fixture
def folder(built: Path, tmp_path: Path) -> Path:
    shutil.copytree(built, tmp_path / "x")
    return tmp_path / "x"


def run(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, list(map(str, arguments)))
    return result.exit_code, result.stdout, result.stderr


def told(*arguments: object) -> Any:
    code, text, said = run(*arguments, "--json")
    assert code == 0, said
    return json.loads(text)


def decided(folder: Path, name: str) -> str:
    found = told("check", folder / "training" / name, "--index", folder / "my.index")["results"][0]["decision"]
    assert isinstance(found, str)
    return found


def test_a_pair_is_exempt_and_taken_back(folder: Path) -> None:
    index, picture = folder / "my.index", folder / "training" / "coffee.png"
    assert "no picture is exempt" in run("policy", "exemptions", "--index", index)[1]
    done = told("policy", "exempt", picture, "--index", index, "--who", "anna", "--why", "another cup")
    assert [pair["uri"] for pair in done["pairs"]] == ["coffee.png"]
    assert (done["before"]["decision"], done["after"]["decision"]) == ("block", "allow")
    assert "a reviewer called this no copy of coffee.png" in done["after"]["reasons"]
    assert decided(folder, "coffee.png") == "allow"
    assert decided(folder, "chelsea.png") == "block"
    (listed,) = told("policy", "exemptions", "--index", index)["pairs"]
    assert (listed["uri"], listed["who"], listed["why"], listed["over"]) == ("coffee.png", "anna", "another cup", False)
    code, text, _ = run("policy", "exemptions", "--index", index)
    assert code == 0
    assert "coffee.png" in text
    assert "for ever" in text
    assert told("policy", "unexempt", listed["pair"], "--index", index, "--who", "anna")["taken_back"] == [1]
    assert decided(folder, "coffee.png") == "block"
    assert [line.action for line in Overlay(index).history()] == ["exempt", "withdraw_pair"]


def test_one_of_several_or_all(folder: Path) -> None:
    index, picture = folder / "my.index", folder / "training" / "astronaut.png"
    code, text, _ = run("policy", "exempt", picture, "--index", index, "--uri", "astronaut.png")
    assert code == 0
    assert "the picture was block, and is now block" in text, "its duplicate still counts"
    every = told("policy", "exempt", picture, "--index", index, "--all")
    assert [pair["uri"] for pair in every["pairs"]] == ["again.jpg"], "the other one is no match any more"
    assert every["after"]["decision"] == "allow"


def test_what_cannot_be_meant_is_refused_and_changes_nothing(folder: Path) -> None:
    index = folder / "my.index"
    Image.fromarray(photograph("rocket", 256)).save(folder / "other.png")
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    for arguments, why in (
        (("exempt", folder / "other.png"), "nothing to exempt"),
        (("exempt", folder / "gone.png"), "no such file"),
        (("exempt", folder / "broken.png"), "damaged"),
        (("exempt", folder / "training" / "coffee.png", "--uri", "gone.png"), "gone.png"),
        (("exempt", folder / "training" / "coffee.png", "--until", "2001-01-01"), "over already"),
        (("unexempt", 7), "there is no pair 7"),
    ):
        code, _, said = run("policy", *arguments, "--index", index)
        assert code == 2, arguments
        assert why in said.replace("\n", " ")
    assert told("policy", "exemptions", "--index", index)["pairs"] == []
    named = told("policy", "exempt", folder / "other.png", "--index", index, "--id", 0)
    assert [pair["uri"] for pair in named["pairs"]] == ["again.jpg"], "a reference that is named is meant all the same"


def test_one_that_is_over(folder: Path) -> None:
    from guard.exempting import exemptions

    index = folder / "my.index"
    told("policy", "exempt", folder / "training" / "coffee.png", "--index", index, "--until", "2d")
    (one,) = exemptions(index)
    assert one.until is not None
    assert [later.over for later in exemptions(index, now=one.until)] == [True]


@pytest.fixture
def logged(folder: Path) -> tuple[Path, str]:
    log = folder / "events.sqlite"
    guard = Guard.open(folder / "my.index", events=log, deadline_s=None)
    with Image.open(folder / "training" / "astronaut.png") as image:
        guard.check(image)
    assert guard.events is not None
    guard.events.close()
    (event,) = EventLog(log).read()
    return log, event.id


def test_a_logged_image_is_reviewed(folder: Path, logged: tuple[Path, str]) -> None:
    index, (log, event) = folder / "my.index", logged
    review = ("events", "review", log, event[:8])
    assert told(*review, "unsure", "--index", index) == {
        "id": event, "outcome": "unsure", "exempted": 0, "not_exempted": None,
    }  # fmt: skip
    done = told(*review, "not-a-copy", "--index", index, "--all", "--who", "anna", "--note", "a copy of the statue")
    assert (done["outcome"], done["exempted"]) == ("not_a_copy", 2)
    assert decided(folder, "astronaut.png") == "allow"
    assert {one["why"] for one in told("policy", "exemptions", "--index", index)["pairs"]} == {
        f"review of event {event}"
    }
    assert [(r.who, r.outcome, r.note) for r in EventLog(log).reviews(event)][1:] == [
        ("anna", Outcome.NOT_A_COPY, "a copy of the statue")
    ]
    undone = told(*review, "--undo", "--index", index)
    assert (undone["outcome"], undone["exempted"]) == ("unsure", 0)
    assert decided(folder, "astronaut.png") == "block"
    code, text, _ = run(*review, "--undo", "--index", index)
    assert (code, "not reviewed" in text) == (0, True)


def test_a_review_that_cannot_be_meant(folder: Path, logged: tuple[Path, str]) -> None:
    log, event = logged
    shutil.copytree(folder / "my.index", folder / "other.index")
    for arguments, why in (
        ((event, "--index", folder / "my.index"), "give one outcome"),
        ((event, "confirm", "--undo", "--index", folder / "my.index"), "give one outcome"),
        ((event, "--undo", "--index", folder / "my.index"), "no review"),
        (("0" * 32, "confirm", "--index", folder / "my.index"), "holds no event"),
        ((event, "confirm", "--index", folder / "other.index"), "was checked against my.index"),
    ):
        code, _, said = run("events", "review", log, *arguments)
        assert code == 2, arguments
        assert why in said.replace("\n", " ")
    assert EventLog(log).reviews(event) == []
