"""Two wheels of one module are noticed."""

from __future__ import annotations

from pathlib import Path

import pytest

from guard.extras import both_installed


def test_both_and_one_of_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("twin", "twin-gpu"):
        assert both_installed("twin", "twin-gpu") == ""
        folder = tmp_path / f"{name.replace('-', '_')}-1.0.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        monkeypatch.syspath_prepend(tmp_path)
    assert "twin and twin-gpu are both installed" in both_installed("twin", "twin-gpu")
