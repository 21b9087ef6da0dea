"""Keyed hashes of prompts, and the key beside a log."""

from __future__ import annotations

import hashlib
import hmac
import subprocess
import sys
from pathlib import Path

import pytest

from guard.events.prompts import hash_prompt, key_file, load_key
from tests.support.waiting import WAIT_S

ROOT = Path(__file__).parents[3]


def test_the_hash_is_hmac_sha256_of_utf8() -> None:
    # RFC 4231, test case 2
    assert hash_prompt("what do ya want for nothing?", b"Jefe") == (
        "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    )
    assert hash_prompt("Grüße", b"key") == hmac.new(b"key", "Grüße".encode(), hashlib.sha256).hexdigest()
    assert hash_prompt("\udcff", b"key") != hash_prompt("?", b"key")
    assert hash_prompt("a", b"one") != hash_prompt("a", b"two")


def test_processes_that_make_the_key_at_once_get_the_same(tmp_path: Path) -> None:
    code = "import sys; from pathlib import Path; from guard.events.prompts import load_key; "
    code += "print('ready', flush=True); input(); print(load_key(Path(sys.argv[1])).decode())"
    command = [sys.executable, "-c", code, str(tmp_path / "e.sqlite")]
    processes = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT) for _ in range(4)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:  # all are past their imports
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    keys = {process.communicate(timeout=WAIT_S)[0].strip() for process in processes}
    assert len(keys) == 1
    assert load_key(tmp_path / "e.sqlite").decode() in keys
    assert [p.name for p in tmp_path.iterdir()] == ["e.sqlite.key"]


def test_a_file_without_a_key_is_an_error_and_not_an_empty_key(tmp_path: Path) -> None:
    key_file(tmp_path / "e.sqlite").write_text("\n")
    with pytest.raises(OSError, match="holds no key"):
        load_key(tmp_path / "e.sqlite")
    assert key_file(tmp_path / "e.sqlite").read_text() == "\n"
    with pytest.raises(FileNotFoundError):
        load_key(tmp_path / "other.sqlite", make=False)
    assert not key_file(tmp_path / "other.sqlite").exists()
