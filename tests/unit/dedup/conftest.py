"""One training set with duplicates, indexed once."""

from __future__ import annotations

from pathlib import Path

import pytest

from guard.embedders.registry import load_embedder
from guard.indexes.builder import build_index
from tests.support.duplicates import write_set


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Not to be written to."""
    return write_set(tmp_path_factory.mktemp("dedup") / "photos")


@pytest.fixture(scope="session")
def indexed(photos: Path) -> Path:
    """Not to be written to."""
    path = photos.parent / "photos.index"
    build_index(photos, path, load_embedder())
    return path
