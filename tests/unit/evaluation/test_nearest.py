"""The nearest references as an evaluation finds them, against the plain answer and against a real index."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from guard.calibration.scored import NEIGHBOURS
from guard.embedders.base import EmbedderSpec, Thresholds
from guard.evaluation import nearest
from guard.evaluation.nearest import as_indexed, nearest_of
from guard.indexes import usual
from guard.indexes.builder import add_to_index
from guard.indexes.rivals import beside_rivals
from guard.indexes.store import open_index
from guard.indexes.transforming import transform_index
from guard.sources import open_source
from tests.support.overlays import index_of_rows
from tests.support.references import unit_rows
from tests.support.specs import Named

DIM, FEW, MANY, MORE = 12, 30, 60, 100
WHITE = Thresholds(0.45, 0.55, "whitened", rivals=Thresholds(0.4, 0.6, "beside rivals"))
SPEC = EmbedderSpec("advised", DIM, 8, "none", "", thresholds=Thresholds(0.8, 0.9, "cosines", whitened=WHITE))


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nearest, "BLOCK", 17)
    monkeypatch.setattr(usual, "ABOVE", MANY - 1)


def test_by_cosines() -> None:
    queries, references = unit_rows(40, DIM, seed=1), unit_rows(MORE, DIM, seed=2)
    found = nearest_of(queries, references, [5, MORE])
    cosines = queries @ references.T
    np.testing.assert_allclose(found[MORE].similarity, -np.sort(-cosines)[:, :NEIGHBOURS], atol=1e-6)
    np.testing.assert_array_equal(found[MORE].first, cosines.argmax(axis=1))
    np.testing.assert_array_equal(found[5].first, cosines[:, :5].argmax(axis=1))
    assert np.isneginf(found[5].similarity[:, 5:]).all()


def test_as_an_index_does_that_is_built_and_grows(tmp_path: Path) -> None:
    queries, references = unit_rows(40, DIM, seed=1), unit_rows(MORE, DIM, seed=2)
    found = as_indexed(queries, references, [FEW, MANY, MORE], SPEC)
    np.testing.assert_allclose(found[FEW][MORE].similarity[:, 0], (queries @ references.T).max(axis=1), atol=1e-6)
    path = index_of_rows(tmp_path, references[:MANY])
    transform_index(path, whiten=True, rivals=True)
    with open_index(path) as built:
        one = beside_rivals(built, queries, NEIGHBOURS)
    np.save(tmp_path / "more.npy", references[MANY:])
    named = Named(DIM, "cosine")
    add_to_index(open_source(tmp_path / "more.npy", spec=named.spec), path, named)
    with open_index(path) as grown:
        other = beside_rivals(grown, queries, NEIGHBOURS)
    for size, index in ((MANY, one), (MORE, other)):
        np.testing.assert_allclose(found[MANY][size].similarity, index.similarity, atol=1e-5)
        np.testing.assert_array_equal(found[MANY][size].first, index.ids[:, 0])
    assert not np.allclose(found[MORE][MORE].similarity[:, 0], other.similarity[:, 0], atol=1e-3)  # fitted on all
