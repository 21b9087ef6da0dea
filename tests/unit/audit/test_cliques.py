from __future__ import annotations

import networkx as nx
import numpy as np
import numpy.typing as npt
import pytest

from guard.audit.cliques import largest_clique

Graph = npt.NDArray[np.bool_]


def random_graph(n: int, share: float, seed: int) -> Graph:
    upper = np.triu(np.random.default_rng(seed).random((n, n)) < share, 1)
    return upper | upper.T


def is_clique(graph: Graph, members: tuple[int, ...]) -> bool:
    return all(graph[i, j] for i in members for j in members if i != j)


@pytest.mark.parametrize("seed", range(30))
def test_as_large_as_networkx_says(seed: int) -> None:
    rng = np.random.default_rng(seed)
    graph = random_graph(int(rng.integers(1, 35)), float(rng.random()), seed)
    found = largest_clique(graph, steps=1_000_000)
    _, size = nx.max_weight_clique(nx.from_numpy_array(graph.astype(int)), weight=None)
    assert found.exact
    assert len(found) == size
    assert is_clique(graph, found.members)


@pytest.mark.parametrize("size", [10, 40, 200])
def test_a_planted_clique_is_found_among_500(size: int) -> None:
    graph, rng = random_graph(500, 0.05, 1), np.random.default_rng(2)
    members = np.sort(rng.permutation(500)[:size])
    graph[np.ix_(members, members)] = True
    np.fill_diagonal(graph, False)
    found = largest_clique(graph)
    assert found.exact
    assert set(members.tolist()) <= set(found.members)
    assert is_clique(graph, found.members)


def test_a_dense_graph_is_given_up_in_time_and_says_so() -> None:
    graph = random_graph(300, 0.9, 3)
    found = largest_clique(graph, steps=50)
    assert not found.exact
    assert 20 < len(found) < found.bound < 300
    assert is_clique(graph, found.members)
    assert found == largest_clique(graph, steps=50)  # no clock decides


def test_deeper_than_python_calls() -> None:
    found = largest_clique(np.ones((2_000, 2_000), np.bool_))
    assert (len(found), found.exact) == (2_000, True)


def test_small_graphs() -> None:
    assert largest_clique(np.zeros((0, 0), np.bool_)).members == ()
    assert largest_clique(np.zeros((3, 3), np.bool_)).members == (0,)
    assert largest_clique(np.eye(3, dtype=np.bool_)).members == (0,)
