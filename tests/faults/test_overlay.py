"""The overlay in real processes: seen by others at once, killed in a write, damaged, gone, read-only."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import traceback
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from guard import Guard
from guard.errors import ConfigError, IndexLoadError, IndexLockedError
from guard.indexes.builder import build_index
from guard.indexes.overlaid import open_overlaid
from guard.indexes.overlay import Overlay
from guard.indexes.overlay_file import OVERLAY, open_for_writing
from guard.indexes.verify import verify_index
from guard.types import Action, Status
from tests.support.killing import killed
from tests.support.overlays import addition, index_of_rows
from tests.support.references import photo_folder, unit_rows
from tests.support.toys import ToyEmbedder, picture
from tests.support.waiting import WAIT_S

TOY = ToyEmbedder()
ROOT = Path(__file__).parents[2]
WRITER = """
import sys
from tests.faults.test_overlay import TOY, addition
from guard.indexes.overlay import Overlay
overlay = Overlay(sys.argv[1])
for seed in range(int(sys.argv[2]), 1_000_000):
    print(seed, flush=True)
    overlay.add([addition(seed, TOY)], ["opt-out"], who="writer")
    print("done", seed, flush=True)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    build_index(photo_folder(tmp_path / "photos", 4), tmp_path / "x.index", TOY, thumbnails=32)
    return tmp_path / "x.index"


def writer(path: Path, first: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITER, str(path), str(first)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)


@pytest.mark.parametrize("lines", [1, 4, 7])
def test_what_was_acknowledged_survives_a_kill_in_the_next_write(path: Path, lines: int) -> None:
    with open_overlaid(path) as index:
        process = writer(path, 100)
        assert process.stdout is not None
        said = [process.stdout.readline() for _ in range(lines)]
        rest, errors = killed(process)
        assert "Traceback" not in errors, errors
        done = [int(line.split()[1]) for line in ("".join(said) + rest).splitlines() if line.startswith("done")]
        begun = [int(line) for line in ("".join(said) + rest).splitlines() if line.isdecimal()]
        ids = index.search(unit_rows(1, 192), 50).ids[0]
        found = {record.uri for record in index.records(ids[ids >= 0].tolist())}
        added = {int(uri.removeprefix("added/").removesuffix(".jpg")) for uri in found if uri.startswith("added/")}
        assert set(done) <= added <= set(begun)
        assert Overlay(path).add([addition(999, TOY)], ["opt-out"], who="after"), "and others go on writing"
        assert len(index) == 4 + len(added) + 1


def ask(path: Path, questions: multiprocessing.SimpleQueue, answers: multiprocessing.SimpleQueue) -> None:  # type: ignore[type-arg]
    guard = Guard.open(path, embedder=ToyEmbedder(), on_error="closed")
    while (seed := questions.get()) is not None:
        verdict = guard.check(picture(seed))[0]
        answers.put([str(verdict.decision), verdict.nearest.record.uri if verdict.nearest else ""])


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_every_worker_sees_a_change_before_its_next_check(path: Path, start: str) -> None:
    context = multiprocessing.get_context(start)
    workers = []
    for _ in range(2):
        questions, answers = context.SimpleQueue(), context.SimpleQueue()
        process = context.Process(target=ask, args=(path, questions, answers))
        process.start()
        workers.append((process, questions, answers))

    def decisions(seed: int) -> list[str]:
        for _, questions, _ in workers:
            questions.put(seed)
        return [answers.get()[0] for _, _, answers in workers]

    overlay = Overlay(path)
    assert decisions(200) == ["allow", "allow"]
    for seed in (200, 201):
        overlay.add([addition(seed, TOY)], ["opt-out"], who="ops")
        assert decisions(seed) == ["block", "block"]
    overlay.withdraw([addition(200, TOY).key], who="ops")
    assert decisions(200) == ["allow", "allow"]
    for process, questions, _ in workers:
        questions.put(None)
        process.join(WAIT_S)
        assert process.exitcode == 0


def test_a_parents_connection_is_left_to_it(path: Path) -> None:
    overlay = Overlay(path)
    overlay.add([addition(200, TOY)], ["opt-out"], who="ops")
    with open_overlaid(path) as index:
        assert len(index) == 5
        child = os.fork()
        if child == 0:
            try:
                os._exit(0 if len(index) == 5 else 1)
            finally:
                os._exit(2)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        overlay.add([addition(201, TOY)], ["opt-out"], who="ops")
        assert len(index) == 6


def flip(file: Path, at: int) -> None:
    data = bytearray(file.read_bytes())
    data[at] ^= 0xFF
    file.write_bytes(data)


DAMAGES = {
    "truncated": lambda file: file.write_bytes(file.read_bytes()[:6000]),
    "empty": lambda file: file.write_bytes(b""),
    "header": lambda file: flip(file, 3),
    "page": lambda file: [flip(file, at) for at in range(4096, 4096 + 400)],
    "text": lambda file: file.write_bytes(b"not a database" * 1000),
    "foreign": lambda file: (file.unlink(), sqlite3.connect(file).execute("CREATE TABLE t (x)").connection.close()),
    "gone": lambda file: file.unlink(),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_overlay_is_refused_by_name_and_fails_closed(path: Path, damage: str) -> None:
    Overlay(path).add([addition(200, TOY)], ["opt-out"], who="ops")
    guard = Guard.open(path, embedder=TOY, on_error="closed")
    assert guard.check(picture(200))[0].status is Status.SUCCESS
    whole = (path / OVERLAY).read_bytes()
    guard.index.overlay.close()  # type: ignore[attr-defined]
    DAMAGES[damage](path / OVERLAY)
    for _ in range(2):
        verdict = guard.check(picture(1))[0]
        assert (verdict.status, verdict.reason, verdict.stage) == (Status.ERROR, "index", "search")
        assert verdict.action is Action.REPLACED
        assert str(path / OVERLAY) in verdict.reasons[0]
    if damage != "gone":
        assert any(str(path / OVERLAY) in finding.problem for finding in verify_index(path))
        with pytest.raises((IndexLoadError, ConfigError), match=r"overlay\.sqlite"):
            Overlay(path).give(["ab" * 32], "allow", who="ops")
    for file in path.glob(f"{OVERLAY}*"):
        file.unlink()
    (path / OVERLAY).write_bytes(whole)
    assert guard.check(picture(200))[0].status is Status.SUCCESS, "it goes on once a copy is put back"
    assert not any(finding.problem for finding in verify_index(path))


def test_descriptors_that_were_changed_are_refused(path: Path) -> None:
    (new,) = Overlay(path).add([addition(200, TOY)], ["opt-out"], who="ops")
    for blob in (b"", b"\0" * 7, b"\0" * 768, b"\xff" * 768):
        with closing(sqlite3.connect(path / OVERLAY)) as connection, connection:
            connection.execute("UPDATE additions SET vectors = ? WHERE id = ?", (blob, new))
        with open_overlaid(path) as index, pytest.raises(IndexLoadError, match=r"descriptors of added/200\.jpg"):
            index.search(unit_rows(1, 192), 1)


def test_a_later_format_is_refused(path: Path) -> None:
    Overlay(path).give(["ab" * 32], "allow", who="ops")
    with closing(sqlite3.connect(path / OVERLAY)) as connection:
        connection.execute("PRAGMA user_version = 9")
    with open_overlaid(path) as index, pytest.raises(IndexLoadError, match="format 9"):
        index.search(unit_rows(1, 192), 1)


def test_a_locked_overlay_is_read_and_not_written(path: Path, tmp_path: Path) -> None:
    Overlay(path).add([addition(200, TOY)], ["opt-out"], who="ops")
    with closing(open_for_writing(path / OVERLAY)) as connection, open_overlaid(path) as index:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("DELETE FROM memberships")
        assert len(index) == 5, "what is not committed does not count, and nobody waits"
        with pytest.raises(IndexLockedError, match=r"overlay\.sqlite"):
            open_and_give(path)
        connection.execute("ROLLBACK")


def open_and_give(path: Path) -> None:
    from guard.indexes.overlay_file import errors

    with errors(path / OVERLAY, write=True), closing(open_for_writing(path / OVERLAY, wait_s=0.05)) as connection:
        connection.execute("BEGIN IMMEDIATE")


def test_a_read_only_folder(tmp_path: Path) -> None:
    path = index_of_rows(tmp_path, unit_rows(4, 16))
    Overlay(path).give(["uri:rows.npy#2"], "opt-out", who="ops")
    with tempfile.TemporaryDirectory() as folder:  # whose parents anybody may enter
        shutil.copytree(path, Path(folder) / "x.index")
        Path(folder).chmod(0o755)
        (Path(folder) / "x.index").chmod(0o555)
        child = os.fork()
        if child == 0:  # root may write everywhere
            try:
                if os.geteuid() == 0:
                    os.setuid(65534)
                with open_overlaid(Path(folder) / "x.index") as index:
                    told = [index.records([2])[0].collections for _ in range(3)]
                with pytest.raises(ConfigError, match="written"):
                    Overlay(Path(folder) / "x.index").give(["ab" * 32], "allow", who="ops")
                os._exit(0 if told == [("training", "opt-out")] * 3 else 1)
            except BaseException:
                traceback.print_exc()
                os._exit(2)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        (Path(folder) / "x.index").chmod(0o755)


FILLER = """
import resource, sys
from guard.indexes.overlay import Overlay
from tests.faults.test_overlay import TOY, addition
overlay, one = Overlay(sys.argv[1]), addition(300, TOY)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
try:
    overlay.add([one], ["opt-out"], who="filler")
except Exception as exc:
    print(type(exc).__name__, exc)
else:
    print("written")
"""


def test_a_full_disk_changes_nothing(path: Path) -> None:
    """The kernel refuses to let any file grow beyond a size, as a full disk would."""
    Overlay(path).add([addition(200, TOY)], ["opt-out"], who="ops")
    before = Overlay(path).history()
    command = [sys.executable, "-c", "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)" + FILLER, str(path)]
    told = subprocess.run([*command, "3000"], capture_output=True, text=True, cwd=ROOT, check=True).stdout
    assert told.startswith("GuardError"), told
    assert f"{path / OVERLAY} cannot be written" in told
    assert Overlay(path).history() == before
    with open_overlaid(path) as index:
        assert len(index) == 5
    told = subprocess.run([*command, str(10**9)], capture_output=True, text=True, cwd=ROOT, check=True).stdout
    assert told == "written\n"


def test_many_writers(tmp_path: Path) -> None:
    rows = unit_rows(12, 16)
    path = index_of_rows(tmp_path, rows)
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=give_some, args=(path, worker)) for worker in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(WAIT_S)
        assert process.exitcode == 0
    overlay = Overlay(path)
    assert len(overlay.memberships()) == len(overlay.history()) == 30
    assert not any(finding.problem for finding in verify_index(path))
    with open_overlaid(path) as index:
        np.testing.assert_allclose(index.search(rows, 1).similarity, 1, atol=1e-5)


def give_some(path: Path, worker: int) -> None:
    overlay = Overlay(path)
    for i in range(10):
        overlay.give([f"{worker}{i}"], "allow", who=f"worker {worker}")
