"""Every vector index passes the contract; faiss and torch agree on one index file."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from guard.indexes.base import VectorIndex
from guard.indexes.builder import build_index
from guard.indexes.faiss_index import FaissBinaryIndex, FaissFlatIndex
from guard.indexes.overlaid import open_overlaid
from guard.indexes.overlay import Overlay
from guard.indexes.store import Memory, open_index
from guard.indexes.torch_index import TorchIndex
from guard.indexes.transform import Normalisation, Transform, Whitening
from guard.indexes.transformed import TransformedIndex
from guard.sources import open_source
from guard.types import Descriptors
from tests.contract.index import VectorIndexContract
from tests.support.references import unit_rows
from tests.support.specs import Named


class TestFaissFlat(VectorIndexContract):
    def build(self, xb: Descriptors) -> VectorIndex:
        return FaissFlatIndex(xb)


class TestFaissBinary(VectorIndexContract):
    signs = True

    def build(self, xb: Descriptors) -> VectorIndex:
        return FaissBinaryIndex(xb)


class TestTransformed(VectorIndexContract):
    """A whitening that only turns the space leaves every similarity as it was."""

    def build(self, xb: Descriptors) -> VectorIndex:
        turn, _ = np.linalg.qr(np.random.default_rng(0).standard_normal((self.dim, self.dim)))
        whitening = Whitening(np.zeros(self.dim, np.float32), turn.astype(np.float32), 0.0, False, 2)
        transform = Transform(whitening, Normalisation(np.empty((0, self.dim), np.float32), 1.0, 3, ""))
        return TransformedIndex(FaissFlatIndex(transform.rows(xb)), transform, self.dim, FaissFlatIndex)


class TestTorch(VectorIndexContract):
    def build(self, xb: Descriptors) -> VectorIndex:
        return TorchIndex(xb)


class TestTorchInBlocks(VectorIndexContract):
    """As an index too large for one product."""

    def build(self, xb: Descriptors) -> VectorIndex:
        return TorchIndex(xb, block_values=97)


class TestPublished(VectorIndexContract):
    """Through the files on disk."""

    memory: ClassVar[Memory] = "load"

    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path: Path) -> None:
        self.folder = tmp_path

    def build(self, xb: Descriptors) -> VectorIndex:
        embedder = Named(self.dim, "hamming" if self.signs else "cosine")
        np.save(self.folder / "rows.npy", xb)
        source = open_source(self.folder / "rows.npy", spec=embedder.spec)
        build_index(source, self.folder / "x.index", embedder, restart=True)
        return open_index(self.folder / "x.index", embedder=embedder, memory=self.memory)


class TestPublishedBits(TestPublished):
    signs = True


class TestOverlaid(TestPublished):
    """Every reference has a copy in the index that counts no more."""

    def build(self, xb: Descriptors) -> VectorIndex:
        super().build(np.concatenate([xb, xb]))
        path = self.folder / "x.index"
        overlay = Overlay(path)
        overlay.bury([f"uri:rows.npy#{len(xb) + i}" for i in range(len(xb))], who="test")
        return open_overlaid(path)


class TestOverlaidBits(TestOverlaid):
    signs = True


class TestMapped(TestPublished):
    memory = "map"


class TestMappedBits(TestMapped):
    signs = True


@pytest.mark.parametrize("metric", ["cosine", "hamming"])
def test_faiss_and_torch_agree_on_one_file(tmp_path: Path, metric: str) -> None:
    embedder = Named(64, metric)
    np.save(tmp_path / "rows.npy", unit_rows(300, 64, signs=metric == "hamming"))
    build_index(tmp_path / "rows.npy", tmp_path / "x.index", embedder)
    xq = unit_rows(20, 64, seed=1, signs=metric == "hamming")
    with (
        open_index(tmp_path / "x.index") as by_faiss,
        open_index(tmp_path / "x.index", backend="torch", device="cpu") as by_torch,
    ):
        np.testing.assert_allclose(by_faiss.search(xq, 9).similarity, by_torch.search(xq, 9).similarity, atol=1e-5)
