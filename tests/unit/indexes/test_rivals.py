"""Rivals: what a similarity loses where others are about as near, who is no rival, and that checks use it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from guard import Decision, Guard, Policy
from guard.calibration.references import leave_one_out
from guard.config import load_config
from guard.embedders.base import QueryDescriptors, Thresholds
from guard.errors import ConfigError
from guard.indexes import usual
from guard.indexes.builder import build_index
from guard.indexes.edit import merge_indexes
from guard.indexes.layout import IndexFolder
from guard.indexes.manifest import MANIFEST, Manifest
from guard.indexes.rivals import DEPTH, Rivals, beside_rivals, inputs_beside_rivals, rivals_of
from guard.indexes.store import OpenIndex, open_index
from guard.indexes.transforming import describe, remove_transform, transform_index
from guard.indexes.usual import advised, is_usual
from guard.lookup import nearest_input, searched
from guard.types import Candidates
from tests.support.overlays import index_of_rows
from tests.support.references import photo_folder
from tests.support.toys import ToyEmbedder, picture

HARD = Rivals(nearest=2, beta=1.0, alike=0.5, usual=0.2)


def weighed(similarity: list[float], near: list[float], alike: list[list[float]], rivals: Rivals = HARD) -> list[float]:
    one = (np.asarray(values, np.float32)[None] for values in (similarity, near, alike))
    found: list[float] = rivals.weighed(*one)[0].tolist()
    return [round(value, 4) for value in found]


def test_what_others_are_near_to_too_counts_less() -> None:
    alone = weighed([0.6], [0.6, 0.2, 0.2], [[1.0, 0.1, 0.1]])
    common = weighed([0.6], [0.6, 0.5, 0.5], [[1.0, 0.1, 0.1]])
    assert (alone, common) == ([0.6], [0.3])
    assert weighed([0.9], [0.9, 0.0, 0.0], [[1.0, 0.1, 0.1]]) == [1.0]  # never above 1


def test_copies_of_the_candidate_are_no_rivals() -> None:
    near = [0.9, 0.88, 0.3, 0.1]
    assert weighed([0.9], near, [[1.0, 0.8, 0.1, 0.1]]) == [0.9]  # the second is a copy of the first
    assert weighed([0.9], near, [[1.0, 0.4, 0.1, 0.1]]) == [round(0.9 + 0.2 - (0.88 + 0.3) / 2, 4)]
    assert weighed([0.9], near, [[1.0, 0.9, 0.8, 0.7]]) == [0.9]  # nothing but copies: nothing is taken off
    assert weighed([0.9], [0.9, -np.inf, -np.inf, -np.inf], [[1.0, 0, 0, 0]]) == [0.9]


@given(st.integers(0, 10_000), st.integers(1, 4))
def test_the_best_of_two_unlike_candidates_stays_the_best(seed: int, nearest: int) -> None:
    rng = np.random.default_rng(seed)
    near = -np.sort(-rng.uniform(-1, 1, (1, 6))).astype(np.float32)
    alike = np.where(np.eye(6, dtype=bool), 1, rng.uniform(-1, 0.49, (6, 6))).astype(np.float32)[None]
    found = replace(HARD, nearest=nearest).weighed(near, near, alike)[0]
    assert (np.diff(found) <= 1e-6).all()
    assert (found <= 1).all()


def rows_of(cosines: list[list[float]]) -> np.ndarray:
    """Unit rows with these cosines between each other."""
    values, vectors = np.linalg.eigh(np.asarray(cosines, np.float64))
    assert values.min() > 0
    rows: np.ndarray = (vectors * np.sqrt(values)).astype(np.float32)
    return rows


@pytest.fixture
def opened(tmp_path: Path) -> OpenIndex:
    """0 and 1 are alike; 2, 3 and 4 are three look-alikes; 5 is alone. 20 more are near to nothing."""
    c = np.eye(26)
    c[0, 1] = c[1, 0] = 0.9
    for i in (2, 3, 4):
        for j in (2, 3, 4):
            c[i, j] = 1 if i == j else 0.45
    index = index_of_rows(tmp_path, rows_of(c.tolist()))
    transform_index(index, rivals=True)
    return open_index(index)


def query(opened: OpenIndex, **near: float) -> np.ndarray:
    """A unit row with these similarities to references, named r0, r1, …"""
    rows = opened.descriptors(range(26))
    wanted = np.zeros(26)
    for name, value in near.items():
        wanted[int(name[1:])] = value
    row = np.linalg.lstsq(rows.astype(np.float64), wanted, rcond=None)[0]
    return row[None].astype(np.float32)


def test_a_search_beside_rivals_against_an_index_that_has_them(opened: OpenIndex) -> None:
    row = query(opened, r2=0.6, r3=0.55, r4=0.5)
    plain, found = opened.search(row, 3), beside_rivals(opened, row, 3)
    np.testing.assert_allclose(plain.similarity[0], [0.6, 0.55, 0.5], atol=1e-5)
    assert found.ids[0].tolist() == [2, 3, 4]
    usual, others = Rivals().usual, (0.55 + 0.5 + 0) / 3
    assert found.similarity[0, 0] == pytest.approx(0.6 + usual - others, abs=1e-5)
    copy = beside_rivals(opened, query(opened, r0=0.6, r1=0.55), 2)
    assert copy.similarity[0].tolist() == pytest.approx([0.8, 0.75], abs=1e-5)  # alike: no rivals of each other


def test_what_is_gone_is_no_rival(opened: OpenIndex) -> None:
    row = opened.descriptors([2])
    found = beside_rivals(opened, row, 2, gone=lambda ids: ids == 2)
    among = float(found.similarity[0, found.ids[0] == 3][0])
    assert among == pytest.approx(0.45 + 0.2 - 0.45 / 3, abs=1e-5)


def test_a_tensor_is_weighed_as_an_array(opened: OpenIndex) -> None:
    row = query(opened, r2=0.6, r3=0.55)
    one, other = (beside_rivals(opened, x, 5) for x in (row, torch.from_numpy(row)))
    np.testing.assert_allclose(one.similarity, other.similarity, atol=1e-6)
    assert len(beside_rivals(opened, row[:0], 5).ids) == 0


def test_the_callers_own_picture_is_weighed_as_a_reference_would_be(opened: OpenIndex) -> None:
    row, own = query(opened, r2=0.6, r3=0.55, r4=0.5), opened.descriptors([2])
    there = beside_rivals(opened, row, 1).similarity[0, 0]
    assert inputs_beside_rivals(opened, row, own)[0, 0] == pytest.approx(there, abs=1e-5)
    looked = QueryDescriptors(row[:, None], np.ones(1, np.bool_))
    assert nearest_input(opened, looked, own)[0] == pytest.approx(there, abs=1e-5)
    for k in (1, DEPTH + 4):
        near = searched(opened, looked, k)
        assert near.ids.shape[1] == max(k, DEPTH)
        assert nearest_input(opened, looked, own, near)[0] == pytest.approx(there, abs=1e-5)
        ours, alone = beside_rivals(opened, row, k, found=near), beside_rivals(opened, row, k)
        np.testing.assert_array_equal(ours.ids, alone.ids)
        np.testing.assert_array_equal(ours.similarity, alone.similarity)


class Searched:
    """An index that counts how often it is searched."""

    def __init__(self, index: OpenIndex) -> None:
        self._index, self.times = index, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._index, name)

    def __len__(self) -> int:
        return len(self._index)

    def search(self, xq: np.ndarray, k: int) -> Candidates:
        self.times += 1
        return self._index.search(xq, k)


def test_an_image_with_an_input_is_searched_for_once(tmp_path: Path) -> None:
    path = tmp_path / "x.index"
    build_index(photo_folder(tmp_path / "photos", MANY), path, ADVISED, thumbnails=0)
    transform_index(path, rivals=True)
    with open_index(path, embedder=ADVISED) as index:
        counting = Searched(index)
        guard = Guard(counting, ADVISED, config=load_config(None, policy=Policy(flag=0.5, block=0.6)))
        echoed, unknown = guard.check([picture(3), picture(700)], inputs=[picture(3)])
        assert (echoed.decision, unknown.decision) == (Decision.ALLOW, Decision.ALLOW)
        (alone,) = guard.check([picture(3)])
        assert alone.nearest is not None
        assert echoed.input_similarity == pytest.approx(alone.nearest.similarity, abs=1e-3)
        assert counting.times == 2  # one a check


def test_without_rivals_a_search_is_a_search(opened: OpenIndex) -> None:
    path = opened.folder.parent.parent
    remove_transform(path)
    with open_index(path) as plain:
        assert rivals_of(plain) is None
        row = query(opened, r2=0.6, r3=0.55)
        one, other = beside_rivals(plain, row, 4), plain.search(row, 4)
        np.testing.assert_array_equal(one.ids, other.ids)
        np.testing.assert_array_equal(one.similarity, other.similarity)


def test_leaving_one_out_leaves_its_copies_out_of_the_rivals(opened: OpenIndex) -> None:
    found = leave_one_out(opened, duplicate=0.85).similarities[:, 0]
    assert len(found) == 25  # 1 is a copy of 0
    np.testing.assert_allclose(found[1:4], 0.45 + 0.2 - 0.45 / 3, atol=1e-4)  # beside one look-alike and strangers
    assert found[0] == pytest.approx(0.2, abs=0.01)


MANY = 20
WHITE = Thresholds(0.45, 0.55, "whitened", rivals=Thresholds(0.4, 0.6, "beside rivals"))
ADVISED = ToyEmbedder(thresholds=Thresholds(0.8, 0.95, "plain", WHITE))


def manifest(index: Path) -> Manifest:
    folder = IndexFolder(index)
    return Manifest.read(folder.version(folder.current()) / MANIFEST)


def test_an_embedder_that_advises_it_gives_large_indexes_rivals(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(usual, "ABOVE", MANY - 1)
    index = tmp_path / "x.index"
    build_index(photo_folder(tmp_path / "photos", MANY), index, ADVISED, thumbnails=0)
    entry = manifest(index).transform
    assert entry is not None
    assert entry.rivals is not None
    assert is_usual(entry, entry.dim)
    assert any(line.startswith("rivals: in checks") for line in describe(entry, entry.dim))
    spec = manifest(index).spec
    assert advised(spec, entry) == WHITE.rivals
    assert advised(spec, entry, checks=False) == WHITE
    guard = Guard.open(index, embedder=ADVISED)
    assert [v.decision.value for v in guard.check([picture(3), picture(700)])] == ["block", "allow"]
    assert "flag 0.400" in guard.check([picture(700)])[0].reasons[0]

    before = entry.sha256
    without = transform_index(index, rivals=False).transform
    assert without is not None
    assert without.rivals is None
    assert without.whitening == entry.whitening
    assert without.sha256 != before  # a calibration must not hold for both
    assert advised(spec, without) == WHITE
    again = transform_index(index, rivals=True).transform
    assert again is not None
    assert again.sha256 == before


def test_rivals_live_through_a_merge_and_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usual, "ABOVE", MANY - 1)
    for i, start in enumerate((0, 100)):
        folder = tmp_path / f"p{i}"
        folder.mkdir()
        for seed in range(start, start + MANY):
            picture(seed).save(folder / f"{seed}.png")
        build_index(folder, tmp_path / f"{i}.index", ADVISED, thumbnails=0)
    merge_indexes(tmp_path / "0.index", tmp_path / "1.index", tmp_path / "both.index")
    both = manifest(tmp_path / "both.index").transform
    assert both is not None
    assert both.rivals is not None
    with pytest.raises(ConfigError, match="nothing would be left"):
        transform_index(tmp_path / "both.index", whiten=False, rivals=False)
    alone = transform_index(tmp_path / "both.index", whiten=False).transform
    assert alone is not None
    assert alone.whitening is None
    assert alone.rivals is not None
    with open_index(tmp_path / "both.index", embedder=ADVISED) as opened:
        assert beside_rivals(opened, opened.descriptors([3]), 1).ids[0, 0] == 3


def test_more_copies_than_are_looked_through_hide_nothing(tmp_path: Path) -> None:
    rows = np.zeros((DEPTH + 8, 8), np.float32)
    rows[: DEPTH + 4, 0] = 1  # one picture, many times
    rows[DEPTH + 4 :, 1] = 1
    index = index_of_rows(tmp_path, rows)
    transform_index(index, rivals=True)
    with open_index(index) as opened:
        row = np.array([[0.9, 0.4, *[0] * 6]], np.float32) / np.float32(np.hypot(0.9, 0.4))
        found = beside_rivals(opened, row, 3)
        np.testing.assert_allclose(found.similarity, opened.search(row, 3).similarity)
