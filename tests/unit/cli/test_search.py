"""`memguard search`: a table for people, JSON for programs, files for other tools."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from guard.cli.main import app
from guard.embedders.torch_loaders import from_transformers
from guard.indexes import build_index
from tests.support.references import jpeg, photo_folder
from tests.support.tiny_clip import PREPROCESSING, clip_folder
from tests.support.tiny_models import onnx_file, preparation

runner = CliRunner()


def run(*words: object) -> tuple[int, str, str]:
    result = runner.invoke(app, ["search", *(str(word) for word in words)])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tmp_path = tmp_path_factory.mktemp("search")
    photos = photo_folder(tmp_path / "photos", 8)
    for i in range(8):
        (photos / f"{i:04d}.txt").write_text(f"[b]picture {i} of a {'fox' if i % 2 else 'crow'}", encoding="utf-8")
    assert runner.invoke(app, ["index", "build", str(photos), "--out", str(tmp_path / "x.index")]).exit_code == 0
    return tmp_path / "x.index"


def test_by_picture(tmp_path: Path, index: Path) -> None:
    (tmp_path / "mine.jpg").write_bytes(jpeg(5))
    code, text, said = run(tmp_path / "mine.jpg", "--index", index, "--limit", 3)
    assert code == 0
    first = text.splitlines()[1]
    assert ", PDQ 0 bits" in first  # the similarity of a picture to itself is below 1 where scores are normalised
    assert "0005.jpg" in first
    assert "[b]picture 5 of a fox" in first
    assert "it is in there: 1 picture of the same PDQ hash" in text
    assert "more with --offset 3" in said
    assert "in there" not in run(tmp_path / "mine.jpg", "--index", index, "--limit", 3, "--offset", 3)[1]
    (tmp_path / "other.jpg").write_bytes(jpeg(777))
    page = json.loads(run(tmp_path / "other.jpg", "--index", index, "--json")[1])
    (nearest, *_), said = page["hits"], run(tmp_path / "other.jpg", "--index", index)[1]
    near = nearest["similarity"] >= page["thresholds"]["flag"]
    assert ("nothing is near enough to be flagged" in said) is not near
    assert f"the nearest has similarity {nearest['similarity']:.3f}" in said
    code, text, _ = run(tmp_path / "mine.jpg", "--index", index, "--words", "crow", "--json")
    page = json.loads(text)
    assert (code, page["total"], page["hits"][0]["uri"][-5]) == (0, 4, page["hits"][0]["caption"][11])
    assert {hit["id"] % 2 for hit in page["hits"]} == {0}


def test_by_words_with_filters_and_pages(index: Path) -> None:
    code, text, said = run("--index", index, "--words", "fox", "--limit", 2, "--offset", 1, "--source", "jpg")
    assert code == 0
    assert len(text.splitlines()) == 3
    assert "hits 2 to 3 of 4; more with --offset 3" in said
    assert run("--index", index, "--words", "fox", "--collection", "protected")[0] == 0
    assert json.loads(run("--index", index, "--words", 'x" OR', "--json")[1])["hits"] == []
    assert run("--index", index, "--words", 'x" OR') == (0, "", "no hits\n")


def test_an_index_without_captions_says_so(tmp_path: Path) -> None:
    photos = photo_folder(tmp_path / "photos", 2)
    assert runner.invoke(app, ["index", "build", str(photos), "--out", str(tmp_path / "x.index")]).exit_code == 0
    assert "no hits; no reference has a caption" in run("--index", tmp_path / "x.index", "--words", "fox")[2]


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "parquet"])
def test_hits_are_written_whole(tmp_path: Path, index: Path, suffix: str) -> None:
    target = tmp_path / f"hits.{suffix}"
    code, text, _ = run("--index", index, "--words", "picture", "--limit", 5000, "--out", target, "--json")
    assert (code, json.loads(text)["hits"]) == (0, 8)
    rows: list[dict[str, Any]]
    if suffix == "jsonl":
        rows = [json.loads(line) for line in target.read_text(encoding="utf-8").splitlines()]
        assert rows[0]["collections"] == ["training"]
    elif suffix == "csv":
        with target.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        assert rows[0]["collections"] == "training"
    else:
        import pyarrow.parquet as pq

        rows = pq.read_table(target).to_pylist()
        assert rows[0]["similarity"] is None
    assert sorted(row["uri"] for row in rows) == [f"{i:04d}.jpg" for i in range(8)]
    assert all(row["caption"].startswith("[b]picture") for row in rows)
    assert [path.name for path in tmp_path.iterdir()] == [target.name]
    assert "8 hits" in run("--index", index, "--words", "picture", "--out", target)[2]


def test_by_meaning(tmp_path: Path, index: Path) -> None:
    clip = clip_folder(tmp_path / "clip")
    embedder = from_transformers(clip, preprocessing=PREPROCESSING)
    build_index(index.parent / "photos", tmp_path / "clip.index", embedder)
    words = ["--words", "a red fox", "--by-meaning", "--text-model", clip]
    code, text, _ = run("--index", index, *words, "--meaning", tmp_path / "clip.index", "--json")
    beside = [hit["uri"] for hit in json.loads(text)["hits"]]
    assert (code, len(beside)) == (0, 8)
    code, text, _ = run("--index", tmp_path / "clip.index", *words, "--json")
    assert [hit["uri"] for hit in json.loads(text)["hits"]] == beside
    assert run("--index", index, *words)[0] == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "say what to look for"),
        (("{tmp}/none.jpg",), "cannot be opened"),
        (("{tmp}/bad.jpg",), "not a picture"),
        (("{tmp}",), "is a folder"),
        (("{tmp}/mine.jpg", "--part", "0,0,1"), "four shares"),
        (("{tmp}/mine.jpg", "--part", "0,0,1,2"), "shares"),
        (("--words", "fox", "--by-meaning"), "no text tower"),
        (("--words", "fox", "--out", "{tmp}/hits.txt"), ".jsonl"),
        (("--words", "fox", "--out", "{tmp}/none/hits.csv"), "cannot be written"),
        (("--words", "fox", "--limit", "5000"), "limit 5000"),
    ],
)
def test_wrong_usage_exits_with_2(tmp_path: Path, index: Path, words: tuple[str, ...], said: str) -> None:
    (tmp_path / "bad.jpg").write_bytes(b"text")
    (tmp_path / "mine.jpg").write_bytes(jpeg(5))
    code, _, text = run(*(word.format(tmp=tmp_path) for word in words), "--index", index)
    assert code == 2
    assert said in text


def test_an_index_of_a_model_file(tmp_path: Path) -> None:
    photos, file = (
        photo_folder(tmp_path / "photos", 3),
        onnx_file(tmp_path / "own.onnx", preprocessing=str(preparation)),
    )
    build = ["index", "build", str(photos), "--out", str(tmp_path / "x.index"), "--embedder", f"onnx:{file}"]
    assert runner.invoke(app, build).exit_code == 0
    assert run(photos / "0001.jpg", "--index", tmp_path / "x.index")[0] == 2
    code, text, _ = run(photos / "0001.jpg", "--index", tmp_path / "x.index", "--embedder", f"onnx:{file}", "--json")
    assert (code, json.loads(text)["hits"][0]["uri"]) == (0, "0001.jpg")
    assert run(photos / "0001.jpg", "--index", tmp_path / "none.index")[0] == 3
