"""Generations of one prompt -> do they crowd around one picture? Looks at generations alone, at no training picture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from guard.audit.cliques import Clique, largest_clique
from guard.audit.distance import Distances, Pictures, tiled_pairwise

__all__ = ["LEAST_CLIQUE", "MOST", "THRESHOLD", "Density", "density"]

THRESHOLD = 0.15  # tiled distance, inclusive: two generations within it are joined; Carlini et al. 2023, section 4.2
LEAST_CLIQUE = 10  # members, inclusive, from which the prompt is likely memorised; the same section
MOST = 2_000  # generations of one prompt that are compared: the graph grows with their square
PLAIN = 0.02  # standard deviation of every channel on [0, 1], inclusive: such a picture shows nothing
PLAIN_PX = 64  # side of the grid of points that this is measured on


@dataclass(frozen=True, slots=True)
class Density:
    """How close together the generations of one prompt lie."""

    generations: int
    plain: int
    """Of them, pictures of one colour (a safety checker's black ones among them), which are joined to none."""
    clique: Clique
    """Positions of generations that are all within the threshold of one another."""
    least: int
    """Members from which `likely` is True."""
    medoid: int | None
    """The member with the smallest mean distance to the others; None without members."""
    spread: float | None
    """Mean tiled distance of the members' pairs; None with fewer than two."""
    closest: float | None
    """Tiled distance of the closest pair of all; None with fewer than two that are not plain."""

    @property
    def likely(self) -> bool:
        """True if the clique is large enough to predict that the prompt's picture is memorised."""
        return len(self.clique) >= self.least

    @property
    def largest(self) -> int:
        return len(self.clique)


def density(pictures: Pictures, *, threshold: float = THRESHOLD, least: int = LEAST_CLIQUE) -> Density:
    """Look at the generations of one prompt, at most MOST; n = 0 is allowed.

    threshold: tiled distance up to which two are joined, inclusive.
    """
    shown = np.flatnonzero(~_plain(pictures))
    distances = tiled_pairwise(pictures[shown] if len(shown) < len(pictures) else pictures)
    clique = largest_clique(distances <= threshold)
    pairs = distances[np.triu_indices(len(distances), 1)]
    members = np.asarray(clique.members, np.int64)
    within = distances[np.ix_(members, members)]
    return Density(
        generations=len(pictures),
        plain=len(pictures) - len(shown),
        clique=Clique(tuple(int(i) for i in shown[members]), clique.bound),
        least=least,
        medoid=int(shown[members[within.sum(axis=1).argmin()]]) if len(members) else None,
        spread=_spread(within),
        closest=float(pairs.min()) if len(pairs) else None,
    )


def _spread(within: Distances) -> float | None:
    n = len(within)
    return float(within.sum() / (n * (n - 1))) if n > 1 else None


def _plain(pictures: Pictures) -> npt.NDArray[np.bool_]:
    """(n,) True for pictures of one colour."""
    n, height, width = pictures.shape[:3]
    if n == 0:
        return np.zeros(0, np.bool_)
    points = pictures[:, :: -(-height // PLAIN_PX), :: -(-width // PLAIN_PX)].reshape(n, -1, 3)
    plain: npt.NDArray[np.bool_] = (points.std(axis=1, dtype=np.float32) <= 255 * PLAIN).all(axis=1)
    return plain
