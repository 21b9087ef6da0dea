"""An index with an overlay against the slow obvious answer: all references that count, compared one by one."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from guard.indexes.overlaid import open_overlaid
from guard.indexes.overlay import Addition, Overlay
from guard.indexes.transforming import transform_index
from tests.support.overlays import index_of_rows
from tests.support.references import unit_rows

DIM = 16
sizes = st.tuples(st.integers(1, 25), st.integers(0, 12), st.integers(1, 40))


@settings(max_examples=10, deadline=None)
@example(size=(3, 0, 5), buried=[0, 1, 2], withdrawn=[], seed=0, whitened=False)
@given(
    size=sizes,
    buried=st.lists(st.integers(0, 40), max_size=20),
    withdrawn=st.lists(st.integers(0, 12), max_size=5),
    seed=st.integers(0, 2**16),
    whitened=st.booleans(),
)
def test_the_merge_is_exact(size, buried, withdrawn, seed, whitened) -> None:
    n, m, k = size
    base, added, xq = unit_rows(n, DIM, seed), unit_rows(m, DIM, seed + 1), unit_rows(4, DIM, seed + 2)
    with tempfile.TemporaryDirectory() as folder:
        path = index_of_rows(Path(folder), base)
        if whitened and n >= 2:
            transform_index(path, whiten=True, shrinkage=0.5)
        overlay = Overlay(path)
        overlay.add([Addition(f"a{i}", "", added[i : i + 1]) for i in range(m)], ["x"], who="test")
        keys = [f"uri:rows.npy#{i}" for i in range(n)] + [f"uri:a{i}" for i in range(m)]
        gone = {keys[i] for i in buried if i < len(keys)} | {f"uri:a{i}" for i in withdrawn if i < m}
        overlay.bury([keys[i] for i in buried if i < len(keys)], who="test")
        overlay.withdraw([f"uri:a{i}" for i in withdrawn], who="test")
        together = np.concatenate([base, added])
        counting = [i for i, key in enumerate(keys) if key not in gone]
        with open_overlaid(path) as index:
            found = index.search(xq, k)
            all_of_them = index.compare(xq, together[counting]) if counting else np.empty((4, 0), np.float32)
            uris = [[r.uri for r in index.records([i for i in row if i >= 0])] for row in found.ids.tolist()]
            assert len(index) == len(counting)
            ids = [i for i in found.ids[0].tolist() if i >= 0]
            np.testing.assert_allclose(index.similarity(xq[:1], ids)[0], found.similarity[0, : len(ids)], atol=1e-5)
    exact = np.full((4, k), -np.inf, np.float32)
    nearest = -np.sort(-all_of_them, axis=1)[:, :k]
    exact[:, : nearest.shape[1]] = nearest
    np.testing.assert_allclose(found.similarity, exact, atol=1e-5)
    assert all(f"uri:{uri}" not in gone for row in uris for uri in row)


operations = st.lists(
    st.tuples(
        st.sampled_from(["add", "give", "take", "withdraw", "bury", "unbury"]), st.integers(0, 5), st.sampled_from("xy")
    ),
    max_size=25,
)


@settings(max_examples=10, deadline=None)
@given(operations)
def test_what_is_in_force_is_what_the_changes_come_to(done) -> None:
    """Against dictionaries; keys 0 to 2 are of the index, 3 to 5 are not."""
    rows = unit_rows(6, DIM)
    members: dict[int, dict[str, bool]] = {}
    buried: set[int] = set()
    material: set[int] = set()
    with tempfile.TemporaryDirectory() as folder:
        path = index_of_rows(Path(folder), rows[:3])
        uris = [f"rows.npy#{i}" if i < 3 else f"a{i}" for i in range(6)]
        overlay = Overlay(path)
        with open_overlaid(path) as index:
            for verb, i, name in done:
                key = f"uri:{uris[i]}"
                mine = members.setdefault(i, {})
                if verb == "add":
                    overlay.add([Addition(uris[i], "", rows[i : i + 1])], [name], who="test")
                    mine[name] = True
                    material.add(i)
                elif verb in ("give", "take"):
                    getattr(overlay, verb)([key], name, who="test")
                    mine[name] = verb == "give"
                elif verb == "withdraw":
                    overlay.withdraw([key], name, who="test")
                    mine.pop(name, None)
                    if not any(mine.values()):
                        material.discard(i)
                elif verb == "bury":
                    overlay.bury([key], who="test")
                    buried.add(i)
                else:
                    overlay.unbury([key], who="test")
                    buried.discard(i)
            expected = {}
            for i in range(6):
                given = {name for name, member in members.get(i, {}).items() if member}
                if i in buried or (i >= 3 and not (i in material and given)):
                    continue
                expected[uris[i]] = given | ({"training"} if i < 3 else set())
            ids = [i for i in index.search(rows[:1], 6).ids[0].tolist() if i >= 0]
            assert {r.uri: set(r.collections) for r in index.records(ids)} == expected
            steps = [change.action for change in overlay.history()]
            assert sum(step in ("give", "take") for step in steps) == sum(
                v in ("add", "give", "take") for v, _, _ in done
            )
