"""Prometheus' multiprocess mode with real worker processes, forked and spawned."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

WORKERS = """
import multiprocessing, sys

def work(n):
    from guard import Guard, GuardConfig
    from tests.support.toys import MemoryIndex, ToyEmbedder, picture
    pictures = {f"{i}.png": picture(i) for i in range(4)}
    guard = Guard(MemoryIndex(ToyEmbedder(), pictures), ToyEmbedder(), config=GuardConfig(deadline_s=None))
    for _ in range(n):
        guard.check([picture(1), picture(50)], pipeline="p")

if __name__ == "__main__":
    context = multiprocessing.get_context(sys.argv[1])
    workers = [context.Process(target=work, args=(n,)) for n in (2, 3)]
    [w.start() for w in workers]
    [w.join() for w in workers]
    assert [w.exitcode for w in workers] == [0, 0]
    from guard import GuardMetrics
    print(GuardMetrics().text())
"""


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_workers_add_up(tmp_path: Path, start: str) -> None:
    script = tmp_path / "workers.py"
    script.write_text(WORKERS)
    store = tmp_path / "prometheus"
    store.mkdir()
    environ = os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(store), "PYTHONPATH": str(Path(__file__).parents[2])}
    run = subprocess.run(
        [sys.executable, str(script), start], env=environ, capture_output=True, text=True, timeout=1200
    )
    assert run.returncode == 0, run.stderr
    assert 'memguard_images_total{decision="block",mode="enforce",pipeline="p"} 5.0' in run.stdout
    assert 'memguard_images_total{decision="allow",mode="enforce",pipeline="p"} 5.0' in run.stdout
    assert 'memguard_images_total{decision="flag",mode="enforce",pipeline="p"} 0.0' in run.stdout
    assert "memguard_index_vectors" in run.stdout
    assert 'memguard_check_duration_seconds_count{pipeline="p"} 5.0' in run.stdout
