"""The evaluation of small sets, small: procedural scans, a few edits, both halves in turn."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from guard.cli.main import app
from guard.embedders.registry import load_embedder
from guard.errors import ConfigError
from guard.evaluation.edits import EDITS
from guard.evaluation.pictures import find_pictures
from guard.evaluation.small import WAYS, evaluate_small
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


def test_too_few_sources_are_refused(tmp_path: Path) -> None:
    pictures = find_pictures({"scans": [scan_folder(tmp_path, 3)]}).pictures
    with pytest.raises(ConfigError, match="3 sources are too few"):
        evaluate_small(pictures, load_embedder(), [EDITS["jpeg_30"]])


def test_the_command(tmp_path: Path) -> None:
    scans = scan_folder(tmp_path / "scans", 5)
    (scans / "patients.tsv").write_text("file\tpatient\nscan-000.png\ta\nscan-001.png\ta\n", encoding="utf-8")
    (scans / "bad.png").write_bytes(b"?")
    words = ["eval", "small", "--images", str(scans), "--family", "combination", "--splits", "1"]
    result = CliRunner().invoke(app, [*words, "--json", str(tmp_path / "small.json")])
    assert result.exit_code == 2  # a picture could not be read
    assert "5 pictures of 4 sources" in result.stdout
    document = json.loads((tmp_path / "small.json").read_text(encoding="utf-8"))
    assert document["sources"] == 4
    assert "bad.png" in document["skipped"][0]
