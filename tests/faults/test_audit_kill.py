"""A real audit in a real process, killed with SIGKILL at random moments, goes on and finds the same."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from guard.audit.report import AuditReport, read_report
from tests.support.audits import training_pictures, write_training_index
from tests.support.killing import killed

ROOT = Path(__file__).parents[2]
BATCH, GENERATIONS, PROMPTS = 8, 40, 5
CHILD = f"""
import sys, time
from pathlib import Path
from guard.audit.prompts import Repeats, from_repeats
from guard.audit.plan import Plan
from guard.audit.run import audit
from guard.audit.state import opened
from guard.indexes.store import open_index
from tests.support.audits import CopyingModel, training_pictures
from tests.support.toys import ToyEmbedder

class Slow(CopyingModel):
    def __call__(self, prompt, seeds):
        time.sleep(0.02)
        return super().__call__(prompt, seeds)

def told(now):
    if now.stage == "generating":
        print(now.done, flush=True)

model = Slow(training_pictures(20), {{"caption 0": 1.0, "caption 1": 0.5}})
with open_index(sys.argv[1]) as index, opened(Path(sys.argv[2]), {{"model": "toy"}}) as state:
    prompts = from_repeats(Repeats(index.reader.all()), most={PROMPTS})
    plan = Plan(generations={GENERATIONS}, batch={BATCH})
    report = audit(prompts, [model], state, index, ToyEmbedder(), plan=plan, on_progress=told)
report.write(Path(sys.argv[3]))
"""


def child(index: Path, state: Path, out: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", CHILD, str(index), str(state), str(out)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)


def killed_once(index: Path, state: Path, out: Path, wait_s: float) -> tuple[int, int]:
    """(generations that it found, generations that it last told of)."""
    process = child(index, state, out)
    assert process.stdout is not None
    first = process.stdout.readline()
    time.sleep(wait_s)  # the random moment of the kill; nothing is waited for
    rest, errors = killed(process)
    assert "Traceback" not in errors, errors
    numbers = [int(word) for word in (first + rest).split()]
    return numbers[0], numbers[-1]


def finished(index: Path, state: Path, out: Path) -> AuditReport:
    process = child(index, state, out)
    _, errors = process.communicate(timeout=1200)
    assert process.returncode == 0, errors
    return read_report(out)


@pytest.mark.parametrize("kills", [2, pytest.param(12, marks=pytest.mark.slow)])
def test_killed_and_gone_on(tmp_path: Path, kills: int) -> None:
    index = write_training_index(tmp_path, training_pictures(20), {"caption 0": 9, "caption 1": 4})
    whole = finished(index, tmp_path / "whole", tmp_path / "whole.json")
    assert [row.memorised for row in whole.prompts] == [True, True, False, False, False]
    rng, told = random.Random(kills), 0
    for _ in range(kills):
        found, last = killed_once(index, tmp_path / "killed", tmp_path / "killed.json", rng.uniform(0, 1.2 / kills))
        assert found >= told - BATCH  # what it told of is on disk, but for the call in flight
        told = last
        (tmp_path / "killed.json").unlink(missing_ok=True)  # it may have been quick
    resumed = finished(index, tmp_path / "killed", tmp_path / "killed.json")
    assert resumed.prompts == whole.prompts
    assert resumed.summary == whole.summary
    files = list((tmp_path / "killed" / "generations").rglob("*.webp"))
    assert len(files) == GENERATIONS * PROMPTS
    assert json.loads((tmp_path / "killed" / "settings.json").read_text()) == {"model": "toy"}
