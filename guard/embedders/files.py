"""Weight files on disk: their checksum and where they are kept. Knows paths; no model and no network."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Mapping
from pathlib import Path

__all__ = ["CACHE_VARIABLE", "cache_dir", "sha256_of"]

CACHE_VARIABLE = "MEMGUARD_CACHE"
EXTERNAL = (".data", "_data")
"""Suffixes under which ONNX exporters put weights beside the file."""


def sha256_of(path: Path) -> str:
    """Hex digest of a file; of an ONNX file together with the weights that lie beside it, if any."""
    digest = hashlib.sha256()
    beside = [path.with_name(path.name + suffix) for suffix in EXTERNAL] if path.suffix == ".onnx" else []
    for part in [path, *(p for p in beside if p.is_file())]:
        with part.open("rb") as file:
            while chunk := file.read(1 << 20):
                digest.update(chunk)
    return digest.hexdigest()


def cache_dir(environment: Mapping[str, str] | None = None) -> Path:
    """The folder that fetched models lie in: $MEMGUARD_CACHE, else this user's cache folder. Not created."""
    env = os.environ if environment is None else environment
    if chosen := env.get(CACHE_VARIABLE):
        return Path(chosen).expanduser()
    if sys.platform == "win32":
        base = Path(env.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(env.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "memorization-guard"
