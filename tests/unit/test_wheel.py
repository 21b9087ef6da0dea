"""A wheel, built and unpacked outside the checkout, finds everything it needs."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROBE = """
from pathlib import Path
import guard, guard_diffusers
from guard.cli.bench import _folder
from guard_diffusers.demo.pipeline import load_pipeline
here = Path.cwd()
for module in (guard, guard_diffusers):
    assert here in Path(module.__file__).parents, module.__file__
assert sorted(p.name for p in _folder().iterdir() if p.name.endswith(".py")), "no benchmarks"
for model in ("memorising", "control"):
    pipe = load_pipeline(model)
    assert type(pipe).__name__ == "StableDiffusionPipeline"
print("found")
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(ROOT)]
    run = subprocess.run(command, capture_output=True, text=True, cwd=out)
    assert run.returncode == 0, run.stderr
    return next(out.glob("*.whl"))


@pytest.mark.slow
def test_wheel_works_outside_the_checkout(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    environ = os.environ | {"PYTHONPATH": str(tmp_path)}
    run = subprocess.run([sys.executable, "-c", PROBE], cwd=tmp_path, env=environ, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip().endswith("found")


@pytest.mark.slow
def test_wheel_holds_what_it_should_and_no_more(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        weights = sum(i.file_size for i in archive.infolist() if "demo/weights/" in i.filename)
    assert not [n for n in names if n.startswith(("tests/", "integrations/", "examples/"))]
    assert {"guard/py.typed", "guard_diffusers/py.typed"} <= set(names)
    pages = "guard_server/pages"
    assert {f"{pages}/templates/base.html", f"{pages}/static/pages.css", f"{pages}/static/pages.js"} <= set(names)
    assert any(n.endswith("licenses/LICENSE") for n in names)
    assert any(n.endswith("licenses/NOTICE") for n in names)
    assert 0 < weights <= 24 * 2**20
