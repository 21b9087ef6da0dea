"""The demo's training set, with each planted picture as often as it is trained on, and what deduplication leaves."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from guard.decode import decode
from guard.dedup import dedup_source
from guard.embedders.registry import load_embedder
from guard.sources import open_source
from guard_diffusers.demo.run import write_training_set
from guard_diffusers.demo.trainingset import copies_of, item_name, training_set


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Not to be written to."""
    return write_training_set(tmp_path_factory.mktemp("demo") / "set", copies=True)


TWINS = {"procedural/0389", "procedural/2136"}
"""A spiral and rings as others of the set have them (2005; 2137), in other colours: taken for edited copies by
descriptor and pixels alike."""


def one_of_each(folder: Path, work: Path, names: set[str]) -> None:
    """Assert that one file of each name stays, in the list that `demo.train --kept` reads and in the new folder."""
    twins, names = names & TWINS, names - TWINS
    report = dedup_source(open_source(folder), work / "out", load_embedder(), apply=work / "once")
    with (work / "out" / "keep.csv").open(encoding="utf-8", newline="") as file:
        kept = [row["uri"] for row in csv.DictReader(file)]
    assert copies_of(kept) == dict.fromkeys(names, 1)
    dropped = {"bytes": report.pictures - len(names) - len(twins), "near": len(twins)}
    assert report.dropped == {why: count for why, count in dropped.items() if count}
    files = {item_name(p.relative_to(work / "once").as_posix()): p for p in (work / "once").rglob("*.png")}
    assert files.keys() == names
    for item in training_set():
        if item.name in names:
            assert np.array_equal(decode(files[item.name]).rgb, item.picture)


def test_a_part_of_the_set_is_left_once(planted: Path, tmp_path: Path) -> None:
    """All that was planted, at most five times each, all variants of the template, and a few other pictures."""
    names = {item.name for item in training_set()[: 17 + 12 + 40]}
    lines = []
    for line in (planted / "metadata.jsonl").read_text(encoding="utf-8").splitlines():
        name = json.loads(line)["file_name"]
        number = name.split(".")[1]
        if item_name(name) in names and (number == "png" or int(number) < 5):
            lines.append(line)
            (tmp_path / "set" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(planted / name, tmp_path / "set" / name)
    (tmp_path / "set" / "metadata.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    assert len(lines) > len(names) + 40
    one_of_each(tmp_path / "set", tmp_path, names)


@pytest.mark.slow
def test_the_whole_set_is_left_once(planted: Path, tmp_path: Path) -> None:
    one_of_each(planted, tmp_path, {item.name for item in training_set()})
