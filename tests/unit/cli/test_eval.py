"""`memguard eval descriptors` over real files: its table, its file, its exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from guard.cli.main import app
from tests.support.toys import picture

runner = CliRunner()


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for seed in range(7):
        picture(seed, 64, 48).save(folder / f"{seed}.png")
    return folder


def test_a_run_prints_a_table_and_writes_the_file(photos: Path, tmp_path: Path) -> None:
    target = tmp_path / "figures.json"
    result = runner.invoke(
        app, ["eval", "descriptors", "--images", str(photos), "--splits", "1", "--json", str(target)]
    )
    assert result.exit_code == 0, result.stderr
    document = json.loads(target.read_text(encoding="utf-8"))
    assert len(document["protocol"]["edits"]) >= 34
    assert {"pdq", "pdq+views", "phash", "l2", "default"} <= set(document["results"])
    assert "photographs: 6 pictures of 6 sources" in result.stdout
    for word in ("pdq+views", "photometric", "combination", "all edits", "recall@1"):
        assert word in result.stdout
    value = document["results"]["pdq"]["photographs"]["family:photometric"]["recall_at_1"]["value"]
    assert f"{100 * value:.1f} [" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give pictures"),
        (["--group", "xrays"], "NAME=DIR"),
        (["--images", "nowhere"], "no such folder: nowhere"),
        (["--images", ".", "--embedder", "nothing"], "unknown embedder"),
    ],
)
def test_bad_input_is_refused_before_any_work(arguments: list[str], message: str, tmp_path: Path) -> None:
    result = runner.invoke(app, ["eval", "descriptors", *arguments, "--json", str(tmp_path / "x.json")])
    assert result.exit_code == 2
    assert message in result.stderr
    assert not (tmp_path / "x.json").exists()


def test_a_target_without_a_folder_is_refused(photos: Path, tmp_path: Path) -> None:
    target = tmp_path / "none" / "x.json"
    result = runner.invoke(app, ["eval", "descriptors", "--images", str(photos), "--json", str(target)])
    assert result.exit_code == 2
    assert "no such folder" in result.stderr


def test_an_unreadable_picture_is_named_and_the_rest_measured(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    target = tmp_path / "x.json"
    result = runner.invoke(
        app,
        ["eval", "descriptors", "--images", str(photos), "--images", str(tmp_path), "--splits", "1", "--no-baselines",
         "--embedder", "pdq", "--json", str(target)],
    )  # fmt: skip
    assert result.exit_code == 2
    assert "bad.png" in result.stderr
    results = json.loads(target.read_text(encoding="utf-8"))["results"]
    assert set(results) == {"pdq", "pdq+views"}
