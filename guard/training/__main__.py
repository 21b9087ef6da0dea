"""`python -m guard.training`: train, resume or export. Knows the command line; the run is in loop.py."""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from guard.errors import GuardError, MissingExtraError

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 0, or 2 for a usage or settings error."""
    parsed = _parser().parse_args(arguments)
    try:
        _run(parsed)
    except (GuardError, ValueError) as exc:
        print(f"error: {exc}", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m guard.training", description=__doc__)
    parser.add_argument(
        "--out", type=Path, required=True, help="folder of the run; one that holds a run goes on with it"
    )
    parser.add_argument(
        "--config", default="default", help="default, gpu, continued, small, or a JSON file with settings that differ"
    )
    parser.add_argument("--minutes", type=float, help="length of the run over all its sessions, the bank not counted")
    parser.add_argument("--steps", type=int, help="length of the run in steps instead")
    parser.add_argument("--init", type=Path, help="begin from these weights (safetensors)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1, …")
    parser.add_argument("--processes", type=int, help="that train; on a CPU one a core (up to 8), otherwise 1")
    parser.add_argument(
        "--workers",
        type=int,
        help="processes that make views, for each that trains; on a CPU none, otherwise one a core",
    )
    parser.add_argument(
        "--drawers",
        type=int,
        default=0,
        help="processes that go on drawing the bank meanwhile; with 0 it is drawn before",
    )
    parser.add_argument("--bank", type=Path, help="folder of the pictures, to share it between runs")
    parser.add_argument("--name", default="procedural", help="of the exported files")
    parser.add_argument(
        "--export-only", action="store_true", help="export what the run has reached, and train no further"
    )
    return parser


def _run(parsed: argparse.Namespace) -> None:
    try:
        import cv2  # noqa: F401
        import onnx  # noqa: F401
        import safetensors  # noqa: F401
        import torch
    except ImportError as exc:
        raise MissingExtraError("training", extra="train") from exc
    if importlib.util.find_spec("onnxruntime") is None:  # needed at the end: better said at the beginning
        raise MissingExtraError("comparing the export with torch", extra="cpu")
    from guard.training.bank import programs_drawn
    from guard.training.checkpoint import load_checkpoint
    from guard.training.loop import Run, bank_path, train

    if parsed.minutes is None and parsed.steps is None:
        parsed.minutes = 60.0
    cores, on_cpu = os.cpu_count() or 1, parsed.device == "cpu"
    init, init_sha256 = _initial(parsed.init)
    run = Run(
        parsed.out,
        _config(parsed.config),
        seed=parsed.seed,
        minutes=parsed.minutes if parsed.steps is None else None,
        steps=parsed.steps,
        init=init,
        device=parsed.device,
        processes=parsed.processes or (min(cores, 8) if on_cpu else 1),
        workers=parsed.workers if parsed.workers is not None else (0 if on_cpu else max(1, cores - 1 - parsed.drawers)),
        drawers=parsed.drawers,
        bank=parsed.bank,
        quiet=False,
    )
    began = time.monotonic()
    state = load_checkpoint(parsed.out) if parsed.export_only else train(run)
    if state is None:
        raise ValueError(f"{parsed.out} holds no checkpoint to export")
    facts = {
        "seed": run.seed,
        "init_sha256": init_sha256,
        "device": torch.cuda.get_device_name(run.device) if run.device.startswith("cuda") else run.device,
        "processes": run.processes,
        "workers": run.workers,
        "drawers": run.drawers,
        "programs_drawn": programs_drawn(bank_path(run)) if bank_path(run).exists() else None,
        "minutes": run.minutes,
        "steps": run.steps,
        "this_session_s": round(time.monotonic() - began, 1),
    }
    _export(parsed, state, facts)


def _config(name: str) -> Any:
    from guard.training.config import CONFIGS, TrainingConfig

    if name in CONFIGS:
        return CONFIGS[name]
    path = Path(name)
    if not path.is_file():
        raise ValueError(f"--config {name!r} is neither {' nor '.join(CONFIGS)} nor a file")
    return TrainingConfig.model_validate_json(path.read_text("utf-8"))


def _initial(path: Path | None) -> tuple[Any, str | None]:
    if path is None:
        return None, None
    from guard.embedders.files import sha256_of
    from guard.training.export import read_weights

    return read_weights(path)[0], sha256_of(path)


def _export(parsed: argparse.Namespace, state: dict[str, Any], facts: dict[str, Any]) -> None:
    from guard.training.config import TrainingConfig
    from guard.training.export import export, preprocessing_for
    from guard.training.network import DescriptorNet
    from guard.training.record import write_record

    config = TrainingConfig.model_validate_json(state["config"])
    network = DescriptorNet(config.network)
    network.load_state_dict(state["ema"])
    sizes = {"size": config.export_size, "windows_size": config.windows_size}
    done = export(network.eval(), parsed.out, name=parsed.name, **sizes)
    result = {
        "weights_sha256": done.weights_sha256,
        "preprocessing": str(preprocessing_for(config.export_size)),
        "windows_preprocessing": str(preprocessing_for(config.windows_size)),
        "difference_torch_onnx": done.difference,
        "bytes": {path.name: path.stat().st_size for path in (done.safetensors, done.onnx, done.windows)},
        **{key: state[key] for key in ("step", "views", "elapsed_s", "progress")},
    }
    write_record(
        parsed.out / f"{parsed.name}.training.json",
        run={**facts, "config": config.model_dump(mode="json")},
        result=result,
    )
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    sys.exit(main())
