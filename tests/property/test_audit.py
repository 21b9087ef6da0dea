"""Distances and cliques of an audit against the slow obvious answers."""

from __future__ import annotations

from itertools import combinations

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from guard.audit.cliques import largest_clique
from guard.audit.distance import Pictures, rms_between, tiled_between, tiled_pairwise
from guard.audit.references import fitted, plate
from guard.evaluation.intervals import paired_difference

few = settings(max_examples=60, deadline=None)


@st.composite
def stacks(draw: st.DrawFn, most: int = 6) -> Pictures:
    shape = (draw(st.integers(0, most)), draw(st.integers(4, 20)), draw(st.integers(4, 20)), 3)
    return draw(arrays(np.uint8, shape, elements=st.integers(0, 255)))


@few
@given(pictures=stacks(), strip_bytes=st.integers(1, 20_000))
def test_pairwise_is_pair_by_pair(pictures: Pictures, strip_bytes: int) -> None:
    found = tiled_pairwise(pictures, strip_bytes=strip_bytes)
    exact = tiled_between(pictures, pictures)
    np.testing.assert_allclose(found, exact, atol=2e-3)  # of two identical ones, 1e-3 is what float32 leaves
    for i, j in combinations(range(len(pictures)), 2):
        x, y = (pictures[k].astype(np.float64) / 255 for k in (i, j))
        rows, columns = (np.linspace(0, side, 5).round().astype(int) for side in x.shape[:2])
        worst = max(
            np.sqrt(np.square(x[rows[r] : rows[r + 1], columns[c] : columns[c + 1]]
                              - y[rows[r] : rows[r + 1], columns[c] : columns[c + 1]]).mean())
            for r in range(4) for c in range(4)
        )  # fmt: skip
        assert abs(found[i, j] - worst) < 2e-4


@few
@given(n=st.integers(0, 9), bits=st.integers(0, (1 << 36) - 1))
def test_the_largest_of_all_subsets(n: int, bits: int) -> None:
    graph = np.zeros((n, n), np.bool_)
    for at, (i, j) in enumerate(combinations(range(n), 2)):
        graph[i, j] = graph[j, i] = bool(bits >> at & 1)
    largest = max(
        (k for k in range(n + 1) for some in combinations(range(n), k)
         if all(graph[i, j] for i, j in combinations(some, 2))),
        default=0,
    )  # fmt: skip
    found = largest_clique(graph)
    assert (len(found), found.exact) == (largest, True)


@few
@given(a=arrays(np.uint8, (3, 33, 50, 3)), scale=st.sampled_from([1, 3]))
def test_a_plate_never_lies_further_apart_than_its_picture(a: Pictures, scale: int) -> None:
    """What the search over all references rests on, but for rounding to whole levels."""
    pictures = a // scale
    plates = np.stack([plate(p) for p in pictures])
    seen = (32 / 33) * (48 / 50)
    bound = (rms_between(plates, plates).astype(float) - 1 / 255) * np.sqrt(seen)
    assert (bound <= rms_between(pictures, pictures) + 1e-3).all()


@few
@given(height=st.integers(16, 80), width=st.integers(16, 80), size=st.tuples(st.integers(16, 64), st.integers(16, 64)))
@example(height=33, width=47, size=(16, 23))
def test_what_is_fitted_has_the_size_and_the_colour(height: int, width: int, size: tuple[int, int]) -> None:
    picture = np.full((height, width, 3), (10, 200, 90), np.uint8)
    assert (fitted(picture, size) == np.full((*size, 3), (10, 200, 90), np.uint8)).all()


@few
@given(st.integers(0, 40), st.integers(0, 40), st.integers(0, 40), st.integers(0, 40))
@example(0, 0, 0, 5)
@example(5, 0, 0, 0)
@example(0, 11, 0, 53)
def test_a_difference_lies_in_its_interval_and_turns_with_its_sides(b: int, x: int, y: int, n: int) -> None:
    if b + x + y + n == 0:
        return
    one, other = paired_difference(b, x, y, n), paired_difference(b, y, x, n)
    assert -1 <= one.low <= one.value + 1e-12
    assert one.value - 1e-12 <= one.high <= 1
    np.testing.assert_allclose((one.value, one.low, one.high), (-other.value, -other.high, -other.low), atol=1e-9)
