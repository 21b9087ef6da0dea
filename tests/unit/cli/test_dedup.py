"""`memguard dedup`: exit codes, the table for people, JSON for programs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from guard.cli.main import app
from tests.support.references import photo_folder, tar_shard

runner = CliRunner()


def run(*words: object) -> tuple[int, str]:
    result = runner.invoke(app, ["dedup", *(str(word) for word in words)])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


def as_json(*words: object) -> tuple[int, Any]:
    result = runner.invoke(app, ["dedup", *(str(word) for word in words), "--json"])
    return result.exit_code, json.loads(result.stdout)


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = photo_folder(tmp_path / "photos", 4)
    shutil.copy(folder / "0001.jpg", folder / "9999.jpg")
    monkeypatch.chdir(tmp_path)
    return folder


def test_a_folder(photos: Path, tmp_path: Path) -> None:
    code, text = run(photos, "--embedder", "pdq", "--apply", tmp_path / "once")
    assert code == 0
    for word in (
        "1 of two or more",
        "1 (bytes 1)",
        "photos.dedup",
        f"{tmp_path / 'once'}: 4 pictures kept",
        "4 files linked",
    ):
        assert word in text, text
    assert (tmp_path / "photos.dedup" / "clusters.html").exists()
    assert len(list((tmp_path / "once").glob("*.jpg"))) == 4


def test_an_index(photos: Path, tmp_path: Path) -> None:
    assert runner.invoke(app, ["index", "build", str(photos), "--out", "x.index", "--embedder", "pdq"]).exit_code == 0
    code, report = as_json("x.index", "--keep", "oldest", "--apply", "once", "--source", photos, "--copy")
    assert (code, report["kept"], report["dropped"], report["version"]) == (0, 4, {"bytes": 1}, "0002")
    assert report["applied"]["copied"] == 4
    info = runner.invoke(app, ["index", "info", "x.index"]).output
    assert "1 of two or more, with 2 of 5 references; the largest has 2" in info
    assert run("x.index", "--no-publish")[0] == 0
    checked = runner.invoke(app, ["check", str(photos / "0001.jpg"), "--index", "x.index"]).output
    assert "2 times" in checked


def test_a_sealed_index_is_compared_with_its_key(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MEMGUARD_INDEX_KEY_FILE", raising=False)
    (tmp_path / "x.key").write_text("ab" * 32)
    build = ["index", "build", str(photos), "--out", "x.index", "--embedder", "pdq", "--key", "x.key"]
    assert runner.invoke(app, build).exit_code == 0
    report = as_json("x.index")[1]
    assert "without comparing pixels" in report["method"]
    assert "sealed, and no key" in report["note"]
    report = as_json("x.index", "--key", "x.key")[1]
    assert "compared pixel by pixel" in report["method"]
    assert report["note"] == ""
    assert as_json(photos, "--embedder", "pdq", "--out", "sealed", "--key", "x.key")[0] == 0
    (thumbnails,) = (tmp_path / "sealed").rglob("thumbnails.sqlite")
    assert b"JFIF" not in thumbnails.read_bytes()


def test_unreadable_pictures_exit_with_2(photos: Path) -> None:
    (photos / "bad.jpg").write_bytes(b"text")
    code, report = as_json(photos, "--embedder", "pdq")
    assert (code, report["skipped"], report["kept"]) == (2, {"not_an_image": 1}, 4)


def test_a_source_without_pictures_exits_with_2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "none").mkdir()
    monkeypatch.chdir(tmp_path)
    code, report = as_json("none", "--embedder", "pdq")
    assert (code, report["pictures"], report["largest"]) == (2, 0, 0)


def test_names_of_the_folder_of_results(photos: Path, tmp_path: Path) -> None:
    for number in range(2):
        tar_shard(tmp_path / f"s-{number}.tar", [(f"{number}.jpg", (photos / f"000{number}.jpg").read_bytes())])
    assert run(f"{tmp_path}/s-{{0..1}}.tar", "--embedder", "pdq")[0] == 0
    assert (tmp_path / "s-0-1.dedup" / "keep.keys").read_text() == "0\n1\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("none",), "does not exist"),
        (("photos", "--source", "photos"), "belong to one"),
        (("photos", "--collection", "training"), "belong to one"),
        (("photos", "--out", "photos/out"), "lies within"),
        (("photos", "--out", "photos"), "is the source itself"),
        (("photos", "--apply", "photos/once"), "lies within"),
        (("photos", "--similarity", "1.5"), "similarity is 1.5"),
        (("photos", "--keep", "smallest"), "smallest"),
        (("x.index", "--embedder", "pdq"), "belong to a source"),
        (("x.index", "--apply", "once"), "--source"),
        (("x.index", "--collection", "none"), "no collection 'none'"),
        (("x.index", "--out", "x.index"), "is an index"),
    ],
)
def test_wrong_usage_exits_with_2(photos: Path, words: tuple[str, ...], said: str) -> None:
    runner.invoke(app, ["index", "build", str(photos), "--out", "x.index", "--embedder", "pdq"])
    code, text = run(*words)
    assert code == 2
    assert said in " ".join(text.split()), text
