"""Every form that a host hands over, and every one that is refused, with its position."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from guard.errors import InputError
from guard.pixels import MAX_SIDE, MIN_SIDE, ImageBatch, pil_to_rgb, to_batch
from tests.support.toys import picture

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (20, 30, 3), dtype=np.uint8)


def one(form: Any) -> np.ndarray[Any, Any]:
    arrays = to_batch(form).as_arrays()
    assert len(arrays) == 1
    assert arrays[0].dtype == np.uint8
    return arrays[0]


def test_an_8_bit_rgb_array_is_taken_as_it_is() -> None:
    batch = to_batch([RGB])
    assert batch.arrays is not None
    assert batch.arrays[0] is RGB


def test_a_float_tensor_batch_is_taken_as_it_is() -> None:
    tensor = torch.rand(2, 3, 20, 30)
    found = to_batch(tensor).tensor
    assert found is not None
    assert found.data_ptr() == tensor.data_ptr()


def test_gradients_end_here() -> None:
    found = to_batch(torch.rand(3, 20, 30, requires_grad=True))
    assert found.tensor is not None
    assert not found.tensor.requires_grad
    assert found.as_arrays()[0].shape == (20, 30, 3)


@pytest.mark.parametrize("nothing", [[], (), np.empty((0, 20, 30, 3), np.uint8), torch.empty(0, 3, 20, 30)])
def test_nothing(nothing: Any) -> None:
    batch = to_batch(nothing)
    assert len(batch) == 0
    assert batch.as_arrays() == ()


def test_a_batch_holds_one_of_both() -> None:
    for arguments in ({}, {"arrays": (), "tensor": torch.rand(1, 3, 20, 20)}):
        with pytest.raises(TypeError):
            ImageBatch(**arguments)


GREY = RGB[..., 0]


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        (Image.fromarray(GREY), GREY),
        (GREY, GREY),
        (GREY[..., None], GREY),
        (torch.from_numpy(GREY.copy())[None], GREY),
        (Image.fromarray(GREY.astype(np.uint16) * 257), GREY),
        (Image.fromarray(GREY.astype(np.int32) * 257), GREY),
        (Image.fromarray(GREY.astype(np.int32)), GREY),
        (Image.fromarray(GREY.astype(np.float32)), GREY),
        (Image.fromarray(GREY.astype(np.float32) / 255), GREY),
        (Image.fromarray(GREY.astype(np.float32) * 257), GREY),
        (Image.fromarray(GREY).convert("LA"), GREY),
        (Image.fromarray(GREY > 127), np.where(GREY > 127, 255, 0)),
    ],
    ids=["L", "array", "array 1", "tensor 1", "I;16", "I 16", "I 8", "F 8", "F 1", "F 16", "LA", "1"],
)
def test_grey_forms(form: Any, expected: Any) -> None:
    np.testing.assert_array_equal(one(form), np.repeat(expected[..., None], 3, axis=2))


def test_a_dim_float_picture_is_not_stretched() -> None:
    dim = (GREY // 4).astype(np.float32)  # at most 63
    np.testing.assert_array_equal(one(Image.fromarray(dim))[..., 0], GREY // 4)


def test_transparency_is_laid_on_white() -> None:
    clear = np.zeros((20, 20, 4), np.uint8)
    half = np.full((20, 20, 4), [0, 0, 0, 128], np.uint8)
    palette = Image.new("P", (20, 20), 1)
    palette.putpalette([0, 0, 0, 10, 20, 30])
    palette.info["transparency"] = 1
    assert (one(clear) == 255).all()
    assert (one(Image.fromarray(clear)) == 255).all()
    assert (one(palette) == 255).all()
    assert (one(half) == 127).all()
    assert (one(Image.fromarray(half)) == 127).all()
    assert (one(half.astype(np.float32) / 255) == 127).all()


@pytest.mark.parametrize("mode", ["CMYK", "YCbCr", "HSV", "LAB", "P"])
def test_other_modes_are_converted(mode: str) -> None:
    image = picture(1).convert(mode)
    assert np.abs(one(image).astype(int) - np.asarray(picture(1)).astype(int)).mean() < 25


def test_lists_of_tensors() -> None:
    same = to_batch([torch.rand(3, 20, 30), torch.rand(1, 3, 20, 30), torch.rand(1, 20, 30)])
    assert same.tensor is not None
    assert same.tensor.shape == (3, 3, 20, 30)
    mixed = to_batch([torch.rand(3, 20, 30), torch.rand(3, 40, 30).half(), torch.zeros(3, 20, 20, dtype=torch.uint8)])
    assert mixed.arrays is not None
    assert [a.shape[:2] for a in mixed.arrays] == [(20, 30), (40, 30), (20, 20)]


@pytest.mark.parametrize("rest", [torch.rand(3, 20, 30), RGB])
@pytest.mark.parametrize("rows", [0, 2])
def test_a_batch_inside_a_sequence_would_lose_or_add_pictures(rows: int, rest: Any) -> None:
    with pytest.raises(InputError, match=rf"image 1 is a batch of {rows} pictures"):
        to_batch([rest, torch.rand(rows, 3, 20, 30)])


REFUSED: list[tuple[Any, str]] = [
    ("a.png", "image is a str"),
    (None, "image is a NoneType"),
    ([RGB, None], "image 1 is a NoneType"),
    ([[RGB]], "image 0 is a list"),
    (np.zeros((3, 20, 30), np.uint8), "shape"),
    ([RGB, np.zeros((20, 30, 2), np.uint8)], "image 1 has shape"),
    ([RGB, np.zeros((1, 20, 30, 3), np.uint8)], "image 1 has shape"),
    (torch.rand(2, 4, 20, 30), "latent must be decoded"),
    (torch.rand(2, 3, 5, 20, 30), "shape"),
    ([torch.rand(3, 20, 30), torch.rand(20, 30)], "image 1 has shape"),
    (RGB.astype(np.uint16), "dtype uint16"),
    (RGB > 3, "dtype bool"),
    (torch.zeros(3, 20, 30, dtype=torch.int64), "dtype torch.int64"),
    (RGB.astype(np.float32), r"\[0, 1\]"),
    (RGB / 255 * 2 - 1, "x / 2"),
    (torch.rand(3, 20, 30) * 2 - 1, "x / 2"),
    ([RGB, np.full((20, 20, 3), np.nan)], "image 1 .*not finite"),
    (np.stack([np.zeros((20, 20, 3)), np.full((20, 20, 3), np.inf)]), "image 1 .*not finite"),
    (torch.stack([torch.rand(3, 20, 20), torch.full((3, 20, 20), torch.nan)]), "image 1 of tensor .*not finite"),
    (torch.stack([torch.rand(3, 20, 20), torch.rand(3, 20, 20) + 1]), "image 1 of tensor has values"),
    ([picture(1), Image.fromarray(np.full((20, 20), np.nan, np.float32))], "image 1 .*not finite"),
    ([RGB, np.zeros((MIN_SIDE - 1, 30, 3), np.uint8)], "image 1 is 30 x 15 px"),
    ([picture(1), Image.new("RGB", (30, MIN_SIDE - 1))], "image 1 is 30 x 15 px"),
    (torch.rand(2, 3, MIN_SIDE - 1, 30), "30 x 15 px"),
    (np.zeros((MIN_SIDE, MAX_SIDE + 1, 3), np.uint8), "32769 x 16 px"),
    (np.zeros((0, 30, 3), np.uint8), "30 x 0 px"),
]


@pytest.mark.parametrize(("form", "text"), REFUSED, ids=range(len(REFUSED)))
def test_refused_with_the_position(form: Any, text: str) -> None:
    with pytest.raises(InputError, match=text):
        to_batch(form)


def test_rounding_beyond_the_range_is_forgiven() -> None:
    array = np.full((20, 20, 3), 1.0005)
    assert (one(array) == 255).all()
    assert (one(-array + 1) == 0).all()
    assert (one(torch.from_numpy(array).permute(2, 0, 1)) == 255).all()


def test_a_read_only_array_is_enough() -> None:
    array = RGB.copy()
    array.flags.writeable = False
    np.testing.assert_array_equal(one(array), RGB)
    assert pil_to_rgb(Image.fromarray(RGB)).shape == RGB.shape
