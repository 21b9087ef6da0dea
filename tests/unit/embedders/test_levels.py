"""Equalised copies: what they undo, that a tensor gives the same, and that a guard finds other levels through them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from skimage import data

from guard import Guard, Policy
from guard.embedders.levels import SIDE, equalised
from guard.embedders.registry import load_embedder
from guard.embedders.views import REGIONS, WINDOW_HANDICAP, embed_views, usual_views
from guard.indexes.builder import build_index
from guard.pixels import ImageBatch, RGBArray, to_batch
from tests.support.toys import ToyEmbedder, Windowed, picture


def of(array: RGBArray) -> RGBArray:
    return equalised(to_batch(array)).as_arrays()[0]


def as_tensor(array: RGBArray) -> ImageBatch:
    return ImageBatch(tensor=torch.from_numpy(array.copy()).permute(2, 0, 1)[None].float() / 255)


@given(st.integers(0, 2**32 - 1), st.integers(2, 60))
def test_whatever_keeps_the_order_of_levels_is_undone(seed: int, kinds: int) -> None:
    rng = np.random.default_rng(seed)
    array = rng.integers(0, kinds, (24, 20, 3), np.uint8)
    tables = np.stack([np.sort(rng.choice(256, kinds, replace=False)) for _ in range(3)]).astype(np.uint8)
    other = np.stack([tables[c][array[..., c]] for c in range(3)], axis=2)
    np.testing.assert_array_equal(of(other), of(array))


def test_an_inverted_picture_becomes_the_inverted_copy() -> None:
    array = np.array(picture(1, 90, 70))
    assert np.abs(of(255 - array).astype(int) - (255 - of(array).astype(int))).max() <= 1


def test_levels_are_shares_of_what_is_darker() -> None:
    array = np.zeros((20, 20, 3), np.uint8)
    array[5:, :, 0] = 3  # a quarter below, three above
    found = of(array)
    assert found[0, 0].tolist() == [round(255 / 8), 128, 128]  # the middle of each share; one level is middle grey
    assert found[-1, 0].tolist() == [round(255 * 5 / 8), 128, 128]


@pytest.mark.parametrize("shape", [(60, 90), (16, 33), (SIDE, 2 * SIDE - 1)])
def test_a_tensor_becomes_what_its_array_does(shape: tuple[int, int]) -> None:
    array = np.array(picture(2, shape[1], shape[0]))
    np.testing.assert_array_equal(equalised(as_tensor(array)).as_arrays()[0], of(array))


def test_a_large_picture_is_averaged_down() -> None:
    array = np.asarray(Image.fromarray(data.astronaut()).resize((1100, 1537)))
    found = of(array)
    assert found.shape == (513, 367, 3)
    small = np.asarray(Image.fromarray(array).reduce(3))
    np.testing.assert_array_equal(found, of(small))
    assert equalised(as_tensor(array)).as_arrays()[0].shape == found.shape


def test_half_precision_stays_half_and_a_batch_is_its_pictures() -> None:
    arrays = [np.array(picture(seed, 64, 48)) for seed in range(3)]
    together = equalised(ImageBatch(tensor=torch.cat([as_tensor(a).tensor for a in arrays]).half()))  # type: ignore[misc]
    assert together.tensor is not None
    assert together.tensor.dtype == torch.float16
    for one, array in zip(together.as_arrays(), arrays, strict=True):
        assert np.abs(one.astype(int) - of(array).astype(int)).max() <= 1


def test_the_copy_of_a_plain_picture_is_the_picture() -> None:
    noise = np.random.default_rng(0).integers(100, 104, (64, 64, 3), np.uint8)
    for kind in ("windows+levels", "crops+levels"):
        found = embed_views(Windowed(), to_batch([noise, np.array(picture(3, 64, 64))]), kind)  # type: ignore[arg-type]
        assert found.usable.tolist() == [False, True]
        np.testing.assert_array_equal(found.vectors[0, -1], found.vectors[0, 0])
        assert not np.array_equal(found.vectors[1, -1], found.vectors[1, 0])


def test_the_copy_is_the_last_view_and_counts_less_than_the_picture() -> None:
    toy, array = ToyEmbedder(), np.array(picture(4, 80, 64))
    expected = toy.embed(to_batch(of(array)))[0]
    for embedder, kind in ((toy, "levels"), (toy, "crops+levels"), (Windowed(), "windows+levels")):
        found = embed_views(embedder, to_batch(array), kind)  # type: ignore[arg-type]
        np.testing.assert_array_equal(found.vectors[0, -1], expected)
    assert found.handicap is not None
    assert (found.handicap[0], found.handicap[-1]) == (0, np.float32(WINDOW_HANDICAP))


@pytest.mark.parametrize(("regions", "kind"), [(1, "windows"), (REGIONS - 1, "windows"), (REGIONS, "windows+levels")])
def test_copies_are_looked_up_where_the_index_has_them(regions: int, kind: str) -> None:
    """One that was built before there were any has all rows but the last."""
    assert usual_views(Windowed(), regions) == kind
    assert usual_views(ToyEmbedder(), regions) == "one"


@pytest.mark.parametrize("name", ["coffee", "astronaut", "retina"])
def test_a_guard_finds_a_picture_with_hardly_any_contrast(tmp_path: Path, name: str) -> None:
    (folder := tmp_path / "training").mkdir()
    for one in ("astronaut", "coffee", "chelsea", "rocket", "retina", "camera", "moon"):
        Image.fromarray(getattr(data, one)()).convert("RGB").resize((256, 256)).save(folder / f"{one}.png")
    build_index(folder, tmp_path / "x.index", load_embedder(), regions=True)
    levels = np.asarray(Image.open(folder / f"{name}.png"), np.float64) / 255
    faded = np.empty(levels.shape, np.uint8)
    for channel, power in enumerate((3, 0.3, 2)):  # another curve for each: a cast that eats the tones
        faded[..., channel] = np.rint(150 + 60 * levels[..., channel] ** power)

    def similarity(kind: str) -> float:
        guard = Guard.open(tmp_path / "x.index", query_views=kind, policy=Policy(flag=-1, block=1), verify=False)
        assert guard.index.manifest.regions == REGIONS
        nearest = guard.check(faded).verdicts[0].nearest
        assert nearest is not None
        assert kind == "windows" or nearest.record.uri == f"{name}.png"
        return nearest.similarity

    assert similarity("auto") > max(0.75, similarity("windows") + 0.1)
