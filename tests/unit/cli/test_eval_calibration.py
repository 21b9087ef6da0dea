"""`memguard eval calibration`: on procedural pictures and photographs, with a small network."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner

from guard.cli.main import app
from tests.support.photographs import photograph
from tests.support.tiny_models import onnx_file, preparation
from tests.support.toys import picture

runner = CliRunner()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return onnx_file(tmp_path_factory.mktemp("model") / "own.onnx", preprocessing=str(preparation))


def run(*words: object) -> Any:
    return runner.invoke(app, ["eval", "calibration", *map(str, words)])


def test_folders_of_pictures(model: Path, tmp_path: Path) -> None:
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        for seed in range(60):
            picture(seed + 1000 * (name == "other"), 64, 64).save(tmp_path / name / f"{seed}.png")
    (tmp_path / "one" / "damaged.png").write_bytes(b"\x89PNG")
    found = tmp_path / "found.json"
    result = run("--group", f"one={tmp_path / 'one'}", "--group", f"other={tmp_path / 'other'}", "--json", found,
                 "--embedder", f"onnx:{model}", "--size", 20, "--size", 5000, "--resamples", 3)  # fmt: skip
    assert result.exit_code == 2, result.stderr  # one picture was skipped
    assert "damaged.png" in result.stderr
    assert "120 pictures of 120 sources in 2 groups, 3 resamples" in result.stdout
    assert "too few pictures for 5000 references" in result.stdout
    document = json.loads(found.read_text(encoding="utf-8"))
    assert document["sizes"] == [20]
    assert document["embedder"]["dim"] == 8
    assert {point["kind"] for point in document["points"]} == {"size"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "--group NAME=DIR, or --procedural COUNT"),
        (("--group", "photos"), "write NAME=DIR"),
        (("--procedural", "1"), "12 sources are too few"),
    ],
)
def test_what_does_not_fit_exits_with_2(words: tuple[str, ...], said: str, model: Path, tmp_path: Path) -> None:
    result = run("--json", tmp_path / "x.json", "--embedder", f"onnx:{model}", *words)
    assert result.exit_code == 2
    assert said in result.stderr


@pytest.mark.slow
def test_rates_come_true_on_procedural_pictures_and_photographs(tmp_path: Path) -> None:
    """Twelve families and parts of four photographs, 20 resamples, 100 and 400 references, the shipped descriptor."""
    photographs = tmp_path / "photographs"
    photographs.mkdir()
    rows = ["file\tphotograph"]
    for name in ("astronaut", "chelsea", "coffee", "rocket"):
        whole = Image.fromarray(photograph(name, 512))
        for i, box in enumerate([(0, 0, 200, 200), (100, 60, 300, 260), (200, 80, 400, 280)]):
            whole.crop(box).save(photographs / f"{name}{i}.png")
            rows.append(f"photographs/{name}{i}.png\t{name}")
    (tmp_path / "same.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    found = tmp_path / "found.json"
    pictures = ["--procedural", 75, "--group", f"photographs={photographs}", "--same", tmp_path / "same.tsv",
                "--cache", tmp_path / "cache", "--json", found]  # fmt: skip
    result = run(*pictures, "--size", 100, "--size", 400)
    assert result.exit_code == 0, result.stderr
    document = json.loads(found.read_text(encoding="utf-8"))
    assert document["resamples"] == 20
    every = {one["kind"]: one for one in document["coverage"] if one["references"] is None}
    for kind in ("size", "growth"):
        assert every[kind]["judged"] >= 20
        assert every[kind]["share"] >= 0.9, kind
    # As indexes of so many compare, whitened and beside rivals: what is predicted of a grown one is an upper bound.
    result = run(*pictures, "--size", 260, "--size", 420, "--as-indexed")
    assert result.exit_code == 0, result.stderr
    document = json.loads(found.read_text(encoding="utf-8"))
    assert document["as_indexed"] is True
    every = {one["kind"]: one for one in document["coverage"] if one["references"] is None}
    assert every["size"]["share"] >= 0.9
    assert every["growth"]["judged"] >= 20
    assert every["growth"]["above"] <= 0.05 * every["growth"]["judged"]
