"""Real builds in real processes, killed with SIGKILL; two writers; a publication that was cut off."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from guard.embedders.base import Embedder
from guard.embedders.pdq import PdqEmbedder
from guard.embedders.registry import load_embedder
from guard.errors import IndexLockedError
from guard.indexes.builder import add_to_index, build_index
from guard.indexes.layout import IndexFolder
from guard.indexes.store import open_index
from guard.indexes.verify import verify_index
from tests.support.killing import killed
from tests.support.references import photo_folder, same_index
from tests.support.toys import ToyEmbedder

BATCH = 32
FILES = 400
CHILD = """
import sys
from guard.indexes.builder import build_index
from tests.faults.test_index_kill import EMBEDDERS
told = lambda done, total: print(done, flush=True)
model = EMBEDDERS[sys.argv[3]]()
report = build_index(sys.argv[1], sys.argv[2], model, batch=%d, thumbnails=32, on_progress=told)
print("resumed", report.resumed_at, flush=True)
"""
EMBEDDERS: dict[str, Callable[[], Embedder]] = {"pdq": PdqEmbedder, "toy": ToyEmbedder}  # toy: with hashes beside
ROOT = Path(__file__).parents[2]


def child(source: Path, out: Path, embedder: str = "pdq") -> subprocess.Popen[str]:
    command = [sys.executable, "-c", CHILD % BATCH, str(source), str(out), embedder]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)


def kill_once(source: Path, out: Path, wait_s: float, embedder: str) -> int:
    """Start a build, kill it wait_s after its first sign of life; returns the last item that it told of."""
    process = child(source, out, embedder)
    assert process.stdout is not None
    first = process.stdout.readline()
    time.sleep(wait_s)  # the random moment of the kill; nothing is waited for
    rest, errors = killed(process)
    assert "Traceback" not in errors, errors
    numbers = [int(word) for word in (first + rest).split() if word.isdecimal()]
    return numbers[-1] if numbers else 0


def killed_often(tmp_path: Path, kills: int, seed: int, embedder: str) -> None:
    source = photo_folder(tmp_path / "photos", FILES, side=256)
    (source / "0100.jpg").write_bytes(b"damaged")
    began = time.perf_counter()
    build_index(source, tmp_path / "whole.index", EMBEDDERS[embedder](), batch=BATCH, thumbnails=32)
    whole_s = time.perf_counter() - began
    rng, killed = random.Random(seed), tmp_path / "killed.index"
    for _ in range(kills):
        told = kill_once(source, killed, rng.uniform(0, 2.5 * whole_s / kills), embedder)
        position = progress(killed)
        if position is not None:
            in_flight = BATCH + 16  # the step that was lost, and the group that filled it
            assert told - position <= in_flight, f"{told - position} items are done twice"
    process = child(source, killed, embedder)
    output, errors = process.communicate(timeout=1200)
    assert process.returncode == 0, errors
    assert "resumed" in output
    with open_index(tmp_path / "whole.index") as whole, open_index(killed) as resumed:
        same_index(whole, resumed)
    assert not any(finding.problem for finding in verify_index(killed))
    assert not (killed / "building").exists()


def progress(index: Path) -> int | None:
    """Items that a killed build had put on disk; None if it was published or not begun."""
    import sqlite3
    from contextlib import closing

    database = index / "building" / "progress.sqlite"
    if not database.exists() or not (index / "building" / "settings.json").exists():
        return None
    copied = shutil.copytree(index / "building", index.parent / "looked-at", dirs_exist_ok=True)
    with closing(sqlite3.connect(copied / "progress.sqlite")) as connection:
        (position,) = connection.execute("SELECT position FROM progress").fetchone()
    shutil.rmtree(copied)
    return int(position)


@pytest.mark.parametrize("embedder", EMBEDDERS)
def test_three_kills(tmp_path: Path, embedder: str) -> None:
    killed_often(tmp_path, kills=3, seed=1, embedder=embedder)


@pytest.mark.slow
@pytest.mark.parametrize("embedder", EMBEDDERS)
def test_twenty_kills(tmp_path: Path, embedder: str) -> None:
    killed_often(tmp_path, kills=20, seed=2, embedder=embedder)


def test_a_second_writer_is_refused_and_a_killed_one_is_not_in_the_way(tmp_path: Path) -> None:
    source = photo_folder(tmp_path / "photos", FILES, side=256)
    process = child(source, tmp_path / "x.index")
    assert process.stdout is not None
    process.stdout.readline()
    os.kill(process.pid, signal.SIGSTOP)  # it holds the lock and cannot finish
    try:
        with pytest.raises(IndexLockedError, match=rf"process {process.pid}"):
            build_index(source, tmp_path / "x.index", load_embedder("pdq"), batch=BATCH, thumbnails=32)
    finally:
        process.kill()
        process.communicate()
    build_index(source, tmp_path / "x.index", load_embedder("pdq"), batch=BATCH, thumbnails=32)
    with open_index(tmp_path / "x.index") as index:
        assert len(index) == FILES


def test_a_publication_cut_off_at_any_step_leaves_the_old_version_serving(tmp_path: Path) -> None:
    """The states between the steps of a publication, made by undoing its last renames."""
    pdq, first = load_embedder("pdq"), photo_folder(tmp_path / "photos", 5)
    more, out = photo_folder(tmp_path / "more", 3, first=500), tmp_path / "x.index"
    build_index(first, out, pdq)
    add_to_index(more, out, pdq)
    states = {"before the rename": True, "before CURRENT": False}
    for state, still_in_building in states.items():
        copy = Path(shutil.copytree(out, tmp_path / state.replace(" ", "-")))
        (copy / "CURRENT").write_text("0001\n")
        if still_in_building:
            (copy / "versions" / "0002").rename(copy / "building")
        else:
            (copy / "CURRENT.new").write_text("00")  # the half of a write
        with open_index(copy) as index:
            assert (index.version, len(index)) == ("0001", 5)
        report = add_to_index(more, copy, pdq)  # publishes what is there, and embeds nothing again
        assert (report.version, report.count, report.added, report.unchanged) == ("0002", 8, 3, True)
        with open_index(out) as expected, open_index(copy) as index:
            same_index(expected, index)
        assert not any(finding.problem for finding in verify_index(copy))


LIMITED = """
import resource, sys
from guard.embedders.registry import load_embedder
from guard.errors import GuardError
from guard.indexes.builder import build_index
resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))  # as a disk that is full: the files cannot grow further
try:
    build_index(sys.argv[1], sys.argv[2], load_embedder("pdq"), batch=16, thumbnails=64)
except GuardError as exc:
    sys.exit(str(exc))
"""


def test_a_full_disk_is_told_and_the_build_goes_on_later(tmp_path: Path) -> None:
    source, pdq = photo_folder(tmp_path / "photos", 120), load_embedder("pdq")
    command = [sys.executable, "-c", LIMITED, str(source), str(tmp_path / "x.index")]
    full = subprocess.run(command, capture_output=True, text=True, check=False)
    assert full.returncode == 1
    assert "cannot be written" in full.stderr
    assert "run the same command again" in full.stderr
    report = build_index(source, tmp_path / "x.index", pdq, batch=16, thumbnails=64)
    assert 0 < report.resumed_at < 120
    build_index(source, tmp_path / "whole.index", pdq, thumbnails=64)
    with open_index(tmp_path / "whole.index") as whole, open_index(tmp_path / "x.index") as resumed:
        same_index(whole, resumed)


def test_what_another_crash_left_is_not_served_and_goes_away(tmp_path: Path) -> None:
    pdq, source, out = load_embedder("pdq"), photo_folder(tmp_path / "photos", 4), tmp_path / "x.index"
    build_index(source, out, pdq)
    stray = Path(shutil.copytree(out / "versions" / "0001", out / "versions" / "0002"))
    (stray / "vectors.faiss").write_bytes(b"half")
    (stray / "manifest.json").unlink()
    (out / "editing").mkdir()
    with open_index(out) as index:
        assert index.version == "0001"
    report = add_to_index(photo_folder(tmp_path / "more", 2, first=500), out, pdq)
    assert report.count == 6
    assert IndexFolder(out).published() == ["0001", report.version]
