"""`memguard eval pipeline`, in a small form: what it counts adds up, and a second run generates nothing again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from guard_diffusers.demo.evaluation import PipelineSettings, evaluate_pipeline

SMALL = PipelineSettings(calibration=100, controls=10, per_picture=1, flag=0.1, block=0.05)


@pytest.mark.slow
def test_decisions_are_held_against_pixels(tmp_path: Path) -> None:
    document = json.loads(json.dumps(evaluate_pipeline(tmp_path, SMALL, progress=lambda _what, _done, _all: None)))
    assert document["stages"]["planted"]["copies"] >= 10  # of the eleven pictures that the model memorised
    assert document["stages"]["other_model"]["copies"] == 0
    for guard in document["guards"].values():
        stages = guard["by_stage"]
        assert sum(stage["copies"] for stage in stages.values()) == guard["copies"]["generations"]
        assert sum(stage["originals"] for stage in stages.values()) == guard["originals"]["generations"]
        assert guard["copies"]["generations"] - guard["copies"]["blocked"] == len(guard["copies"]["missed"])
        assert stages["planted"]["copies_blocked"] >= 8
        assert 0 < guard["originals"]["upper_bound"] <= 1
    generations = sorted(tmp_path.joinpath("generations").rglob("*"))
    before = [path.stat().st_mtime_ns for path in generations]
    again = evaluate_pipeline(tmp_path, SMALL, progress=lambda _what, _done, _all: None)
    assert again["guards"] == document["guards"]
    assert [path.stat().st_mtime_ns for path in generations] == before
