"""The torch index on a GPU: the contract of all vector indexes, and the neighbours that faiss finds on a CPU."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from guard.errors import ConfigError
from guard.indexes.base import VectorIndex
from guard.indexes.builder import build_index
from guard.indexes.faiss_index import FaissFlatIndex
from guard.indexes.store import open_index
from guard.indexes.torch_index import TorchIndex
from guard.types import Descriptors
from tests.contract.index import VectorIndexContract
from tests.support.accelerator import DEVICE, HostCopies, needs_gpu
from tests.support.references import unit_rows
from tests.support.specs import Named

pytestmark = needs_gpu

ROWS, DIM, QUERIES, K = 200_000, 256, 15, 5  # one picture with its windows


class TestTorchOnAGpu(VectorIndexContract):
    def build(self, xb: Descriptors) -> VectorIndex:
        return TorchIndex(xb, device=DEVICE)


class TestTorchOnAGpuInBlocks(VectorIndexContract):
    def build(self, xb: Descriptors) -> VectorIndex:
        return TorchIndex(xb, device=DEVICE, block_values=97)


class TestTorchOnAGpuInHalf(VectorIndexContract):
    tolerance = 1e-3

    def build(self, xb: Descriptors) -> VectorIndex:
        return TorchIndex(xb, device=DEVICE, dtype="float16")


def test_neighbours_are_those_of_faiss_on_the_cpu() -> None:
    xb, xq = unit_rows(ROWS, DIM), unit_rows(QUERIES, DIM, seed=1)
    wanted = FaissFlatIndex(xb).search(xq, K)
    found = TorchIndex(xb, device=DEVICE).search(torch.from_numpy(xq).to(DEVICE), K)
    np.testing.assert_allclose(found.similarity, wanted.similarity, atol=1e-5)
    apart = np.diff(wanted.similarity, axis=1).max(axis=1, initial=-1) < -2e-5  # of near ties either may come first
    assert apart.any()
    np.testing.assert_array_equal(found.ids[apart, :-1], wanted.ids[apart, :-1])


def test_only_neighbours_leave_the_device() -> None:
    index = TorchIndex(unit_rows(1000, DIM), device=DEVICE)
    queries = torch.from_numpy(unit_rows(QUERIES, DIM, seed=1)).to(DEVICE)
    with HostCopies() as copies:
        index.search(queries, K)
    assert copies.values == [QUERIES * K] * 2  # ids and similarities


@pytest.mark.parametrize("metric", ["cosine", "hamming"])
def test_a_published_index_is_searched_there(tmp_path: Path, metric: str) -> None:
    signs = metric == "hamming"
    embedder = Named(64, metric)
    np.save(tmp_path / "rows.npy", unit_rows(3000, 64, signs=signs))
    build_index(tmp_path / "rows.npy", tmp_path / "x.index", embedder)
    xq = unit_rows(20, 64, seed=1, signs=signs)
    with (
        open_index(tmp_path / "x.index") as by_faiss,
        open_index(tmp_path / "x.index", backend="torch", device=DEVICE) as by_torch,
    ):
        wanted, found = by_faiss.search(xq, 9), by_torch.search(torch.from_numpy(xq).to(DEVICE), 9)
        np.testing.assert_allclose(found.similarity, wanted.similarity, atol=1e-5)
        assert by_torch.records(found.ids[0].tolist())
        np.testing.assert_allclose(by_torch.descriptors([7, 0]), by_faiss.descriptors([7, 0]), atol=1e-5)


def test_a_device_that_is_not_there_is_refused() -> None:
    with pytest.raises(ConfigError, match="cuda:99"):
        TorchIndex(unit_rows(3, DIM), device="cuda:99")
