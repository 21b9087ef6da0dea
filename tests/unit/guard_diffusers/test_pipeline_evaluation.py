"""`memguard eval pipeline`: the pixel search, what is kept of generations, and a small form of the whole."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from guard.cli.main import app
from guard_diffusers.demo.generations import Stage, generated, stages
from guard_diffusers.demo.pipeline import load_pipeline
from guard_diffusers.demo.pixel_search import PixelSearch
from guard_diffusers.demo.procedural import draw
from guard_diffusers.demo.trainingset import Item, training_set
from guard_diffusers.demo.truth import MAX_RMS, copy_bound, is_copy, planted_items


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    """`--threads` is a setting of the process."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def drawings(n: int) -> list[Item]:
    return [Item(f"procedural/{i:04d}", draw(i).caption, draw(i).picture, 1) for i in range(n)]


def test_a_generation_is_looked_up_among_all_pictures() -> None:
    items = drawings(80)
    search = PixelSearch(items)
    picture = items[7].picture.astype(np.int16)
    near = np.clip(picture + np.random.default_rng(0).integers(-8, 9, picture.shape), 0, 255).astype(np.uint8)
    found = search(np.stack([items[3].picture, near, 255 - items[7].picture, draw(5000).picture]))
    assert found.item[:2].tolist() == [3, 7]
    assert found.distance[0] < 1e-3
    assert found.copied.tolist() == [True, True, False, False]
    assert not found.unclear.any()
    assert 0 < search.bounds.min() <= search.bounds.max() <= MAX_RMS
    assert len(search(np.empty((0, *picture.shape), np.uint8)).item) == 0


def test_a_picture_that_a_single_colour_meets_judges_nothing() -> None:
    dark = Item("procedural/9999", "a dark picture", np.full_like(draw(0).picture, 3), 1)
    dark.picture[10:12, 10:12] = 90
    search = PixelSearch([*drawings(60), dark])
    assert not search.judged[-1]
    found = search(np.zeros_like(dark.picture)[None])
    assert (found.copied.tolist(), found.unclear.tolist(), found.item.tolist()) == ([False], [True], [60])


def test_what_was_generated_is_not_generated_again(tmp_path: Path) -> None:
    stage = Stage("some", "memorising", ("rolling hills in red and teal with navy",) * 2, seed=1)
    loads: list[int] = []

    def load() -> Any:
        loads.append(1)
        return load_pipeline(stage.model)

    first = generated(stage, tmp_path, load=load)
    assert np.array_equal(generated(stage, tmp_path, load=load), first)
    assert (first.shape, first.dtype, len(loads)) == ((2, 64, 64, 3), np.uint8, 1)
    (kept,) = tmp_path.rglob("*.npy")
    kept.write_bytes(kept.read_bytes()[:1000])  # as a kill leaves it on a file system that wrote half
    assert np.array_equal(generated(stage, tmp_path, load=load), first)
    assert len(loads) == 2
    other = Stage("some", "memorising", stage.prompts, seed=2)
    assert not np.array_equal(generated(other, tmp_path, load=load), first)


@pytest.mark.slow
def test_decisions_are_held_against_pixels(tmp_path: Path) -> None:
    small = ["--calibration", "100", "--controls", "12", "--per-picture", "1", "--flag", "0.1", "--block", "0.06"]
    file = tmp_path / "small.json"
    ran = CliRunner().invoke(app, ["eval", "pipeline", "--json", str(file), "--out", str(tmp_path / "run"), *small])
    assert ran.exit_code in (0, 1), ran.output
    document = json.loads(file.read_text())
    assert document["stages"]["planted"]["copies_of_planted"] >= 10  # of the eleven pictures that the model memorised
    assert document["stages"]["other_model"]["copies_of_planted"] == 0
    for name, guard in document["guards"].items():
        found, one = guard["by_stage"], guard["copies"]
        assert sum(stage["planted"] + stage["others"] for stage in found.values()) == (
            one["planted"]["generations"] + one["others"]["generations"]
        )
        assert one["planted"]["blocked"] > one["planted"]["generations"] / 2, name
        assert (
            len(one["listed"])
            == one["missed"]
            == sum(one[part]["generations"] - one[part]["blocked"] for part in ("planted", "others"))
        )
        assert guard["originals"]["blocked"] == 0, name
        assert guard["originals"]["generations"] >= 20
        assert 0 < guard["originals"]["upper_bound"] < 0.2
        shown = f"originals blocked: 0 of {guard['originals']['generations']}"
        assert shown in ran.output
    decides = document["guards"]["calibrated+verifier"]
    assert ran.exit_code == int(decides["copies"]["missed"] > 0 or not decides["flag_rate"]["inside"])


@pytest.mark.slow
def test_the_search_has_the_criteria_of_the_docs() -> None:
    search = PixelSearch()
    for item in planted_items():
        at = [one.name for one in search.items].index(item.name)
        assert search.bounds[at] == pytest.approx(copy_bound(item), abs=1e-5)
        blends = np.stack([(item.picture * (1 - a) + 255 * a).astype(np.uint8) for a in (0.0, 0.02, 0.3, 0.6)])
        found = search(blends)  # of another picture, one that fades to white may be a copy too
        assert (found.copied & (found.item == at)).tolist() == is_copy(blends, item, copy_bound(item)).tolist()
    assert search.judged.sum() >= 0.95 * len(search.items)


@pytest.mark.slow
def test_no_caption_comes_twice() -> None:
    calibration, control, planted, other = stages(calibration=60, controls=80, per_picture=10)
    captions = [*calibration.prompts, *control.prompts]
    assert (len(calibration.prompts), len(control.prompts), len(set(captions))) == (60, 80, 140)
    known = {item.caption for item in training_set()}
    assert sum(caption in known for caption in control.prompts) == 40
    assert set(planted.prompts) == set(other.prompts) == {item.caption for item in planted_items()}
    assert (len(planted.prompts), len(other.prompts)) == (10 * len(set(planted.prompts)), 2 * len(set(planted.prompts)))
    more = stages(calibration=100, controls=120, per_picture=12)
    for one, larger in zip((calibration, control, planted, other), more, strict=True):
        assert larger.prompts[: len(one.prompts)] == one.prompts
        assert larger.seed == one.seed
    assert len({one.seed for one in [*more, *stages(calibration=4, controls=4, per_picture=1, seed=1)]}) == 8


@pytest.mark.slow
def test_captions_of_training_pictures_may_run_out(monkeypatch: pytest.MonkeyPatch) -> None:
    few = training_set()[:79]  # 29 pictures that are not procedural
    monkeypatch.setattr("guard_diffusers.demo.generations.training_set", lambda: few)
    calibration, control, *_ = stages(calibration=80, controls=70, per_picture=1)
    assert len({*calibration.prompts, *control.prompts}) == 150
    known = {item.caption for item in few}
    assert sum(caption in known for caption in control.prompts) == 35
    assert sum(caption in known for caption in calibration.prompts) == len(known) - 29 - 35
