"""What every vector index promises. A subclass says how to build one, and adds no tests."""

from __future__ import annotations

import threading
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from guard.indexes.base import SupportsRows, VectorIndex
from guard.types import Descriptors
from tests.support.references import unit_rows


class VectorIndexContract:
    signs: ClassVar[bool] = False
    """True: rows must be +-1 / sqrt(dim)."""
    dim: ClassVar[int] = 64
    tolerance: ClassVar[float] = 1e-5

    def build(self, xb: Descriptors) -> VectorIndex:
        raise NotImplementedError

    def rows(self, n: int, seed: int = 0) -> Descriptors:
        return unit_rows(n, self.dim, seed, signs=self.signs)

    def test_is_a_vector_index(self) -> None:
        index = self.build(self.rows(3))
        assert isinstance(index, VectorIndex)
        assert len(index) == 3

    def test_a_member_finds_itself(self) -> None:
        xb = self.rows(200)
        found = self.build(xb).search(xb[:5], 1)
        assert found.ids[:, 0].tolist() == [0, 1, 2, 3, 4]
        np.testing.assert_allclose(found.similarity[:, 0], 1, atol=self.tolerance)

    def test_answers_are_exact_and_nearest_first(self) -> None:
        xb, xq = self.rows(500), self.rows(33, seed=1)
        found = self.build(xb).search(xq, 10)
        assert (found.ids.dtype, found.similarity.dtype) == (np.int64, np.float32)
        assert found.ids.shape == found.similarity.shape == (33, 10)
        exact = xq @ xb.T
        np.testing.assert_allclose(found.similarity, -np.sort(-exact, axis=1)[:, :10], atol=self.tolerance)
        at_ids = np.take_along_axis(exact, found.ids, axis=1)
        np.testing.assert_allclose(found.similarity, at_ids, atol=self.tolerance)

    def test_rows_are_given_back(self) -> None:
        xb, ids = self.rows(40), np.array([7, 0, 39, 7])
        index = self.build(xb)
        if not isinstance(index, SupportsRows):
            pytest.skip("keeps no rows that can be asked for")
        found = index.rows(ids)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, xb[ids], atol=self.tolerance)
        assert index.rows(ids[:0]).shape == (0, self.dim)

    @pytest.mark.parametrize("k", [4, 5, 50])
    def test_more_neighbours_than_rows(self, k: int) -> None:
        xb = self.rows(3)
        found = self.build(xb).search(xb, k)
        assert found.ids.shape == (3, k)
        assert sorted(found.ids[0, :3].tolist()) == [0, 1, 2]
        assert (found.ids[:, 3:] == -1).all()
        assert np.isneginf(found.similarity[:, 3:]).all()
        assert np.isfinite(found.similarity[:, :3]).all()

    def test_no_queries(self) -> None:
        found = self.build(self.rows(3)).search(np.empty((0, self.dim), np.float32), 2)
        assert found.ids.shape == found.similarity.shape == (0, 2)

    def test_no_rows(self) -> None:
        index = self.build(np.empty((0, self.dim), np.float32))
        found = index.search(self.rows(2), 3)
        assert len(index) == 0
        assert (found.ids == -1).all()
        assert np.isneginf(found.similarity).all()
        assert found.ids.shape == (2, 3)

    def test_ties_come_each_once(self) -> None:
        xb = np.repeat(self.rows(2), 5, axis=0)
        found = self.build(xb).search(xb[:1], 5)
        assert sorted(found.ids[0].tolist()) == [0, 1, 2, 3, 4]
        np.testing.assert_allclose(found.similarity, 1, atol=self.tolerance)

    @pytest.mark.parametrize("form", ["fortran", "float64", "strided", "tensor", "half", "gradient"])
    def test_form_of_the_queries_does_not_matter(self, form: str) -> None:
        xb, xq = self.rows(100), self.rows(7, seed=2)
        forms: dict[str, Any] = {
            "fortran": np.asfortranarray(xq),
            "float64": xq.astype(np.float64),
            "strided": np.repeat(xq, 2, axis=0)[::2],
            "tensor": torch.from_numpy(xq),
            "half": torch.from_numpy(xq).half(),
            "gradient": torch.from_numpy(xq).requires_grad_(),
        }
        index = self.build(xb)
        tolerance = 2e-3 if form == "half" else self.tolerance
        found, plain = index.search(forms[form], 4), index.search(xq, 4)
        np.testing.assert_allclose(found.similarity, plain.similarity, atol=tolerance)

    def test_queries_are_left_alone(self) -> None:
        xq = self.rows(4)
        before = xq.copy()
        self.build(self.rows(10)).search(xq, 2)
        np.testing.assert_array_equal(xq, before)

    @pytest.mark.parametrize("shape", [(64,), (2, 63), (2, 1, 64)])
    def test_queries_of_another_shape_are_refused(self, shape: tuple[int, ...]) -> None:
        with pytest.raises(ValueError, match="64"):
            self.build(self.rows(3)).search(np.zeros(shape, np.float32), 1)

    def test_no_neighbours_are_refused(self) -> None:
        with pytest.raises(ValueError, match="k is 0"):
            self.build(self.rows(3)).search(self.rows(1), 0)

    def test_threads_get_their_own_answers(self) -> None:
        xb = self.rows(300)
        index, wrong = self.build(xb), []

        def look_up(first: int) -> None:
            for i in range(first, first + 40):
                rows = xb[i : i + 1 + i % 3]
                if index.search(rows, 2).ids[:, 0].tolist() != list(range(i, i + len(rows))):
                    wrong.append(i)

        threads = [threading.Thread(target=look_up, args=(first,)) for first in range(0, 240, 40)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert wrong == []
