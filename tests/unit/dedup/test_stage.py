from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from guard.dedup.stage import PLAN, staged
from guard.indexes.layout import LOCK

KILLED = """
import os, signal, sys
from pathlib import Path
from guard.dedup import stage

rename = Path.rename
def renamed_and_killed(self, target):
    rename(self, target)
    os.kill(os.getpid(), signal.SIGKILL)
Path.rename = renamed_and_killed
with stage.staged(Path(sys.argv[1]), {"a": 1}, dict) as folder:
    (folder / "0.jpg").write_bytes(b"x")
"""


def test_a_kill_right_after_the_rename_leaves_nothing_behind_the_next_run(tmp_path: Path) -> None:
    out = tmp_path / "once"
    killed = subprocess.run([sys.executable, "-c", KILLED, str(out)], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert {path.name for path in out.iterdir()} == {"0.jpg", PLAN, LOCK}
    with staged(out, {"a": 1}, dict) as folder:
        assert folder is None
    assert {path.name for path in out.iterdir()} == {"0.jpg", PLAN}
    assert list(tmp_path.iterdir()) == [out]
