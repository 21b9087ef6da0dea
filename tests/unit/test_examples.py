"""Every example runs as a user would run it, and says what its header promises."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
SAID = {
    "guard_a_pipeline.py": ["block: 'a cup of coffee", "allow: 'wide checks"],
    "check_pictures.py": ["indexed 20 pictures", "mirrored copy: block", "noise: allow"],
    "shadow_mode_metrics.py": ['memguard_would_block_total{pipeline="txt2img"} 1.0'],
}


def test_every_example_is_tested() -> None:
    assert sorted(SAID) == sorted(p.name for p in EXAMPLES.glob("*.py"))


@pytest.mark.parametrize("name", sorted(SAID))
def test_example(name: str, tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, str(EXAMPLES / name)], cwd=tmp_path, capture_output=True, text=True, timeout=1500
    )
    assert run.returncode == 0, run.stderr
    for words in SAID[name]:
        assert words in run.stdout
