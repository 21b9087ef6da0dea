"""Importing the library is cheap and loads no runtime."""

from __future__ import annotations

import subprocess
import sys

HEAVY = ("torch", "faiss", "onnxruntime", "diffusers", "transformers", "cv2", "pyarrow", "PIL", "typer", "rich")


def test_import_guard_loads_nothing_heavy() -> None:
    code = f"import guard, sys; print([m for m in {HEAVY!r} if m in sys.modules])"
    out = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_the_command_line_loads_no_runtime() -> None:
    runtimes = ("torch", "faiss", "onnxruntime", "diffusers", "transformers", "cv2", "pyarrow")
    code = f"import guard.cli.main, sys; print([m for m in {runtimes!r} if m in sys.modules])"
    out = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_every_public_name_exists() -> None:
    import guard

    assert sorted(guard.__all__) == sorted(set(guard.__all__))
    assert all(hasattr(guard, name) for name in guard.__all__)
