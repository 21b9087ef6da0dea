"""Training on a GPU: a run of the small configuration learns, is exported, and goes on after a stop."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch

from guard.training.__main__ import main
from guard.training.checkpoint import CURVE
from guard.training.config import CONFIGS
from guard.training.loop import Run, train
from tests.support.accelerator import DEVICE, needs_gpu

pytestmark = needs_gpu

STEPS, STOP = 12, 6


@pytest.fixture(scope="module")
def bank(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bank")


def flat(state: dict[str, torch.Tensor]) -> torch.Tensor:
    return torch.cat([value.reshape(-1).double() for _, value in sorted(state.items()) if value.is_floating_point()])


def test_a_run_goes_on_where_it_stopped(tmp_path: Path, bank: Path) -> None:
    """Sums on a GPU differ in their last bits from run to run, so that runs end near each other and not alike."""
    run = Run(tmp_path / "whole", CONFIGS["small"], steps=STEPS, bank=bank, device=DEVICE)
    whole = train(run)
    parted = dataclasses.replace(run, out=tmp_path / "parted", stop_after=STOP)
    halfway = train(parted)
    again = train(parted)  # loads the checkpoint, takes no step, and writes it
    assert halfway["step"] == again["step"] == STOP
    assert torch.equal(flat(halfway["network"]), flat(again["network"]))
    assert torch.equal(flat(halfway["ema"]), flat(again["ema"]))
    resumed = train(dataclasses.replace(parted, stop_after=None))
    assert (resumed["step"], resumed["views"]) == (whole["step"], whole["views"])
    end, moved = flat(whole["network"]), flat(whole["network"]) - flat(halfway["network"])
    assert torch.isfinite(end).all()
    assert (flat(resumed["network"]) - end).norm() < 0.5 * moved.norm()


def test_the_small_run_learns_with_workers_and_its_export_matches(tmp_path: Path, bank: Path) -> None:
    words = ["--out", str(tmp_path), "--config", "small", "--steps", "80", "--bank", str(bank), "--device", DEVICE,
             "--workers", "2", "--name", "small"]  # fmt: skip
    assert main(words) == 0
    lines = [json.loads(line) for line in (tmp_path / CURVE).read_text("utf-8").splitlines()]
    losses = [line["loss"] for line in lines if "loss" in line]
    assert losses[-1] < 0.8 * losses[0]
    record = json.loads((tmp_path / "small.training.json").read_text("utf-8"))
    assert record["result"]["difference_torch_onnx"] <= 1e-3
    assert record["run"]["device"] not in ("", "cpu")
