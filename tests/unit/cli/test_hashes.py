"""Hashes at the command line: asked for or not, shown by `index info`, counted and shown by `check`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from guard.cli.main import app
from tests.support.references import photo_folder
from tests.support.tiny_models import onnx_file, preparation

runner = CliRunner()


@pytest.fixture
def embedder(tmp_path: Path) -> str:
    file = onnx_file(tmp_path / "tiny.onnx", preprocessing=str(preparation), name="tiny", weights_sha256="ab" * 32)
    return f"onnx:{file}"


def build(tmp_path: Path, embedder: str, *options: str) -> Path:
    out = tmp_path / "x.index"
    photos = photo_folder(tmp_path / "photos", 4)
    result = runner.invoke(
        app, ["index", "build", str(photos), "--out", str(out), "--embedder", embedder, "--restart", *options]
    )
    assert result.exit_code == 0, result.stderr
    return out


@pytest.mark.parametrize(
    ("options", "said"), [((), "PDQ, of 4 references"), (("--hashes",), "PDQ, of 4"), (("--no-hashes",), "none")]
)
def test_info_says_whether_there_are_hashes(tmp_path: Path, embedder: str, options: tuple[str], said: str) -> None:
    out = build(tmp_path, embedder, *options)
    shown = runner.invoke(app, ["index", "info", str(out)]).stdout
    assert said in next(line for line in shown.splitlines() if line.startswith("hashes"))
    document = json.loads(runner.invoke(app, ["index", "info", str(out), "--json"]).stdout)
    assert (document["hashes"] is None) == (said == "none")


def test_a_check_shows_the_bits_and_the_reason(tmp_path: Path, embedder: str) -> None:
    out, picture = build(tmp_path, embedder), str(tmp_path / "photos" / "0002.jpg")
    arguments = ["check", picture, "--index", str(out), "--embedder", embedder, "--flag", "2e-1", "--block", "1"]
    assert "PDQ 0 bits" in runner.invoke(app, arguments).stdout
    result = runner.invoke(app, [*arguments, "--json", "--fail-on", "block"])
    assert result.exit_code == 1, result.stderr
    (verdict,) = json.loads(result.stdout)["results"]
    assert verdict["matches"][0]["pdq_bits"] == 0
    assert "PDQ: 0 of 256 bits differ from 0002.jpg" in verdict["reasons"][0]
    config = tmp_path / "guard.toml"
    config.write_text("[policy]\nidentical = 'ignore'\n", encoding="utf-8")
    ignored = json.loads(runner.invoke(app, [*arguments, "--json", "--config", str(config)]).stdout)["results"][0]
    assert ignored["matches"][0]["pdq_bits"] is None
    assert not any("PDQ" in reason for reason in ignored["reasons"])
