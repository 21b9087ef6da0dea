"""What a run was: settings, seed, commit, compute and result, in a JSON file beside the weights. Knows no training."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

__all__ = ["commit_of", "write_record"]


def write_record(path: Path, *, run: Mapping[str, Any], result: Mapping[str, Any]) -> None:
    import cv2
    import numpy
    import torch

    record = {
        "written_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "training_data": "procedural pictures only (guard/training/generators); none made by a person",
        "commit": commit_of(Path(__file__).parent),
        "run": dict(run),
        "result": dict(result),
        "compute": {"machine": platform.machine(), "cpu_cores": os.cpu_count(), "threads": torch.get_num_threads()},
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": numpy.__version__,
            "opencv": cv2.__version__,
        },
    }
    path.write_text(json.dumps(record, indent=2) + "\n", "utf-8")


def commit_of(folder: Path) -> str | None:
    """Of the checkout that the folder is in, with "+" if guard/training has changes; None outside a checkout."""
    git = shutil.which("git")
    if git is None:
        return None
    try:
        commit = _output(git, folder, "rev-parse", "HEAD")
        changed = _output(git, folder, "status", "--porcelain", "--", ".")
    except (OSError, subprocess.SubprocessError):
        return None
    return commit + ("+" if changed else "")


def _output(git: str, folder: Path, *words: str) -> str:
    done = subprocess.run([git, *words], cwd=folder, capture_output=True, text=True, timeout=20, check=True)  # noqa: S603
    return done.stdout.strip()
