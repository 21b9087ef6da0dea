from __future__ import annotations

import numpy as np
import pytest

from guard.audit.density import density
from guard.audit.distance import Pictures, tiled_pairwise
from tests.support.toys import picture


def apart(n: int, first: int = 0) -> Pictures:
    return np.stack([np.array(picture(first + i)) for i in range(n)])


def crowd(n: int, seed: int = 500) -> Pictures:
    """Noisy copies of one picture; the first is the least noisy."""
    rng, centre = np.random.default_rng(seed), np.array(picture(seed)).astype(float)
    noisy = [centre + rng.normal(0, 3 if i == 0 else 9, centre.shape) for i in range(n)]
    return np.stack([x.clip(0, 255).round().astype(np.uint8) for x in noisy])


def test_a_crowd_among_others() -> None:
    pictures = np.concatenate([apart(15), crowd(10), apart(5, first=50)])
    found = density(pictures)
    assert found.likely
    assert found.clique.members == tuple(range(15, 25))
    assert found.medoid == 15
    distances = tiled_pairwise(pictures)
    assert found.closest == pytest.approx(np.sort(distances[np.triu_indices(30, 1)])[0])
    within = distances[15:25, 15:25]
    assert found.spread == pytest.approx(within.sum() / 90)


def test_one_member_too_few() -> None:
    found = density(np.concatenate([apart(5), crowd(9)]))
    assert (found.largest, found.likely) == (9, False)
    assert density(np.concatenate([apart(5), crowd(9)]), least=9).likely


def test_the_threshold_joins() -> None:
    pictures = crowd(12)
    assert density(pictures, threshold=0.01).largest == 1
    assert density(pictures, threshold=0.5).largest == 12


def test_pictures_of_one_colour_are_joined_to_none() -> None:
    """A safety checker's black pictures are no memorised picture."""
    black = np.zeros((20, 64, 64, 3), np.uint8)
    found = density(np.concatenate([black, apart(3)]))
    assert (found.plain, found.largest, found.likely) == (20, 1, False)
    assert found.clique.members in ((20,), (21,), (22,))
    alone = density(black)
    assert (alone.largest, alone.medoid, alone.closest, alone.spread) == (0, None, None, None)


def test_nothing_and_one() -> None:
    none = density(np.zeros((0, 1, 1, 3), np.uint8))
    assert (none.generations, none.largest, none.medoid) == (0, 0, None)
    assert density(apart(1)).closest is None
