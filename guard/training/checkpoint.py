"""The state of a run on disk, and its curve. Knows files; written so that a kill at any moment leaves a whole one."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import torch

__all__ = ["CHECKPOINT", "CURVE", "Curve", "load_checkpoint", "save_checkpoint"]

CHECKPOINT, CURVE = "checkpoint.pt", "curve.jsonl"


def save_checkpoint(folder: Path, state: dict[str, Any]) -> None:
    """Tensors, numbers, texts and containers of them only, so that it loads with weights_only."""
    beside = folder / f"{CHECKPOINT}.new"
    with beside.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(folder / CHECKPOINT)


def load_checkpoint(folder: Path) -> dict[str, Any] | None:
    """None if the run has none yet."""
    path = folder / CHECKPOINT
    if not path.is_file():
        return None
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return state


class Curve:
    """One JSON object a line, in the order of the steps."""

    def __init__(self, folder: Path, step: int) -> None:
        """Lines of `step` and later, which a killed run wrote after its last checkpoint, are cut off."""
        self._path = folder / CURVE
        if self._path.is_file():
            kept = [line for line in self._path.read_text("utf-8").splitlines() if _step_of(line) < step]
            beside = self._path.with_suffix(".new")
            beside.write_text("".join(f"{line}\n" for line in kept), "utf-8")
            beside.replace(self._path)

    def write(self, values: dict[str, float | int | str]) -> None:
        rounded = {k: float(f"{v:.5g}") if isinstance(v, float) else v for k, v in values.items()}
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(rounded) + "\n")


def _step_of(line: str) -> float:
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return float("inf")  # half a line, from a kill
