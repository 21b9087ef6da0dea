"""The largest clique of a graph, within a bounded number of steps. Knows bits; no pictures.

Branch and bound over bit sets with a colouring as the bound (San Segundo et al. 2011, after Tomita and Seki 2003).
networkx has the same answer in `max_weight_clique`, without a bound on its time and with one Python frame for each
member, which the cliques of a memorised picture exceed; tests compare both.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["STEPS", "Clique", "largest_clique"]

STEPS = 4_000  # branches looked at; some seconds for 500 nodes


@dataclass(frozen=True, slots=True)
class Clique:
    """A set of nodes that are all joined to one another."""

    members: tuple[int, ...]
    """Ascending."""
    bound: int
    """No clique of the graph is larger; equal to the number of members if it was proven largest."""

    @property
    def exact(self) -> bool:
        """True if it was proven that there is none larger."""
        return self.bound == len(self.members)

    def __len__(self) -> int:
        return len(self.members)


def largest_clique(adjacent: npt.NDArray[np.bool_], *, steps: int = STEPS) -> Clique:
    """Return the largest clique, or the largest that was found within steps.

    adjacent: (n, n) symmetric; the diagonal does not count. n = 0 gives an empty clique.
    The same graph gives the same answer: steps are counted, not seconds.
    """
    degrees = adjacent.sum(axis=1) - adjacent.diagonal()
    order = np.argsort(-degrees, kind="stable")
    neighbours = _bit_rows(adjacent[np.ix_(order, order)])
    best = _greedy(neighbours)
    found, bound = _search(neighbours, best, steps)
    return Clique(tuple(sorted(int(order[i]) for i in found)), bound)


def _bit_rows(adjacent: npt.NDArray[np.bool_]) -> list[int]:
    """One whole number a node, whose bit j says whether j is joined to it."""
    packed = np.packbits(adjacent & ~np.eye(len(adjacent), dtype=np.bool_), axis=1, bitorder="little")
    return [int.from_bytes(row.tobytes(), "little") for row in packed]


def _greedy(neighbours: list[int]) -> list[int]:
    """The best of the cliques that grow from each node by taking the joined node of the highest degree first."""
    best: list[int] = []
    for start, joined in enumerate(neighbours):
        if joined.bit_count() < len(best):
            continue
        clique, candidates = [start], joined
        while candidates:
            node = _lowest(candidates)
            clique.append(node)
            candidates &= neighbours[node]
        best = max(best, clique, key=len)
    return best


def _search(neighbours: list[int], best: list[int], steps: int) -> tuple[list[int], int]:
    """The largest clique found and a bound on all; the stack is a list, since cliques may be deeper than Python's."""
    everyone = (1 << len(neighbours)) - 1
    frames = [_Frame(everyone, neighbours)]
    clique: list[int] = []
    while frames:
        frame = frames[-1]
        if not frame.nodes or len(clique) + frame.colours[-1] <= len(best):
            frames.pop()
            if clique:
                clique.pop()
            continue
        if steps == 0:
            open_bounds = [depth + f.colours[-1] for depth, f in enumerate(frames) if f.nodes]
            return best, max([len(best), *open_bounds])
        steps -= 1
        node = frame.nodes.pop()
        frame.colours.pop()
        frame.candidates &= ~(1 << node)
        candidates = frame.candidates & neighbours[node]
        clique.append(node)
        if len(clique) > len(best):
            best = clique.copy()
        frames.append(_Frame(candidates, neighbours))
    return best, len(best)


class _Frame:
    """Candidates of one branch, in the order of a greedy colouring: those of colour c hold no clique above c."""

    __slots__ = ("candidates", "colours", "nodes")

    def __init__(self, candidates: int, neighbours: list[int]) -> None:
        self.candidates = candidates
        self.nodes: list[int] = []
        self.colours: list[int] = []
        colour, left = 0, candidates
        while left:
            colour += 1
            alike = left
            while alike:  # nodes that are not joined to one another share a colour
                node = _lowest(alike)
                left &= ~(1 << node)
                alike &= ~(1 << node) & ~neighbours[node]
                self.nodes.append(node)
                self.colours.append(colour)


def _lowest(bits: int) -> int:
    return (bits & -bits).bit_length() - 1
