"""Prompts as keyed hashes: equal prompts can be found, and none can be read or guessed without the key.

HMAC-SHA256 (RFC 2104). A plain hash would not do: prompts that others know can be tried one by one.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import secrets
from pathlib import Path

__all__ = ["hash_prompt", "key_file", "load_key"]

KEY_BYTES = 32


def hash_prompt(prompt: str, key: bytes) -> str:
    """64 hexadecimal digits. Text that is no valid Unicode is hashed all the same."""
    return hmac.new(key, prompt.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()


def key_file(log: Path) -> Path:
    """Where the key of a log lies unless the settings have one."""
    return log.with_name(log.name + ".key")


def load_key(log: Path, *, make: bool = True) -> bytes:
    """The key beside a log; made, readable by its owner alone, if there is none.

    Several processes may make it at once: they all get the same. Raises OSError; FileNotFoundError if make is False.
    """
    path = key_file(log)
    try:
        return _read(path)
    except FileNotFoundError:
        if not make:
            raise
    new = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_hex(KEY_BYTES).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):  # another process was first: its key holds
            os.link(new, path)
    finally:
        new.unlink()
    return _read(path)


def _read(path: Path) -> bytes:
    key = path.read_bytes().strip()
    if len(key) < 16:
        raise OSError(f"{path} holds no key: 16 characters or more are needed")
    return key
