from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from guard.audit.distance import rms_between
from guard.audit.references import References, fitted
from guard.errors import ConfigError
from guard.indexes.builder import build_index
from guard.indexes.store import OpenIndex, open_index
from tests.support.references import photo_folder
from tests.support.toys import ToyEmbedder, picture


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> OpenIndex:
    folder = tmp_path_factory.mktemp("references")
    build_index(photo_folder(folder / "photos", 150), folder / "x.index", ToyEmbedder(), hashes=False)
    return open_index(folder / "x.index")


@pytest.mark.parametrize("size", [(64, 64), (50, 33)])
def test_the_nearest_are_those_of_all(index: OpenIndex, size: tuple[int, int]) -> None:
    references = References(index, range(150), size)
    _, everything = references.pixels(range(150))
    for seed in (3, 77, 1_000):
        query = fitted(np.array(picture(seed)), size)
        found, exact = references.nearest(query, 20), rms_between(query[None], everything)[0]
        np.testing.assert_allclose(found.distances, np.sort(exact)[:20], atol=1e-6)
        np.testing.assert_allclose(exact[found.ids], found.distances, atol=1e-6)
    assert found.ids.shape == (20,)
    assert len(references.nearest(query, 500).ids) == 150


def test_only_those_that_were_asked_for(index: OpenIndex) -> None:
    references = References(index, [5, 9, 100], (64, 64))
    assert sorted(references.nearest(np.array(picture(9)), 10).ids.tolist()) == [5, 9, 100]
    assert references.nearest(np.array(picture(9)), 1).ids.tolist() == [9]


def test_large_generations_are_compared_at_the_size_of_thumbnails(index: OpenIndex) -> None:
    references = References(index, [0], (512, 1024))
    assert references.size == (128, 256)
    assert references.scaled(np.zeros((2, 512, 1024, 3), np.uint8)).shape == (2, 128, 256, 3)


def test_without_thumbnails(tmp_path: Path) -> None:
    build_index(photo_folder(tmp_path / "photos", 3), tmp_path / "x.index", ToyEmbedder(), thumbnails=0, hashes=False)
    with open_index(tmp_path / "x.index") as bare, pytest.raises(ConfigError, match="--thumbnails"):
        References(bare, [0], (64, 64))


def test_fitting_cuts_around_the_centre() -> None:
    wide = np.zeros((10, 30, 3), np.uint8)
    wide[:, 10:20] = 200
    assert (fitted(wide, (10, 10)) == 200).all()
    assert (fitted(wide.transpose(1, 0, 2), (10, 10)) == 200).all()
    assert fitted(wide, (10, 30)) is wide
