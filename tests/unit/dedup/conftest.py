"""One training set with duplicates, indexed once."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from guard.dedup import find_duplicates
from guard.embedders.registry import load_embedder
from guard.indexes.builder import build_index
from guard.indexes.store import open_index
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


@pytest.fixture(scope="session")
def compared(indexed: Path) -> Path:
    """What a run has compared of it, so that not every test does so again. Not to be written to."""
    with open_index(indexed) as index:
        find_duplicates(index, remember=indexed.parent / "pairs.sqlite")
    return indexed.parent / "pairs.sqlite"


@pytest.fixture
def out(compared: Path, tmp_path: Path) -> Path:
    """A folder of results in which an earlier run has left what it compared."""
    (tmp_path / "out").mkdir()
    shutil.copy(compared, tmp_path / "out" / "pairs.sqlite")
    return tmp_path / "out"
