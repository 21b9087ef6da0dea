"""`memguard index transform`: what it says, in words and as JSON, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from guard.cli.main import app
from guard.indexes.builder import build_index
from tests.support.references import photo_folder
from tests.support.tiny_models import onnx_file, preparation
from tests.support.toys import picture

runner = CliRunner()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return onnx_file(tmp_path_factory.mktemp("model") / "own.onnx", preprocessing=str(preparation))


@pytest.fixture
def index(tmp_path: Path, model: Path) -> Path:
    from guard.embedders.registry import load_embedder

    build_index(photo_folder(tmp_path / "photos", 12), tmp_path / "x.index", load_embedder(f"onnx:{model}"))
    return tmp_path / "x.index"


def run(*words: object) -> Any:
    return runner.invoke(app, ["index", "transform", *map(str, words)])


def test_whitening_and_background_in_words_and_as_json(index: Path, model: Path, tmp_path: Path) -> None:
    others = photo_folder(tmp_path / "others", 0)
    for seed in (3, *range(200, 208)):
        picture(seed).save(others / f"{seed}.png")
    result = run(index, "--whiten", "--background", others, "--embedder", f"onnx:{model}", "--beta", "0.5")
    assert result.exit_code == 0, result.stderr
    for word in ("version 0002: 12 references", "8 of 8 directions", "(Ledoit-Wolf)", "0.5 x mean of the 3 nearest",
                 "folder others", "1 background pictures are references, or nearly"):  # fmt: skip
        assert word in result.stdout
    assert "policy.flag" in result.stderr
    told = runner.invoke(app, ["index", "info", str(index)]).stdout
    assert "fitted on 12 references" in told
    document = json.loads(run(index, "--nearest", "2", "--json").stdout)
    assert document["transform"]["normalisation"]["nearest"] == 2
    assert (document["count"], document["version"]) == (12, "0003")
    result = run(index, "--remove")
    assert (result.exit_code, "no transform" in result.stdout, result.stderr) == (0, True, "")


def test_an_unreadable_background_picture_is_named_and_the_rest_serve(index: Path, model: Path, tmp_path: Path) -> None:
    others = photo_folder(tmp_path / "others", 0)
    for seed in range(200, 206):
        picture(seed).save(others / f"{seed}.png")
    (others / "bad.png").write_bytes(b"")
    result = run(index, "--background", others, "--embedder", f"onnx:{model}")
    assert result.exit_code == 2
    assert "bad.png" in result.stderr
    assert "normalisation" in result.stdout


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ((), 2, "say what to do"),
        (("--remove", "--whiten"), 2, "alone"),
        (("--remove",), 2, "no transform"),
        (("--background", "nowhere"), 2, "onnx:FILE"),
        (("--whiten", "--dim", "99"), 2, "1 to 8"),
    ],
)
def test_what_is_refused(index: Path, words: tuple[str, ...], code: int, said: str) -> None:
    result = run(index, *words)
    assert result.exit_code == code
    assert said in result.stderr


def test_no_index_cannot_be_transformed(tmp_path: Path) -> None:
    result = run(tmp_path / "none.index", "--whiten")
    assert result.exit_code == 3
    assert "index build" in result.stderr
