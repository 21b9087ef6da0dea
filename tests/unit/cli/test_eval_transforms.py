"""`memguard eval descriptors` with whitening and a background."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from guard.cli.main import app
from tests.support.tiny_models import onnx_file, preparation
from tests.support.toys import picture

runner = CliRunner()


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    (tmp_path / "photos").mkdir()
    for seed in range(7):
        picture(seed, 64, 48).save(tmp_path / "photos" / f"{seed}.png")
    return tmp_path / "photos"


def test_transforms_take_part_and_are_compared_with_the_plain_embedder(photos: Path, tmp_path: Path) -> None:
    model = onnx_file(tmp_path / "own.onnx", preprocessing=str(preparation))
    others = tmp_path / "others"
    others.mkdir()
    for seed in range(40, 46):
        picture(seed, 64, 48).save(others / f"{seed}.png")
    target, name = tmp_path / "x.json", f"onnx:{model}"
    result = runner.invoke(
        app,
        ["eval", "descriptors", "--images", str(photos), "--background", str(others), "--whitened", "--splits", "1",
         "--nearest", "2", "--no-baselines", "--embedder", name, "--json", str(target)],
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    document = json.loads(target.read_text(encoding="utf-8"))
    ways = [f"{name}+{way}" for way in ("whitened", "normalised", "whitened+normalised", "whitened+rivals")]
    assert list(document["results"]) == [name, *ways]
    assert list(document["paired"]) == ways
    assert document["background"]["pictures"] == 6
    assert "whitened+normalised" in result.stdout


def test_bits_cannot_be_whitened(photos: Path, tmp_path: Path) -> None:
    result = runner.invoke(
        app,
        ["eval", "descriptors", "--images", str(photos), "--whitened", "--no-baselines", "--embedder", "pdq",
         "--json", str(tmp_path / "x.json")],
    )  # fmt: skip
    assert result.exit_code == 2
    assert "floating-point" in result.stderr
