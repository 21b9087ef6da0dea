"""Ctrl-C in a command that takes long: what to do next is said, and that is what the same command then does."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from guard.indexes.layout import IndexFolder
from tests.faults.test_index_kill import progress
from tests.support.references import photo_folder
from tests.support.waiting import WAIT_S, until

FILES = 300


@pytest.fixture(autouse=True)
def heeded() -> Iterator[None]:
    """Where the tests run in the background of a shell, Ctrl-C is ignored, and what they start would inherit that."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def memguard(*words: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "guard", *map(str, words)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize(("more", "said"), [([], "the same command goes"), (["--restart"], "without --restart goes")])
def test_a_build_says_that_the_same_command_goes_on(tmp_path: Path, more: list[str], said: str) -> None:
    photos, index = photo_folder(tmp_path / "photos", FILES, side=512), tmp_path / "x.index"
    build = ("index", "build", photos, "--out", index, "--embedder", "pdq", "--batch", 16, "--workers", 1)
    process = memguard(*build, *more)
    until(lambda: process.poll() is not None or (progress(index) or 0) > 0)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=WAIT_S)
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert said in errors
    assert not IndexFolder(index).exists
    process = memguard(*build)
    out, errors = process.communicate(timeout=WAIT_S)
    assert process.returncode == 0, errors
    assert "resumed at item" in out
    assert f"{FILES} references" in out
