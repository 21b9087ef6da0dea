"""A transformed index against the definition, over sizes, dimensions, ties and backgrounds."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from guard.indexes.faiss_index import FaissFlatIndex
from guard.indexes.transform import Normalisation, Transform, fit_whitening
from guard.indexes.transformed import TransformedIndex
from tests.support.references import unit_rows


@st.composite
def cases(draw: st.DrawFn) -> tuple[Transform, np.ndarray, np.ndarray]:
    d = draw(st.integers(2, 24))
    rows = unit_rows(draw(st.integers(3, 60)), d, draw(st.integers(0, 50)))
    if draw(st.booleans()):
        rows = np.concatenate([rows, rows[:2]])  # ties
    whitening = normalisation = None
    if draw(st.booleans()):
        whitening = fit_whitening(rows, shrinkage=draw(st.floats(0.05, 1)), dim=draw(st.integers(2, d)))
    if draw(st.booleans()) or whitening is None:
        background = unit_rows(draw(st.integers(0, 20)), d, 99)
        normalisation = Normalisation(background, draw(st.floats(0.1, 2)), draw(st.integers(1, 6)), "")
    return Transform(whitening, normalisation), rows, unit_rows(draw(st.integers(1, 9)), d, 7)


@given(case=cases(), k=st.integers(1, 12))
def test_search_equals_the_definition(case: tuple[Transform, np.ndarray, np.ndarray], k: int) -> None:
    transform, rows, queries = case
    index = TransformedIndex(FaissFlatIndex(transform.rows(rows)), transform, rows.shape[1], FaissFlatIndex)

    def white(x: np.ndarray) -> np.ndarray:
        if transform.whitening is None:
            return x.astype(np.float64)
        z = (x.astype(np.float64) - transform.whitening.mean) @ transform.whitening.matrix.T
        return z / np.linalg.norm(z, axis=1, keepdims=True)

    expected = white(queries) @ white(rows).T
    if transform.normalisation is not None and len(transform.normalisation.background):
        near = -np.sort(-(white(queries) @ white(transform.normalisation.background).T), axis=1)
        expected -= transform.normalisation.beta * near[:, : transform.normalisation.nearest].mean(axis=1)[:, None]
    found = index.search(queries, k)
    best = -np.sort(-expected, axis=1)[:, :k]
    np.testing.assert_allclose(found.similarity[:, : best.shape[1]], best, atol=2e-5)
    assert np.isneginf(found.similarity[:, best.shape[1] :]).all()
    at_ids = np.take_along_axis(expected, found.ids[:, : best.shape[1]], axis=1)
    np.testing.assert_allclose(found.similarity[:, : best.shape[1]], at_ids, atol=2e-5)
    np.testing.assert_allclose(index.compare(queries, rows), expected, atol=2e-5)


@given(case=cases())
def test_a_row_does_not_depend_on_the_others(case: tuple[Transform, np.ndarray, np.ndarray]) -> None:
    transform, rows, queries = case
    index = TransformedIndex(FaissFlatIndex(transform.rows(rows)), transform, rows.shape[1], FaissFlatIndex)
    together = index.search(queries, 3).similarity
    alone = np.concatenate([index.search(query[None], 3).similarity for query in queries])
    np.testing.assert_allclose(together, alone, atol=1e-5)
