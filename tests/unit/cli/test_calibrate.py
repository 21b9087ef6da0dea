"""`memguard calibrate`: what it says, in words and as JSON, what it refuses, and what other verbs make of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from guard.cli.main import app
from guard.embedders.registry import load_embedder
from guard.indexes.builder import build_index
from tests.support.pictures_in_memory import InMemory
from tests.support.tiny_models import onnx_file, preparation
from tests.support.toys import picture

runner = CliRunner()
N = 110


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return onnx_file(tmp_path_factory.mktemp("model") / "own.onnx", preprocessing=str(preparation))


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clean")
    for seed in range(200, 200 + N):
        picture(seed, 32, 32).save(folder / f"{seed}.png")
    return folder


@pytest.fixture
def index(tmp_path: Path, model: Path) -> Path:
    source = InMemory([picture(i, 32, 32) for i in range(N)])
    build_index(source, tmp_path / "x.index", load_embedder(f"onnx:{model}"), thumbnails=0)
    return tmp_path / "x.index"


def run(*words: object) -> Any:
    return runner.invoke(app, [*map(str, words)])


def test_clean_pictures_in_words(index: Path, model: Path, clean: Path) -> None:
    result = run("calibrate", index, "--clean", clean, "--embedder", f"onnx:{model}", "--target", 0.2)
    assert result.exit_code == 0, result.stderr
    for word in (f"version 0002: {N} references", f"{N} clean pictures ({clean.name})", "0.2 ", "counts",
                 f"by PDQ: 0 of {N}, at most 0.033", "too few for a tail"):  # fmt: skip
        assert word in result.stdout
    told = run("index", "info", index).stdout
    assert "0.2: threshold" in told
    assert "stale" not in told
    assert "was not recorded" not in told


def test_references_as_json(index: Path) -> None:
    result = run("calibrate", index, "--from-references", "--target", "0.3", "--target", "1e-3", "--json",
                 "--duplicate", "0.9999")  # fmt: skip
    assert result.exit_code == 2  # one of the rates that were asked for has no threshold
    document = json.loads(result.stdout)
    assert document["source"] == "references"
    assert document["duplicate"] == 0.9999
    assert "levels" not in document
    (entry,) = document["thresholds"]
    assert entry["rate"] == 0.3
    assert entry["low"] <= entry["estimate"] <= entry["similarity"] <= 1
    assert "more clean pictures" in document["unsupported"]["0.001"]
    info = json.loads(run("index", "info", index, "--json").stdout)["calibration"]
    assert info["thresholds"] == document["thresholds"]
    assert info["stale"] == []


def test_a_check_takes_a_rate(index: Path, model: Path, clean: Path) -> None:
    run("calibrate", index, "--clean", clean, "--embedder", f"onnx:{model}")
    checked = run("check", clean, "--index", index, "--embedder", f"onnx:{model}", "--flag", "fpr:0.2", "--block", "1",
                  "--json")  # fmt: skip
    assert checked.exit_code == 0, checked.stderr
    results = json.loads(checked.stdout)["results"]
    assert sum(one["decision"] != "allow" for one in results) <= 0.2 * N
    refused = run("check", clean, "--index", index, "--embedder", f"onnx:{model}", "--flag", "fpr:1e-5")
    assert refused.exit_code == 2
    assert "policy.flag = fpr:1e-05" in refused.stderr
    assert "more clean pictures" in refused.stderr


def test_a_stale_one_is_said(index: Path) -> None:
    run("calibrate", index, "--from-references", "--duplicate", "0.9999")
    assert run("index", "transform", index, "--whiten").exit_code == 0
    assert "stale: the index's transform is another one" in run("index", "info", index).stdout


def test_copies_among_the_clean_pictures_are_named(index: Path, model: Path, clean: Path, tmp_path: Path) -> None:
    folder = tmp_path / "clean"
    folder.mkdir()
    for file in clean.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    picture(4, 64, 64).save(folder / "copy.png")
    result = run("calibrate", index, "--clean", folder, "--embedder", f"onnx:{model}")
    assert result.exit_code == 0
    assert "identical to a reference by PDQ: copy.png; take copies out" in result.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "--clean SOURCE, --pipeline MODEL, or --from-references"),
        (("--clean", "photos", "--from-references"), "--clean SOURCE, --pipeline MODEL, or --from-references"),
        (("--from-references", "--target", "2"), "between 0 and 1"),
        (("--from-references", "--duplicate", "3"), "bar of duplicates"),
        (("--from-references", "--query-views", "turns"), "give clean pictures"),
    ],
)
def test_what_does_not_fit_exits_with_2(index: Path, words: tuple[str, ...], said: str) -> None:
    result = run("calibrate", index, *words)
    assert result.exit_code == 2
    assert said in result.stderr


def test_no_index_exits_with_3(tmp_path: Path) -> None:
    assert run("calibrate", tmp_path / "x.index", "--from-references").exit_code == 3
