"""Clusters against the slow obvious answer; who stays is one of each, in whatever order; no list loses a picture."""

from __future__ import annotations

import csv
import json
import tempfile
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from guard.dedup import Keep, Options, chosen, dedup_index
from guard.dedup.exact import exact_groups
from guard.dedup.neighbours import Pairs, near_rows
from guard.dedup.stars import clustered
from guard.indexes import build_index, open_index
from guard.types import Record
from tests.support.references import unit_rows
from tests.support.specs import Named

edges = st.integers(2, 12).flatmap(
    lambda n: st.tuples(
        st.just(n), st.sets(st.tuples(st.integers(0, n - 1), st.integers(0, n - 1)).filter(lambda e: e[0] < e[1]))
    )
)


def as_pairs(known: set[tuple[int, int]]) -> Pairs:
    ordered = sorted(known)
    return Pairs(np.array([a for a, _ in ordered], np.int64), np.array([b for _, b in ordered], np.int64))


def components(n: int, known: set[tuple[int, int]]) -> list[set[int]]:
    """Whoever can be reached, one pair after another."""
    groups = [{i} for i in range(n)]
    for a, b in known:
        one, other = (next(g for g in groups if i in g) for i in (a, b))
        if one is not other:
            groups.remove(other)
            one |= other
    return groups


@settings(deadline=None)
@given(graph=edges, data=st.data())
def test_clusters_keep_their_promises(graph: tuple[int, set[tuple[int, int]]], data: st.DataObject) -> None:
    n, known = graph
    seen = data.draw(st.sets(st.sampled_from(sorted(known)))) if known else set()  # what a look-up finds of them
    weight = np.array(data.draw(st.lists(st.integers(1, 5), min_size=n, max_size=n)), np.int64)

    def agrees(centre: int, others: Sequence[int]) -> list[bool]:
        return [(min(centre, o), max(centre, o)) in known for o in others]

    centre = clustered(n, as_pairs(seen), weight, agrees).tolist()
    for i, c in enumerate(centre):
        assert centre[c] == c
        assert i == c or (min(i, c), max(i, c)) in known, "a member is no copy of its centre"
    for group in components(n, seen):
        assert {centre[i] for i in group} <= group, "a cluster reaches beyond its component"
    alone = {i for i in range(n) if centre.count(centre[i]) == 1}
    assert not any(a in alone and b in alone for a, b in seen), "two that are known to be copies stand alone"


@settings(deadline=None)
@given(n=st.integers(1, 12), data=st.data())
def test_where_copies_are_transitive_clusters_are_the_components(n: int, data: st.DataObject) -> None:
    group = data.draw(st.lists(st.integers(0, 3), min_size=n, max_size=n))
    known = {(a, b) for a, b in combinations(range(n), 2) if group[a] == group[b]}
    spanning = {(a, b) for a, b in known if not any(group[c] == group[a] for c in range(a + 1, b))}
    found = clustered(
        n, as_pairs(spanning), np.ones(n, np.int64), lambda c, others: [group[o] == group[c] for o in others]
    )
    assert {frozenset(np.flatnonzero(found == c)) for c in set(found.tolist())} == {
        frozenset(np.flatnonzero(np.array(group) == g)) for g in set(group)
    }


@settings(deadline=None)
@given(seed=st.integers(0, 1000), n=st.integers(2, 40), least=st.floats(0.1, 0.9))
def test_near_rows_are_all_near_rows(seed: int, n: int, least: float) -> None:
    rows = unit_rows(n, 4, seed)
    cosines = rows @ rows.T
    found = near_rows(rows, np.arange(n), least, method="exact")
    expected = {(a, b) for a, b in combinations(range(n), 2) if cosines[a, b] >= least + 1e-5}
    allowed = {(a, b) for a, b in combinations(range(n), 2) if cosines[a, b] >= least - 1e-5}
    listed = set(zip(found.first.tolist(), found.second.tolist(), strict=True))
    assert len(listed) == len(found)
    assert listed <= allowed
    if n <= 32:  # every neighbour is kept
        assert expected <= listed


digests = st.sampled_from(["", "aa" * 32, "bb" * 32, "cc" * 32, "nonsense"])


@settings(deadline=None)
@given(pictures=st.lists(st.tuples(digests, digests), max_size=10))
def test_exact_groups_are_components(pictures: list[tuple[str, str]]) -> None:
    records = [Record(i, f"{i}", one, pixels_sha256=two) for i, (one, two) in enumerate(pictures)]
    valid = [{d for d in p if len(d) == 64} for p in pictures]
    known = {(a, b) for a, b in combinations(range(len(pictures)), 2) if valid[a] & valid[b]}
    expected = {i: min(group) for group in components(len(pictures), known) for i in group}
    assert exact_groups(records, len(pictures)).tolist() == [expected[i] for i in range(len(pictures))]


facts = st.tuples(st.integers(0, 2), st.integers(0, 2), st.integers(0, 2), st.sampled_from(["", "a cat", "a big cat"]))


@settings(deadline=None)
@given(rows=st.lists(facts, min_size=1, max_size=8), keep=st.sampled_from(Keep), data=st.data())
def test_one_of_each_cluster_stays(rows: list[tuple[int, int, int, str]], keep: Keep, data: st.DataObject) -> None:
    records = [
        Record(i, f"{i}", "", caption, width=w, height=1, file_bytes=b, modified=m)
        for i, (w, b, m, caption) in enumerate(rows)
    ]
    group = data.draw(st.lists(st.integers(0, 2), min_size=len(rows), max_size=len(rows)))
    cluster = np.array([group.index(g) for g in group])
    stays = chosen(records, cluster, keep)
    order = data.draw(st.permutations(records))
    assert chosen(order, cluster, keep).tolist() == stays.tolist()
    assert (stays[stays] == stays).all()
    assert (cluster[stays] == cluster).all()
    assert len(set(stays.tolist())) == len(set(group))


@settings(max_examples=10, deadline=None)
@given(group=st.lists(st.integers(0, 3), min_size=1, max_size=10))
def test_lists_hold_every_picture_once(group: list[int]) -> None:
    """Embeddings that were made elsewhere: equal rows are copies."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        np.save(folder / "e.npy", unit_rows(4, 16)[group])
        lines = "".join(json.dumps({"uri": f"u{i}"}) + "\n" for i in range(len(group)))
        (folder / "e.jsonl").write_text(lines, encoding="utf-8")
        build_index(folder / "e.npy", folder / "x.index", Named(16), thumbnails=0)
        report = dedup_index(folder / "x.index", folder / "out", Options(similarity=0.99))
        with (folder / "out" / "keep.csv").open() as one, (folder / "out" / "drop.csv").open() as other:
            kept, dropped = list(csv.DictReader(one)), list(csv.DictReader(other))
        assert sorted(int(row["id"]) for row in kept + dropped) == list(range(len(group)))
        assert [int(row["id"]) for row in kept] == sorted({group.index(g) for g in group})
        assert all(group[int(row["id"])] == group[int(row["stays_id"])] for row in dropped)
        assert report.kept == len(kept)
        with open_index(folder / "x.index") as index:
            assert [r.cluster_size for r in index.reader.all()] == [group.count(g) for g in group]
