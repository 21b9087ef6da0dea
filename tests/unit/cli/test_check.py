"""`memguard check` and the main command, in process, on a real index."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from guard import __version__
from guard.cli.main import app, main
from guard.embedders.registry import load_embedder
from guard.indexes.builder import build_index
from tests.support.toys import picture
from tests.support.waiting import WAIT_S

runner = CliRunner()


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("check")
    (folder / "training").mkdir()
    for i in range(6):
        picture(i, 256, 256).save(folder / "training" / f"{i}.png")
    build_index(folder / "training", folder / "my.index", load_embedder("pdq"))
    return folder / "my.index"


@pytest.fixture
def renders(tmp_path: Path) -> Path:
    folder = tmp_path / "renders"
    folder.mkdir()
    picture(3, 200, 200).save(folder / "copy.jpg", quality=85)
    picture(99, 200, 200).save(folder / "own.png")
    return folder


def run(*arguments: object) -> tuple[int, str, str]:
    result = runner.invoke(app, [str(a) for a in arguments])
    return result.exit_code, result.stdout, result.stderr


def test_a_folder_is_checked_and_printed(index: Path, renders: Path) -> None:
    code, out, _ = run("check", renders, "--index", index)
    assert code == 0
    assert {"block", "allow", "3.png"} <= set(out.split())
    assert "…" not in out


@pytest.mark.parametrize("verb", [("check",), ("policy", "explain")])
def test_a_threshold_that_does_not_fit_is_told_by_its_option(index: Path, renders: Path, verb: tuple[str, ...]) -> None:
    picture = renders / "own.png"
    code, _, said = run(*verb, picture, "--index", index, "--flag", "1.5")
    assert (code, said.endswith("less than or equal to 1 (from --flag)\n")) == (2, True)
    said = run(*verb, picture, "--index", index, "--flag", "0.9", "--block", "0.1")[2]
    assert "(from --flag and --block)" in said


def test_what_the_pixels_show_is_printed(index: Path, renders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(renders)  # short paths leave the table its lines
    out = run("check", "copy.jpg", "--index", index)[1]
    assert out.rstrip().endswith("near identical")  # all of the one on all of the other goes without saying
    monkeypatch.setenv("MEMGUARD_VERIFY_BUDGET_MS", "1e-6")  # a bound of one's own holds here too
    out = run("check", "copy.jpg", "--index", index)[1]
    assert "not verified" in out
    assert "identical" not in out


@pytest.mark.parametrize(
    ("fail_on", "name", "code"), [("block", "copy.jpg", 1), ("flag", "copy.jpg", 1), ("flag", "own.png", 0)]
)
def test_fail_on(index: Path, renders: Path, fail_on: str, name: str, code: int) -> None:
    assert run("check", renders / name, "--index", index, "--fail-on", fail_on)[0] == code


def test_json_is_one_document(index: Path, renders: Path) -> None:
    code, out, _ = run("check", renders, "--index", index, "--json")
    document = json.loads(out)
    assert code == 0
    by_name = {Path(r["image"]).name: r for r in document["results"]}
    assert by_name["copy.jpg"]["decision"] == "block"
    assert by_name["copy.jpg"]["action"] == "released"
    assert by_name["copy.jpg"]["matches"][0]["uri"] == "3.png"
    assert by_name["own.png"]["decision"] == "allow"


def test_an_unreadable_file_costs_only_itself(index: Path, renders: Path) -> None:
    (renders / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    code, out, err = run("check", renders, "--index", index, "--json", "--fail-on", "block")
    assert code == 2  # the highest of 1 (found) and 2 (bad input)
    assert "broken.png" in err
    results = json.loads(out)["results"]
    assert [("error" in r) for r in sorted(results, key=lambda r: r["image"])] == [True, False, False]


def test_thresholds_from_the_command_line(index: Path, renders: Path) -> None:
    code, out, _ = run("check", renders / "own.png", "--index", index, "--flag", "-1", "--block", "1", "--json")
    assert code == 0
    assert json.loads(out)["results"][0]["decision"] == "flag"


def test_a_missing_file_costs_only_itself_and_the_order_is_that_of_the_arguments(index: Path, renders: Path) -> None:
    (renders / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    (renders / "empty").mkdir()
    (renders / "link.png").symlink_to(renders / "gone.png")
    names = [renders / n for n in ("absent.png", "own.png", "broken.png", "empty", "link.png", "copy.jpg")]
    code, out, err = run("check", *names, "--index", index, "--json")
    assert code == 2
    results = json.loads(out)["results"]
    assert [r["image"] for r in results] == [str(name) for name in names]
    assert [r.get("decision") for r in results] == [None, "allow", None, None, None, "block"]
    assert "no such file" in results[0]["error"]
    assert "holds no picture" in results[3]["error"]
    assert err.count("skipped:") == 4


def test_a_folder_is_no_picture_to_explain(index: Path, renders: Path) -> None:
    code, _, err = run("policy", "explain", renders, "--index", index)
    assert (code, f"error: {renders} is a folder; name a picture in it\n") == (2, err)


def test_names_that_no_terminal_can_show(index: Path, tmp_path: Path) -> None:
    folder = tmp_path / "[draft] :smile:"
    folder.mkdir()
    path = os.fsencode(folder) + b"/\xff[b].png"
    try:
        with open(path, "wb") as file:  # noqa: PTH123 - a Path cannot hold these bytes
            picture(3, 200, 200).save(file, "PNG")
    except OSError:
        pytest.skip("this file system refuses names that are not UTF-8")
    environment = {**os.environ, "COLUMNS": "300", "PYTHONIOENCODING": "utf-8"}
    command = [sys.executable, "-m", "guard", "check", folder, "--index", index]
    table = subprocess.run(command, capture_output=True, env=environment, timeout=WAIT_S)
    assert (table.returncode, table.stderr) == (0, b"")
    assert b"[draft] :smile:/\\udcff[b].png" in table.stdout
    document = subprocess.run([*command, "--json"], capture_output=True, env=environment, timeout=WAIT_S)
    assert json.loads(document.stdout)["results"][0]["image"] == os.fsdecode(path)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["absent.png"], 2, "no such file: absent.png"),
        ([], 2, ""),
        (["--flag", "2"], 2, "policy.flag"),
    ],
)
def test_bad_usage_says_what_is_wrong(index: Path, renders: Path, arguments: list[str], code: int, said: str) -> None:
    images = [] if not arguments or arguments[0].endswith(".png") else [renders / "own.png"]
    found, _, err = run("check", *images, *arguments, "--index", index)
    assert found == code
    assert said in err.replace("\n", " ")


def test_a_missing_index_cannot_run(tmp_path: Path, renders: Path) -> None:
    code, _, err = run("check", renders, "--index", tmp_path / "no.index")
    assert code == 3
    assert "no.index" in err.replace("\n", "")


def test_an_error_that_nobody_foresaw_is_no_finding(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Python itself would leave with 1, which means that a picture was flagged."""
    monkeypatch.setattr(sys, "argv", ["memguard", "check", str(tmp_path), "--index", str(tmp_path / ("x" * 300))])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 3
    assert capsys.readouterr().err


def test_version_and_help() -> None:
    assert run("--version")[1].strip() == f"memguard {__version__}"
    code, out, _ = run("--help")
    assert code == 0
    assert "Examples" in out
    assert "Examples" in run("index", "--help")[1]
    for verb in ("check", "index", "models", "bench", "demo"):
        assert verb in out


def test_a_long_path_stays_in_one_piece(index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the terminal is narrow, too, and nothing is padded to the longest of all."""
    monkeypatch.setenv("COLUMNS", "80")
    folder = tmp_path / ("a folder of a long name " * 4).strip() / "and another one within it"
    folder.mkdir(parents=True)
    for name in ("a picture of a long name.png", "b.png"):
        picture(99, 200, 200).save(folder / name)
    out = run("check", folder, "--index", index)[1]
    assert str(folder / "a picture of a long name.png") in out
    assert all(line == line.rstrip() for line in out.splitlines())
    moved = folder / "the index of a long name.index"
    shutil.copytree(index, moved)
    assert f"{moved}, version 0001" in run("index", "info", moved)[1]
