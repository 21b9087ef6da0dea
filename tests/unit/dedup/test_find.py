"""Duplicates of every kind, found with the shipped descriptor; chains and templates are no clusters."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from guard.dedup import find_duplicates
from guard.dedup.find import Duplicates
from guard.dedup.material import Material
from guard.embedders.registry import load_embedder
from guard.errors import ConfigError
from guard.indexes.builder import add_to_index, build_index
from guard.indexes.store import OpenIndex, open_index
from guard.types import Evidence
from guard.verification.verifier import PixelVerifier
from tests.support.duplicates import CLUSTERS, crossfade, encoded, page


def clusters_of(index: OpenIndex, found: Duplicates) -> list[set[str]]:
    return [{record.uri for record in index.records(ids.tolist())} for ids in found.members()]


def find(path: Path, **options: Any) -> list[set[str]]:
    with open_index(path) as index:
        return clusters_of(index, find_duplicates(index, **options))


def test_every_kind_and_nothing_else(indexed: Path) -> None:
    with open_index(indexed) as index:
        found = find_duplicates(index)
        clusters = clusters_of(index, found)
        assert {frozenset(c) for c in clusters} == {frozenset(c) for c in CLUSTERS}
        assert len(clusters[0]) == 3  # the largest first
        assert found.looked_at == len(index) == 21
        assert sorted(found.sizes.tolist())[-3:] == [3, 3, 3]
        exact = [set(np.flatnonzero(found.exact == i)) for i in np.unique(found.exact)]
        uris = {frozenset(r.uri for r in index.records(list(ids))) for ids in exact if len(ids) > 1}
        assert uris == {frozenset(CLUSTERS[0]), frozenset(CLUSTERS[1])}
        assert "compared pixel by pixel" in found.method


def test_every_member_is_a_copy_of_its_centre(indexed: Path) -> None:
    with open_index(indexed) as index:
        found = find_duplicates(index)
        assert (found.centre[found.centre] == found.centre).all()
        assert (found.cluster <= found.centre).all()


def test_both_ways_of_looking_agree(indexed: Path) -> None:
    assert find(indexed, method="exact") == find(indexed, method="approximate", workers=1)


def test_a_chain_of_pictures_is_no_cluster(tmp_path: Path) -> None:
    """Each is a copy of the next, and the first shows something else than the last."""
    folder = tmp_path / "fades"
    folder.mkdir()
    for step in range(11):
        (folder / f"{step:02d}.png").write_bytes(encoded(crossfade(step / 10), "PNG"))
    build_index(folder, tmp_path / "x.index", load_embedder())
    with open_index(tmp_path / "x.index") as index:
        found = find_duplicates(index)
    assert found.cluster[0] != found.cluster[10]
    assert found.cluster[0] == found.cluster[1]
    assert found.cluster[9] == found.cluster[10]


def test_pages_of_one_layout_are_no_cluster(tmp_path: Path) -> None:
    """A similarity that they have with one another would join them all."""
    folder = tmp_path / "pages"
    folder.mkdir()
    for seed in range(10):
        (folder / f"{seed:02d}.png").write_bytes(encoded(page(seed), "PNG"))
    (folder / "again.jpg").write_bytes(encoded(page(3), "JPEG", quality=70))
    build_index(folder, tmp_path / "x.index", load_embedder())
    assert find(tmp_path / "x.index") == [{"03.png", "again.jpg"}]
    with open_index(tmp_path / "x.index") as index:
        rows = np.asarray(Material(index).rows)
    assert len(find(tmp_path / "x.index", verify=False, similarity=-1e-4 + float((rows @ rows.T).min()))[0]) == 11


def test_without_thumbnails_descriptors_decide(photos: Path, tmp_path: Path) -> None:
    build_index(photos, tmp_path / "x.index", load_embedder(), thumbnails=0)
    with open_index(tmp_path / "x.index") as index:
        found = find_duplicates(index)
        clusters = clusters_of(index, found)
    assert "without comparing pixels" in found.method
    for expected in CLUSTERS[:4]:
        assert any(expected <= cluster for cluster in clusters), expected


def test_an_index_of_pdq(photos: Path, tmp_path: Path) -> None:
    build_index(photos, tmp_path / "x.index", load_embedder("pdq"))
    clusters = find(tmp_path / "x.index")
    assert {frozenset(c) for c in clusters} >= {frozenset(c) for c in (*CLUSTERS[:4], CLUSTERS[5])}
    assert not any("page" in uri for cluster in clusters for uri in cluster)


def test_a_collection_is_looked_at_alone(photos: Path, indexed: Path, tmp_path: Path) -> None:
    shutil.copytree(indexed, tmp_path / "x.index")
    add_to_index(photos / "chelsea.png", tmp_path / "x.index", load_embedder(), collections=("protected",))
    assert {frozenset(c) for c in find(tmp_path / "x.index")} == {frozenset(c) for c in CLUSTERS}
    assert find(tmp_path / "x.index", collection="protected") == []
    with open_index(tmp_path / "x.index") as index:
        assert [record.id for record in Material(index).records()] == list(range(21))
        assert [record.id for record in Material(index, "protected").records()] == [21]
    with open_index(tmp_path / "x.index") as index:
        found = find_duplicates(index)
        assert found.cluster[21] == -1
        with pytest.raises(ConfigError, match="no collection 'nothing'"):
            find_duplicates(index, collection="nothing")


class Counting(PixelVerifier):
    """Counts what it is asked; the same in every run, as its name is."""

    asked = 0

    def verify(self, query: Any, reference: Any) -> Evidence:
        type(self).asked += 1
        return super().verify(query, reference)

    def __repr__(self) -> str:
        return "Counting"


def test_what_was_compared_is_remembered(indexed: Path, tmp_path: Path) -> None:
    with open_index(indexed) as index:
        first = find_duplicates(index, verifier=Counting(), remember=tmp_path / "pairs.sqlite")
        assert Counting.asked > 0
        before, Counting.asked = Counting.asked, 0
        again = find_duplicates(index, verifier=Counting(), remember=tmp_path / "pairs.sqlite")
        assert Counting.asked == 0
        assert again.cluster.tolist() == first.cluster.tolist()
        with closing(sqlite3.connect(tmp_path / "pairs.sqlite")) as pairs, pairs:
            pairs.execute("DELETE FROM compared WHERE second % 2 = 0")
        find_duplicates(index, verifier=Counting(), remember=tmp_path / "pairs.sqlite")
        assert 0 < Counting.asked < before


def test_what_another_index_left_is_not_believed(indexed: Path, tmp_path: Path) -> None:
    with open_index(indexed) as index:
        find_duplicates(index, remember=tmp_path / "pairs.sqlite")
    with closing(sqlite3.connect(tmp_path / "pairs.sqlite")) as pairs, pairs:
        pairs.execute("UPDATE compared SET kind = 'near_identical'")
        pairs.execute("UPDATE of SET name = 'another'")
    assert {frozenset(c) for c in find(indexed, remember=tmp_path / "pairs.sqlite")} == {frozenset(c) for c in CLUSTERS}


def test_a_damaged_memory_is_dropped(indexed: Path, tmp_path: Path) -> None:
    (tmp_path / "pairs.sqlite").write_bytes(b"no database" * 100)
    assert {frozenset(c) for c in find(indexed, remember=tmp_path / "pairs.sqlite")} == {frozenset(c) for c in CLUSTERS}


def test_an_empty_index(tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    build_index(tmp_path / "none", tmp_path / "x.index", load_embedder())
    with open_index(tmp_path / "x.index") as index:
        found = find_duplicates(index)
        assert (found.looked_at, list(found.members())) == (0, [])
