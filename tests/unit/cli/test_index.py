"""The index verbs: exit codes, tables for people, JSON for programs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from guard.cli.index import index_app
from guard.cli.main import app
from tests.support.references import photo_folder, tar_shard
from tests.support.tiny_models import onnx_file, preparation, script_file

runner = CliRunner()


def run(*words: object) -> tuple[int, str]:
    result = runner.invoke(index_app, [str(word) for word in words])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


def as_json(*words: object) -> tuple[int, Any]:
    result = runner.invoke(index_app, [str(word) for word in words] + ["--json"])
    return result.exit_code, json.loads(result.stdout)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return photo_folder(tmp_path / "photos", 6)


@pytest.fixture
def index(tmp_path: Path, photos: Path) -> Path:
    assert run("build", photos, "--out", tmp_path / "x.index", "--no-small")[0] == 0
    return tmp_path / "x.index"


def test_build_says_what_it_did(tmp_path: Path, photos: Path) -> None:
    code, text = run("build", photos, "--out", tmp_path / "x.index", "--embedder", "pdq", "--thumbnails", 0)
    assert code == 0
    assert "6 references added" in text
    code, text = run("build", photos, "--out", tmp_path / "x.index", "--embedder", "pdq", "--thumbnails", 0)
    assert code == 0
    assert "has not changed" in text


def test_build_says_that_it_whitened(tmp_path: Path, photos: Path, index: Path) -> None:
    """Which changes what similarities mean, by default in larger sets."""
    assert "whitening" not in run("build", photos, "--out", index, "--no-small")[1]
    code, text = run("build", photos, "--out", tmp_path / "w.index", "--whiten")
    assert code == 0
    assert "whitening: 256 of 256 directions" in text
    assert "fitted on 6 references" in text
    code, report = as_json("build", photos, "--out", tmp_path / "w.index", "--whiten")
    assert (code, report["transform"]["whitening"]["references"]) == (0, 6)
    assert as_json("build", photos, "--out", index, "--no-small")[1]["transform"] is None


def test_build_looks_for_duplicates_where_it_is_asked_to(tmp_path: Path, photos: Path) -> None:
    first = sorted(photos.iterdir())[0]
    (photos / f"again-{first.name}").write_bytes(first.read_bytes())
    target = tmp_path / "x.index"
    assert as_json("build", photos, "--out", target, "--no-small")[1]["clusters"] is None
    code, report = as_json("build", photos, "--out", target, "--no-small", "--clusters")
    assert (code, report["unchanged"], report["version"]) == (0, True, "0002")
    assert {name: report["clusters"][name] for name in ("clusters", "members", "largest")} == {
        "clusters": 1, "members": 2, "largest": 2,
    }  # fmt: skip
    code, text = run("build", photos, "--out", target, "--no-small", "--clusters")
    assert (code, "version 0002" in text) == (0, True)  # nothing new is published
    assert "clusters: 1 of two or more, with 2 of 7 references; the largest has 2" in text
    assert as_json("info", target)[1]["clusters"] == report["clusters"]


def test_build_lists_what_it_skipped_and_exits_with_2(tmp_path: Path, photos: Path) -> None:
    (photos / "bad.jpg").write_bytes(b"text")
    code, text = run("build", photos, "--out", tmp_path / "x.index", "--no-small")
    assert code == 2
    assert "not_an_image" in text
    assert "skipped.jsonl" in text
    code, report = as_json("build", photos, "--out", tmp_path / "x.index", "--restart", "--no-small")
    assert code == 2
    assert (report["count"], report["skipped"], report["version"]) == (6, {"not_an_image": 1}, "0002")


def test_build_from_shards_with_every_option(tmp_path: Path) -> None:
    pictures = [(f"{p.stem}.jpg", p.read_bytes()) for p in sorted(photo_folder(tmp_path / "p", 4).iterdir())]
    tar_shard(tmp_path / "s-0.tar", pictures[:2])
    tar_shard(tmp_path / "s-1.tar", pictures[2:])
    options = "--batch 2 --workers 1 --thumbnails 32 --keep 1 --max-pixels 5000 --collection a --collection b"
    code, report = as_json("build", tmp_path / "s-{0..1}.tar", "--out", tmp_path / "x.index", *options.split())
    assert (code, report["count"]) == (0, 4)
    assert as_json("info", tmp_path / "x.index")[1]["collections"] == {"a": 4, "b": 4}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("build", "{tmp}/none", "--out", "{tmp}/x.index"), "does not exist"),
        (("build", "{tmp}/photos", "--out", "{tmp}/photos"), "holds other files"),
        (("build", "{tmp}/photos", "--out", "{tmp}/x.index", "--embedder", "none"), "known: "),
        (("build", "{tmp}/photos", "--out", "{tmp}/x.index", "--image-column", "x"), "parquet"),
        (("build", "{tmp}/photos"), "--out"),
    ],
)
def test_wrong_usage_exits_with_2(tmp_path: Path, photos: Path, words: tuple[str, ...], said: str) -> None:
    code, text = run(*(word.format(tmp=tmp_path) for word in words))
    assert code == 2
    assert said in text


def test_no_index_exits_with_3(tmp_path: Path, photos: Path) -> None:
    for words in (("info",), ("verify",), ("add", photos, "--index"), ("remove", "--id", "1")):
        code, text = run(*words, tmp_path / "none.index")
        assert code == 3, words
        assert "index build" in text


def test_info_for_people(index: Path) -> None:
    code, text = run("info", index)
    assert code == 0
    for word in (
        "version 0001",
        "references",
        "procedural (256 values",
        "folder photos",
        "training: 6",
        "vectors.faiss",
    ):
        assert word in text


def test_add_and_remove(tmp_path: Path, index: Path) -> None:
    code, report = as_json("add", photo_folder(tmp_path / "more", 2), "--index", index, "--collection", "protected")
    assert (code, report["added"], report["count"]) == (0, 2, 8)
    code, report = as_json("remove", index, "--collection", "protected", "--uri", "0003.jpg")
    assert (code, report["removed"], report["count"]) == (0, 3, 5)
    assert run("remove", index)[0] == 2
    assert run("remove", index, "--id", 99)[0] == 2
    assert run("remove", index, "--id", 0)[1].startswith("1 reference removed")


def test_verify_exits_with_1_on_damage(index: Path) -> None:
    assert run("verify", index)[0] == 0
    assert as_json("verify", index) == (
        0,
        {
            "path": str(index),
            "damaged": False,
            "checks": [
                {"check": name, "problem": None}
                for name in ("files", "vectors", "hashes", "records", "thumbnails", "skipped", "search")
            ],
        },
    )
    (index / "versions" / "0001" / "vectors.faiss").write_bytes(b"")
    code, text = run("verify", index)
    assert code == 1
    assert "vectors.faiss" in text
    (index / "versions" / "0001" / "manifest.json").write_bytes(b"")
    code, report = as_json("verify", index)
    assert (code, report["damaged"]) == (1, True)


def test_merge(tmp_path: Path, index: Path) -> None:
    """Of three pictures the first index holds two."""
    more = photo_folder(tmp_path / "more", 3, first=4)
    assert run("build", more, "--out", tmp_path / "y.index", "--no-small")[0] == 0
    code, report = as_json("merge", index, tmp_path / "y.index", "--out", tmp_path / "z.index")
    assert (code, report["count"], report["already_there"]) == (0, 7, 2)
    code, said = run("merge", index, tmp_path / "y.index", "--out", tmp_path / "z.index")
    assert code == 0
    assert "2 references of" in said
    assert "--duplicates keeps them" in said
    code, report = as_json("merge", index, tmp_path / "y.index", "--out", tmp_path / "z.index", "--duplicates")
    assert (code, report["count"], report["already_there"]) == (0, 9, 0)
    assert run("merge", index, tmp_path / "y.index", "--out", index)[0] == 2


@pytest.mark.parametrize("verb", ["build", "add", "info", "verify", "merge", "remove"])
def test_help_has_an_example(verb: str) -> None:
    code, text = run(verb, "--help")
    assert code == 0
    assert f"memguard index {verb}" in text


@pytest.mark.parametrize("beside", [0, 1])
def test_a_source_that_holds_nothing_is_bad_input(tmp_path: Path, beside: int) -> None:
    """An index of nothing allows everything, so that nobody should get one without a word."""
    (tmp_path / "data" / "train").mkdir(parents=True)
    if beside:
        tar_shard(tmp_path / "data" / "train" / "s.tar", [("a.jpg", b"x")])
    code, text = run("build", tmp_path / "data", "--out", tmp_path / "x.index")
    assert code == 2
    assert "holds no picture" in text
    assert ("1 other files" in text) == bool(beside)


def test_names_in_brackets_are_printed_as_they_are(tmp_path: Path) -> None:
    photos = photo_folder(tmp_path / "scans[draft][" / "b]", 1).parent
    code, text = run("build", photos, "--out", tmp_path / "x[bold][" / "b].index", "--no-small")
    assert code == 0
    assert "x[bold][/b].index, version 0001" in text
    code, text = run("info", tmp_path / "x[bold][" / "b].index")
    assert code == 0
    assert "folder scans[draft][" in text


def test_an_id_beyond_every_index_matches_nothing(index: Path) -> None:
    code, text = run("remove", index, "--id", 10**30)
    assert code == 2
    assert "nothing was removed" in text


@pytest.mark.parametrize("kind", ["onnx", "torchscript"])
def test_an_index_of_a_model_file_can_be_extended(tmp_path: Path, photos: Path, kind: str) -> None:
    if kind == "onnx":
        file = onnx_file(tmp_path / "own.onnx", preprocessing=str(preparation))
    else:
        file = script_file(tmp_path / "own.pt", preprocessing=str(preparation))
    more, index = photo_folder(tmp_path / "more", 2, first=500), tmp_path / "x.index"
    assert run("build", photos, "--out", index, "--embedder", f"{kind}:{file}")[0] == 0
    code, text = run("add", more, "--index", index)
    assert code == 2
    assert "'own'" in text.replace("\n", "")
    assert f"{kind}:FILE" in text
    code, text = run("add", more, "--index", index, "--embedder", f"{kind}:{file}")
    assert code == 0
    assert "8 references" in text
    options = ["--index", str(index), "--flag", "0.9", "--block", "0.99"]
    assert runner.invoke(app, ["check", str(more), *options]).exit_code == 2
    checked = runner.invoke(app, ["check", str(more), *options, "--embedder", f"{kind}:{file}", "--fail-on", "block"])
    assert checked.exit_code == 1
