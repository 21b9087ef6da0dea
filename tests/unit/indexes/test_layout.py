"""The folder of an index: one writer, one step to publish, and no version pruned while it is open."""

from __future__ import annotations

from pathlib import Path

import pytest

from guard.errors import ConfigError, IndexLoadError, IndexLockedError
from guard.indexes.layout import IndexFolder, hold, release
from guard.indexes.manifest import MANIFEST


def staged(folder: IndexFolder) -> Path:
    path = folder.path / "building"
    path.mkdir(parents=True)
    (path / MANIFEST).write_text("{}")
    return path


def test_versions_are_counted_and_pruned(tmp_path: Path) -> None:
    folder = IndexFolder(tmp_path / "x.index")
    with folder.writer():
        names = [folder.publish(staged(folder)) for _ in range(4)]
        assert names == ["0001", "0002", "0003", "0004"]
        assert folder.prune(keep=2) == ["0001", "0002"]
    assert folder.current() == "0004"
    assert folder.published() == ["0003", "0004"]


def test_an_open_version_is_not_pruned(tmp_path: Path) -> None:
    folder = IndexFolder(tmp_path / "x.index")
    with folder.writer():
        held = hold(folder.version(folder.publish(staged(folder))))
        folder.publish(staged(folder))
        assert folder.prune(keep=1) == []
        release(held)
        assert folder.prune(keep=1) == ["0001"]


def test_a_version_that_a_crash_left_is_not_served_and_makes_way(tmp_path: Path) -> None:
    folder = IndexFolder(tmp_path / "x.index")
    with folder.writer():
        folder.publish(staged(folder))
        (folder.versions / "0002").mkdir()
        assert folder.current() == "0001"
        assert folder.prune() == []
        assert folder.publish(staged(folder)) == "0002"
        assert folder.published() == ["0001", "0002"]


def test_two_writers_in_one_process(tmp_path: Path) -> None:
    folder = IndexFolder(tmp_path / "x.index")
    with folder.writer(), pytest.raises(IndexLockedError, match=r"x\.index"), IndexFolder(folder.path).writer():
        pass
    with folder.writer():  # free again
        pass


def test_other_peoples_folders_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(ConfigError, match=r"thesis\.tex"), IndexFolder(tmp_path).writer():
        pass
    with pytest.raises(ConfigError, match="is a file"), IndexFolder(tmp_path / "thesis.tex").writer():
        pass
    with pytest.raises(ConfigError, match="cannot be written"), IndexFolder(tmp_path / "thesis.tex" / "x").writer():
        pass


def test_no_index(tmp_path: Path) -> None:
    with pytest.raises(IndexLoadError, match="index build"):
        IndexFolder(tmp_path).current()
    (tmp_path / "building").mkdir()
    with pytest.raises(IndexLoadError, match="resume"):
        IndexFolder(tmp_path).current()
    (tmp_path / "CURRENT").write_text("../../etc")
    with pytest.raises(IndexLoadError, match="does not exist"):
        IndexFolder(tmp_path).current()
