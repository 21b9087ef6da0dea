"""A run: resumed it equals one in a piece, two processes equal one's arithmetic, the small one learns."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from guard.training.__main__ import main
from guard.training.checkpoint import CHECKPOINT, CURVE, Curve, load_checkpoint
from guard.training.config import CONFIGS, NetworkConfig, Phase, TrainingConfig
from guard.training.export import load_network, read_weights
from guard.training.loop import Run, train
from guard.training.team import Team, alone, run_team

TINY = TrainingConfig(
    network=NetworkConfig(widths=(8, 8, 8, 8), depths=(1, 1, 1), pooled=(4, 8), dim=8), export_size=32, programs=6,
    picture_size=48, pairs=4, phases=(Phase(until=0.5, size=32), Phase(until=1, size=64)), warm_up_steps=2,
    held_out_programs=0,
)  # fmt: skip


@pytest.fixture(scope="module")
def bank(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bank")


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def test_a_resumed_run_equals_one_in_a_piece(tmp_path: Path, bank: Path) -> None:
    run = Run(tmp_path / "whole", TINY, steps=6, bank=bank)
    whole = train(run)
    parted = dataclasses.replace(run, out=tmp_path / "parted", stop_after=2)
    assert train(parted)["step"] == 2
    (parted.out / CURVE).write_text('{"step": 2}\n{"st', "utf-8")  # written after the checkpoint, then killed
    resumed = train(dataclasses.replace(parted, stop_after=None))
    assert (resumed["step"], resumed["views"]) == (whole["step"], whole["views"]) == (6, 48)
    assert same(resumed["network"], whole["network"])
    assert same(resumed["ema"], whole["ema"])
    assert (parted.out / CURVE).read_text("utf-8") == ""


def test_a_finished_run_takes_no_further_step(tmp_path: Path, bank: Path) -> None:
    run = Run(tmp_path, TINY, steps=2, bank=bank)
    assert same(train(run)["network"], train(run)["network"])


def test_a_run_of_other_settings_is_not_overwritten(tmp_path: Path, bank: Path) -> None:
    train(Run(tmp_path, TINY, steps=1, bank=bank))
    with pytest.raises(ValueError, match="another configuration"):
        train(Run(tmp_path, TINY.model_copy(update={"koleo": 1.0}), steps=2, bank=bank))


def test_a_run_needs_one_budget(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="budget"):
        Run(tmp_path, TINY)
    with pytest.raises(ValueError, match="budget"):
        Run(tmp_path, TINY, steps=1, minutes=1)


def test_a_checkpoint_holds_no_code(tmp_path: Path, bank: Path) -> None:
    train(Run(tmp_path, TINY, steps=1, bank=bank))
    assert torch.load(tmp_path / CHECKPOINT, weights_only=True)["step"] == 1
    assert load_checkpoint(tmp_path / "nowhere") is None


def test_a_curve_is_cut_at_the_checkpoint(tmp_path: Path) -> None:
    curve = Curve(tmp_path, 0)
    for step in range(4):
        curve.write({"step": step, "loss": 1 / 3})
    Curve(tmp_path, 2).write({"step": 2, "loss": 0.5})
    lines = [json.loads(line) for line in (tmp_path / CURVE).read_text("utf-8").splitlines()]
    assert [line["step"] for line in lines] == [0, 1, 2]
    assert lines[0]["loss"] == 0.33333


def test_a_team_of_one_hears_itself() -> None:
    np.testing.assert_array_equal(alone().gather(torch.arange(3.0)).numpy(), [[0, 1, 2]])
    assert alone().told(0.5) == 0.5


def gather_and_write(team: Team, folder: Path) -> None:
    everyone = team.gather(torch.full((2, 2), float(team.rank)))
    heard = team.told(team.rank + 0.25)
    (folder / str(team.rank)).write_text(json.dumps([everyone.tolist(), heard]), "utf-8")


@pytest.mark.slow
def test_two_processes_take_the_same_steps(tmp_path: Path, bank: Path) -> None:
    together = train(Run(tmp_path, TINY, steps=3, bank=bank, processes=2))
    assert together["step"] == 3
    resumed = train(Run(tmp_path, TINY, steps=5, bank=bank, processes=2))
    assert resumed["step"] == 5
    assert all(torch.isfinite(value).all() for value in resumed["ema"].values())


@pytest.mark.slow
def test_the_small_run_learns_and_its_export_matches(tmp_path: Path) -> None:
    words = ["--out", str(tmp_path), "--config", "small", "--steps", "80", "--processes", "1", "--name", "small"]
    assert main(words) == 0
    lines = [json.loads(line) for line in (tmp_path / CURVE).read_text("utf-8").splitlines()]
    losses = [line["loss"] for line in lines if "loss" in line]
    assert losses[-1] < 0.8 * losses[0]
    record = json.loads((tmp_path / "small.training.json").read_text("utf-8"))
    assert record["result"]["views"] == 80 * 2 * CONFIGS["small"].pairs
    assert record["result"]["difference_torch_onnx"] <= 1e-3
    _, config, metadata = read_weights(tmp_path / "small.safetensors")
    assert config == CONFIGS["small"].network
    assert metadata["memguard_name"] == "small"
    load_network(tmp_path / "small.safetensors")
    further = ["--out", str(tmp_path / "further"), "--config", "small", "--steps", "2", "--processes", "1",
               "--init", str(tmp_path / "small.safetensors"), "--bank", str(tmp_path)]  # fmt: skip
    assert main(further) == 0
    record = json.loads((tmp_path / "further" / "procedural.training.json").read_text("utf-8"))
    assert record["run"]["init_sha256"] is not None


def test_wrong_words_are_explained(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--out", str(tmp_path), "--config", "huge"]) == 2
    assert "huge" in capsys.readouterr().err
    assert main(["--out", str(tmp_path), "--init", str(tmp_path / "none.safetensors")]) == 2
    assert "none.safetensors" in capsys.readouterr().err
    assert main(["--out", str(tmp_path), "--export-only"]) == 2


def test_two_members_hear_each_other(tmp_path: Path) -> None:
    run_team(2, 8, gather_and_write, tmp_path)
    for rank in ("0", "1"):
        assert json.loads((tmp_path / rank).read_text("utf-8")) == [[[[0, 0], [0, 0]], [[1, 1], [1, 1]]], 0.25]
