"""`memguard check --verify` and `--explain`, in process, on a real index."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from guard.cli.main import app
from guard.embedders.registry import load_embedder
from guard.indexes.builder import build_index
from tests.support.photographs import photograph

runner = CliRunner()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("explain")
    (folder / "training").mkdir()
    (folder / "renders").mkdir()
    for name in ("astronaut", "chelsea"):
        Image.fromarray(photograph(name)).save(folder / "training" / f"{name}.png")
    Image.fromarray(np.ascontiguousarray(photograph("chelsea")[20:140, 30:190])).save(folder / "renders" / "crop.png")
    Image.fromarray(photograph("rocket")).save(folder / "renders" / "own.png")
    build_index(folder / "training", folder / "my.index", load_embedder("pdq"))
    build_index(folder / "training", folder / "bare.index", load_embedder("pdq"), thumbnails=0)
    (folder / "verify.toml").write_text("verify = true\nverify_budget_ms = 60000\n")
    return folder


def run(*arguments: object) -> tuple[int, str, str]:
    result = runner.invoke(app, [str(a) for a in arguments])
    return result.exit_code, result.stdout, result.stderr


def decisions(text: str) -> list[str]:
    return [result["decision"] for result in json.loads(text)["results"]]


def test_verify_finds_the_crop(folder: Path) -> None:
    common = ("check", folder / "renders", "--index", folder / "my.index", "--json")
    code, plain, _ = run(*common, "--no-verify")
    assert (code, decisions(plain)) == (0, ["allow", "allow"])
    code, verified, _ = run(*common, "--config", folder / "verify.toml", "--fail-on", "flag")
    assert (code, decisions(verified)) == (1, ["flag", "allow"])
    assert json.loads(verified)["results"][0]["matches"][0]["evidence"]["kind"] == "partial"
    code, off, _ = run(*common, "--config", folder / "verify.toml", "--no-verify")
    assert decisions(off) == ["allow", "allow"]
    assert decisions(run(*common)[1]) == ["flag", "allow"]  # nobody asked for it, and it can be done


def test_explain_draws_a_strip_for_each_and_decides_nothing(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "evidence.png"
    common = ("check", folder / "renders", "--index", folder / "my.index", "--no-verify", "--json", "--fail-on", "flag")
    code, text, said = run(*common, "--explain", out)
    assert (code, decisions(text)) == (0, ["allow", "allow"])
    assert "evidence of 2" in said
    with Image.open(out) as sheet:
        assert sheet.format == "PNG"
        assert sheet.height > 2 * 240
        assert np.asarray(sheet).std() > 20


def test_explain_says_what_it_cannot_draw(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "evidence.png"
    code, _, said = run("check", folder / "renders", "--index", folder / "bare.index", "--explain", out,
                        "--no-originals")  # fmt: skip
    assert code == 0
    assert "2 without a reference's thumbnail" in said
    assert not out.exists()


@pytest.mark.parametrize("name", ["evidence.jpg", "nowhere/evidence.png"])
def test_a_file_that_cannot_be_written_is_refused_before_the_work(folder: Path, tmp_path: Path, name: str) -> None:
    code, _, said = run("check", folder / "renders", "--index", folder / "my.index", "--explain", tmp_path / name)
    assert code == 2
    assert "--explain" in said
