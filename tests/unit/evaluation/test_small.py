"""The evaluation of small sets, small: procedural scans, a few edits, both halves in turn."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner

from guard.cli.main import app
from guard.embedders.registry import load_embedder
from guard.errors import ConfigError
from guard.evaluation.edits import EDITS
from guard.evaluation.pictures import find_pictures
from guard.evaluation.small import WAYS, _Comparing, _splits, evaluate_small
from guard.verification.verifier import SupportsShortlist
from tests.support.scans import scan_folder


def test_both_halves_take_part_and_every_query_counts(tmp_path: Path) -> None:
    pictures = find_pictures({"scans": [scan_folder(tmp_path, 16)]}).pictures
    document = evaluate_small(pictures, load_embedder(), [EDITS["crop_80"]], splits=2)
    assert set(document["ways"]) == set(WAYS)
    assert [one["references"] for one in document["sets"]] == [8, 8]
    for groups in document["ways"].values():
        assert groups["copies"]["queries"] == 16
        assert groups["strangers"]["queries"] == 32
        assert groups["strangers: as_it_is"]["queries"] == 16
        assert groups["copies"]["sources"] == 16
        for figures in groups.values():
            for name in ("flagged", "blocked"):
                assert figures[name]["low"] <= figures[name]["value"] <= figures[name]["high"]
            assert figures["blocked"]["value"] <= figures["flagged"]["value"]
    assert document["ways"]["small"]["copies"]["flagged"]["value"] > 0.8
    assert document["ways"]["small"]["strangers"]["flagged"]["value"] < 0.4  # one in nine and more, of so few
    json.dumps(document)


def test_pixels_are_compared_as_in_a_check() -> None:
    """A guard looks at its candidates and compares a few; a verifier without a shortlist has all of them compared."""
    assert isinstance(_Comparing(), SupportsShortlist)


def test_sets_of_a_size_are_drawn_until_every_source_was_in_one(tmp_path: Path) -> None:
    found = find_pictures({"scans": [scan_folder(tmp_path, 12)]}).pictures
    pictures = [replace(picture, source=i // 2) for i, picture in enumerate(found)]  # six patients of two scans
    splits = _splits(pictures, range(6), 3, 6, seed=1)
    assert [len(split.references) for split in splits] == [3] * 6
    for split in splits:
        assert {pictures[i].source for i in split.references} == split.sources
        assert len(split.sources) == 2  # of the second one a scan is left out
    for at in (0, 3):
        assert set().union(*(split.sources for split in splits[at : at + 3])) == set(range(6))
    assert splits == _splits(pictures, range(6), 3, 6, seed=1)
    assert splits != _splits(pictures, range(6), 3, 6, seed=2)
    document = evaluate_small(pictures, load_embedder(), [EDITS["crop_80"]], size=3, splits=1)
    assert (document["size"], [one["references"] for one in document["sets"]]) == (3, [3])
    groups = document["ways"]["small"]
    assert (groups["copies"]["queries"], groups["strangers"]["queries"], groups["strangers"]["sources"]) == (3, 16, 4)
    with pytest.raises(ConfigError, match="fewer than 2 of 6 sources"):
        evaluate_small(pictures, load_embedder(), [EDITS["crop_80"]], size=9)


class Stopped(Exception):
    """In place of a kill."""


class OtherWindows:
    """An embedder with the same weights, whose windows are said to be others."""

    def __init__(self, embedder: Any) -> None:
        self._embedder = embedder

    def __getattr__(self, name: str) -> Any:
        return getattr(self._embedder, name)

    def windows_identity(self) -> str:
        return f"not {self._embedder.windows_identity()}"


def test_a_stopped_run_goes_on_and_says_the_same(tmp_path: Path) -> None:
    pictures = find_pictures({"scans": [scan_folder(tmp_path / "scans", 10)]}).pictures
    edits = [EDITS[name] for name in ("crop_80", "jpeg_30", "blur", "flip_horizontal")]
    done: list[int] = []

    def run(cache: Path | None, most: int = 1000, embedder: Any = None) -> Any:
        def count(_stage: str, _done: int, _total: int) -> None:
            done.append(1)
            if len(done) == most:
                raise Stopped

        done.clear()
        found = embedder or load_embedder()
        return evaluate_small(pictures, found, edits, edits_each=2, cache=cache, progress=count)

    whole = run(None)
    assert (whole["edits_each"], len(whole["edits"])) == (2, 4)
    assert whole["ways"]["small"]["copies"]["queries"] == 20
    ways = whole["ways"]
    steps = len(done)
    with pytest.raises(Stopped):
        run(tmp_path / "cache", 3)
    (file,) = (tmp_path / "cache").glob("small-*.jsonl")
    file.write_bytes(file.read_bytes()[:-10])  # as a kill leaves it
    assert run(tmp_path / "cache")["ways"] == ways
    assert len(done) < steps
    assert run(tmp_path / "cache")["ways"] == ways
    assert done == []
    with pytest.raises(Stopped):
        run(tmp_path / "cache", 1, OtherWindows(load_embedder()))
    pictures[0].path.touch()  # another picture, for all that is known
    run(tmp_path / "cache")
    assert len(done) == steps


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    pictures = find_pictures({"scans": [scan_folder(tmp_path / "scans", 4)]}).pictures
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ConfigError, match="cannot be written"):
        evaluate_small(pictures, load_embedder(), [EDITS["jpeg_30"]], cache=tmp_path / "file")


def test_too_few_sources_are_refused(tmp_path: Path) -> None:
    pictures = find_pictures({"scans": [scan_folder(tmp_path, 3)]}).pictures
    with pytest.raises(ConfigError, match="3 sources are too few"):
        evaluate_small(pictures, load_embedder(), [EDITS["jpeg_30"]])


def test_the_command(tmp_path: Path) -> None:
    scans = scan_folder(tmp_path / "scans", 5)
    (scans / "patients.tsv").write_text("file\tpatient\nscan-000.png\ta\nscan-001.png\ta\n", encoding="utf-8")
    (scans / "bad.png").write_bytes(b"?")
    words = ["eval", "small", "--images", str(scans), "--family", "combination", "--splits", "1", "--edits", "3"]
    result = CliRunner().invoke(app, [*words, "--json", str(tmp_path / "small.json")])
    assert result.exit_code == 2  # a picture could not be read
    assert "5 pictures of 4 sources" in result.stdout
    document = json.loads((tmp_path / "small.json").read_text(encoding="utf-8"))
    assert (document["sources"], document["edits_each"]) == (4, 3)
    assert "bad.png" in document["skipped"][0]
    with Image.open(tmp_path / "small.png") as plot:
        assert plot.format == "PNG"
