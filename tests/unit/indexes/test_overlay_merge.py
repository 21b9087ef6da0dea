"""Merging two indexes keeps what their overlays say; what contradicts is decided for what protects."""

from __future__ import annotations

from pathlib import Path

import pytest

from guard.errors import ConfigError
from guard.indexes.edit import merge_indexes
from guard.indexes.overlaid import open_overlaid, state_of
from guard.indexes.overlay import Overlay
from guard.indexes.store import open_index
from tests.support.overlays import Clock, addition_of, index_of_rows
from tests.support.references import unit_rows


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    folders = tmp_path / "a", tmp_path / "b"
    for folder in folders:
        folder.mkdir()
    first, second = (index_of_rows(folder, unit_rows(3, 16, seed)) for seed, folder in enumerate(folders))
    return first, second


def test_nothing_is_lost(pair: tuple[Path, Path], tmp_path: Path) -> None:
    first, second = pair
    one, other = Overlay(first), Overlay(second)
    one.add([addition_of(unit_rows(1, 16, 7)[0], "artist.jpg")], ["opt-out"], who="anna", why="letter")
    other.give(["ab" * 32], "protected", who="ben")
    other.exempt("cd" * 32, unit_rows(1, 16, 8)[0], who="ben")
    other.bury(["ef" * 32], who="ben")
    merge_indexes(first, second, tmp_path / "out.index")
    with open_overlaid(tmp_path / "out.index") as index:
        found = index.records(index.search(unit_rows(1, 16, 7), 1).ids[0].tolist())[0]
        assert (found.uri, found.collections, len(index)) == ("artist.jpg", ("opt-out",), 7)
        assert state_of(tmp_path / "out.index", index.manifest).counts() == {
            "added": 1,
            "memberships": 2,
            "reviewed_pairs": 1,
            "tombstones": 1,
        }
    assert [c.who for c in Overlay(tmp_path / "out.index").history()] == ["anna", "anna", "ben", "ben", "ben"]


def test_a_doubt_is_decided_for_what_protects(pair: tuple[Path, Path], tmp_path: Path) -> None:
    first, second = pair
    clock = Clock()
    one, other = Overlay(first, clock=clock), Overlay(second, clock=clock)
    key, soon, late = "ab" * 32, clock.now + 10, clock.now + 20
    one.give([key], "allow", who="anna")
    other.take([key], "allow", who="ben")
    one.take([key], "opt-out", who="anna")
    other.give([key], "opt-out", who="ben", until=late)
    for overlay, until in ((one, soon), (other, late)):
        overlay.give([key], "protected", who="x", until=until)
        overlay.give(["cd" * 32], "allow", who="x", until=until)
    one.bury([key], who="anna")
    other.bury([key], who="ben", until=soon)
    merge_indexes(first, second, tmp_path / "out.index")
    merged = {(m.key[:2], m.collection): (m.member, m.until) for m in Overlay(tmp_path / "out.index").memberships()}
    assert merged == {
        ("ab", "allow"): (False, None),
        ("ab", "opt-out"): (True, late),
        ("ab", "protected"): (True, late),
        ("cd", "allow"): (True, soon),
    }
    assert [t.until for t in Overlay(tmp_path / "out.index").tombstones()] == [soon]


def test_without_overlays_none_is_made(pair: tuple[Path, Path], tmp_path: Path) -> None:
    merge_indexes(*pair, tmp_path / "out.index")
    assert not (tmp_path / "out.index" / "overlay.sqlite").exists()


def test_descriptors_of_another_embedder_are_not_merged(pair: tuple[Path, Path], tmp_path: Path) -> None:
    first, second = pair
    Overlay(first).add([addition_of(unit_rows(1, 16, 7)[0], "artist.jpg")], ["opt-out"], who="anna")
    index_of_rows(first.parent, unit_rows(3, 16, signs=True), "hamming")  # built anew, with the overlay left beside
    index_of_rows(second.parent, unit_rows(3, 16, signs=True), "hamming")
    with pytest.raises(ConfigError, match="another embedder"):
        merge_indexes(first, second, tmp_path / "out.index")
    assert not (tmp_path / "out.index" / "CURRENT").exists()
    with open_index(second) as index:
        assert index.manifest.count == 3
