"""Every form of one picture is the same picture: within 1/255, exactly where no float is involved."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from guard.errors import InputError
from guard.pixels import MIN_SIDE, to_batch

sides = st.integers(MIN_SIDE, 24)
pictures = st.tuples(sides, sides).flatmap(lambda hw: arrays(np.uint8, (*hw, 3)))
FORMS = (
    "pil",
    "uint8",
    "float32",
    "float64",
    "float16",
    "uint8 tensor",
    "float tensor",
    "half tensor",
    "bfloat16 tensor",
    "rgba",
)


def as_form(array: np.ndarray[Any, Any], form: str) -> Any:
    tensor = torch.from_numpy(array.copy()).permute(2, 0, 1)
    return {
        "pil": lambda: Image.fromarray(array),
        "uint8": lambda: array,
        "float32": lambda: array.astype(np.float32) / 255,
        "float64": lambda: array / 255,
        "float16": lambda: (array / 255).astype(np.float16),
        "uint8 tensor": lambda: tensor,
        "float tensor": lambda: tensor.float() / 255,
        "half tensor": lambda: (tensor.float() / 255).half(),
        "bfloat16 tensor": lambda: (tensor.float() / 255).bfloat16(),
        "rgba": lambda: Image.fromarray(array).convert("RGBA"),
    }[form]()


@settings(max_examples=60, deadline=None)
@given(array=pictures, form=st.sampled_from(FORMS), listed=st.booleans())
def test_one_picture_in_any_form(array: np.ndarray[Any, Any], form: str, listed: bool) -> None:
    given_form = as_form(array, form)
    batch = to_batch([given_form] if listed else given_form)
    assert len(batch) == 1
    found = batch.as_arrays()[0]
    assert found.shape == array.shape
    assert found.dtype == np.uint8
    allowed = 1 if form == "bfloat16 tensor" else 0  # 8 bits of mantissa: half a level at 255
    assert np.abs(found.astype(int) - array).max() <= allowed


@settings(max_examples=40, deadline=None)
@given(data=st.data(), first=pictures)
def test_a_mixture_keeps_order_and_number(data: st.DataObject, first: np.ndarray[Any, Any]) -> None:
    several = [first, *data.draw(st.lists(pictures, max_size=3))]
    forms = [data.draw(st.sampled_from(FORMS)) for _ in several]
    found = to_batch([as_form(a, f) for a, f in zip(several, forms, strict=True)]).as_arrays()
    assert len(found) == len(several)
    for got, wanted in zip(found, several, strict=True):
        assert got.shape == wanted.shape
        assert np.abs(got.astype(int) - wanted).max() <= 1


@settings(max_examples=60, deadline=None)
@given(
    shape=st.lists(st.integers(0, 20), min_size=0, max_size=5),
    dtype=st.sampled_from(["uint8", "float32", "int32", "bool"]),
    as_tensor=st.booleans(),
)
def test_any_shape_gives_pictures_or_an_input_error(shape: list[int], dtype: str, as_tensor: bool) -> None:
    array: Any = np.zeros(shape, dtype)
    form = torch.from_numpy(array) if as_tensor else array
    try:
        found = to_batch(form).as_arrays()
    except InputError:
        return  # any other error fails the test
    assert all(a.ndim == 3 and a.shape[2] == 3 and min(a.shape[:2]) >= MIN_SIDE for a in found)


@settings(max_examples=40, deadline=None)
@given(n=st.integers(1, 5), data=st.data(), bad=st.sampled_from(["nan", "inf", "range", "dtype", "side", "none"]))
def test_the_bad_picture_is_named(n: int, data: st.DataObject, bad: str) -> None:
    at = data.draw(st.integers(0, n - 1))
    batch: list[Any] = [np.full((20, 20, 3), 0.5, np.float32) for _ in range(n)]
    batch[at] = {
        "nan": np.full((20, 20, 3), np.nan),
        "inf": np.full((20, 20, 3), np.inf),
        "range": np.full((20, 20, 3), 3.0),
        "dtype": np.zeros((20, 20, 3), np.int16),
        "side": np.zeros((20, MIN_SIDE - 1, 3), np.uint8),
        "none": None,
    }[bad]
    with pytest.raises(InputError, match=rf"^image {at} "):
        to_batch(batch)
