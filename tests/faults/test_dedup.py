"""Runs that are killed with SIGKILL while they compare, link, copy or pack; disks that are full."""

from __future__ import annotations

import json
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from guard.dedup import Options, dedup_source
from guard.embedders.pdq import PdqEmbedder
from guard.sources import open_source
from tests.support.references import jpeg, photo_folder, tar_shard

ROOT = Path(__file__).parents[2]
CHILD = """
import sys
from pathlib import Path
from guard.dedup import Options, dedup_source
from guard.embedders.pdq import PdqEmbedder
from guard.sources import open_source
source, out, once, copy = sys.argv[1:]
told = lambda stage, done, total: print(stage, done, flush=True)
options = Options(copy=bool(int(copy)))
report = dedup_source(open_source(source), out, PdqEmbedder(), options, apply=once, on_progress=told)
print("kept", report.applied.kept, flush=True)
"""


def child(source: str, work: Path, *, copy: bool) -> subprocess.Popen[str]:
    words = [sys.executable, "-c", CHILD, source, str(work / "out"), str(work / "once"), str(int(copy))]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)


def kill_at(process: subprocess.Popen[str], stage: str, wait_s: float) -> None:
    """Kill it wait_s after it first tells of the stage."""
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith(stage):
            break
    time.sleep(wait_s)  # the random moment of the kill; nothing is waited for
    process.send_signal(signal.SIGKILL)
    _, errors = process.communicate()
    assert "Traceback" not in errors, errors


def tree(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def source_of(kind: str, folder: Path) -> str:
    photos = photo_folder(folder / "photos", 120, side=64)
    for i in range(30):
        shutil.copy(photos / f"{i:04d}.jpg", photos / f"copy-{i:04d}.jpg")
        (photos / f"{i:04d}.txt").write_text(f"caption {i}")
    (photos / "broken.jpg").write_bytes(b"\xff\xd8\xffbroken")
    if kind == "folder":
        return str(photos)
    (folder / "shards").mkdir()
    files = sorted(photos.iterdir())
    for number in range(6):
        members = [(f.name, f.read_bytes()) for f in files[number::6] if f.suffix == ".jpg"]
        tar_shard(folder / "shards" / f"s-{number}.tar", members)
    return str(folder / "shards")


@pytest.mark.parametrize(("kind", "copy"), [("folder", False), ("folder", True), ("shards", False)])
def test_killed_while_writing(tmp_path: Path, kind: str, copy: bool) -> None:
    source, rng = source_of(kind, tmp_path), random.Random(kind)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    killed.mkdir()
    options = Options(copy=copy)
    report = dedup_source(open_source(source), whole / "out", PdqEmbedder(), options, apply=whole / "once")
    assert report.applied is not None
    for wait_s in (0.0, rng.uniform(0, 0.1)):
        kill_at(child(source, killed, copy=copy), "writing", wait_s)
        if (killed / "once").exists():  # it was faster than the kill: then it is whole
            break
        assert (killed / ".once.partial" / "dedup.json").exists()
    process = child(source, killed, copy=copy)
    output, errors = process.communicate(timeout=1200)
    assert process.returncode == 0, errors
    assert f"kept {report.applied.kept}" in output
    ours, expected = tree(killed / "once"), tree(whole / "once")
    plans = [json.loads(one.pop("dedup.json"))["plan"]["stays"] for one in (ours, expected)]
    assert ours == expected
    assert plans[0] == plans[1]
    assert sorted(p.name for p in killed.iterdir()) == ["once", "out"]
    for name in ("keep.csv", "drop.csv", "skipped.jsonl"):
        assert (killed / "out" / name).read_bytes() == (whole / "out" / name).read_bytes()


def test_killed_while_comparing(tmp_path: Path) -> None:
    """What was compared before is not compared again, and the outcome is the same."""
    folder = tmp_path / "photos"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(16):
        image = Image.fromarray(rng.integers(0, 256, (12, 12, 3), dtype=np.uint8)).resize(
            (160, 160), Image.Resampling.BICUBIC
        )
        for quality in (95, 60, 40, 30, 25):
            image.save(folder / f"{i:03d}-{quality}.jpg", quality=quality)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    killed.mkdir()
    report = dedup_source(open_source(folder), whole / "out", PdqEmbedder(), apply=whole / "once")
    assert report.clusters == 16
    kill_at(child(str(folder), killed, copy=False), "near hashes", 0.3)
    process = child(str(folder), killed, copy=False)
    _, errors = process.communicate(timeout=1200)
    assert process.returncode == 0, errors
    assert tree(killed / "once").keys() == tree(whole / "once").keys()


LIMITED = """
import resource, sys
from guard.dedup import Options, dedup_source
from guard.embedders.pdq import PdqEmbedder
from guard.errors import GuardError
from guard.sources import open_source
source, out, once = sys.argv[1:]
dedup_source(open_source(source), out, PdqEmbedder())
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))  # as a disk that is full: the files cannot grow further
try:
    dedup_source(open_source(source), out, PdqEmbedder(), Options(), apply=once)
except GuardError as exc:
    sys.exit(str(exc))
"""


def test_a_full_disk_is_told(tmp_path: Path) -> None:
    tar_shard(tmp_path / "s-0.tar", [(f"{i}.jpg", jpeg(i)) for i in range(40)])
    words = [str(tmp_path / "s-0.tar"), str(tmp_path / "out"), str(tmp_path / "once")]
    full = subprocess.run(
        [sys.executable, "-c", LIMITED, *words], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert full.returncode == 1
    assert "cannot be written" in full.stderr, full.stderr
    assert "Traceback" not in full.stderr
    assert not (tmp_path / "once").exists()
    report = dedup_source(open_source(words[0]), tmp_path / "out", PdqEmbedder(), apply=tmp_path / "once")
    assert report.applied is not None
    assert report.applied.kept == 40


def test_every_broken_picture_is_listed(tmp_path: Path) -> None:
    photos = photo_folder(tmp_path / "photos", 6)
    whole = (photos / "0000.jpg").read_bytes()
    for cut in (0, 1, 40, len(whole) // 2):
        (photos / f"cut-{cut:05d}.jpg").write_bytes(whole[:cut])
    (photos / "text.png").write_text("no picture")
    report = dedup_source(open_source(photos), tmp_path / "out", PdqEmbedder(), apply=tmp_path / "once")
    assert sum(report.skipped.values()) == 5
    listed = {json.loads(line)["uri"] for line in (tmp_path / "out" / "skipped.jsonl").read_text().splitlines()}
    assert listed == {p.name for p in photos.iterdir()} - {f"{i:04d}.jpg" for i in range(6)}
    assert report.applied is not None
    assert report.applied.unreadable == 5
    assert sorted(p.name for p in (tmp_path / "once").glob("*.jpg")) == [f"{i:04d}.jpg" for i in range(6)]
