"""Preprocessing: canonical text, and Pillow against torch."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from guard.embedders.preprocess import CLIP_MEAN, CLIP_STD, Preprocessing
from guard.errors import ConfigError
from tests.support.toys import picture

WAYS = [
    Preprocessing(64),
    Preprocessing(64, interpolation="bicubic"),
    Preprocessing(48, "shorter_side", 56, "bicubic", CLIP_MEAN, CLIP_STD),
    Preprocessing(64, "shorter_side"),
]


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_the_text_is_read_back(way: Preprocessing) -> None:
    assert Preprocessing.parse(str(way)) == way
    assert " " not in str(way)


def test_the_text_is_stable() -> None:  # it is stored in indexes
    assert str(Preprocessing(320)) == "squash:320;bilinear;mean=0.485,0.456,0.406;std=0.229,0.224,0.225"
    text = str(Preprocessing(224, "shorter_side", 256, "bicubic"))
    assert text == "shorter_side:256;crop:224;bicubic;mean=0.485,0.456,0.406;std=0.229,0.224,0.225"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "squash:0;bilinear;mean=0,0,0;std=1,1,1",
        "squash:9;nearest;mean=0,0,0;std=1,1,1",
        "squash:9;bilinear;std=1,1,1;mean=0,0,0",
        "squash:9;bilinear;mean=0,0;std=1,1,1",
        "crop:9;bilinear;mean=0,0,0;std=1,1,1",
        "squash:9;bilinear;mean=0,0,0;std=1,0,1",
        "shorter_side:8;crop:9;bilinear;mean=0,0,0;std=1,1,1",
    ],
)
def test_bad_texts_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="preprocessing"):
        Preprocessing.parse(text)


def test_squash_takes_no_shorter_side() -> None:
    with pytest.raises(ConfigError, match="shorter_side"):
        Preprocessing(64, "squash", 70)


@pytest.mark.parametrize("size", [(300, 200), (64, 64), (40, 90), (16, 700), (513, 511)])
@pytest.mark.parametrize("way", WAYS, ids=str)
def test_tensors_and_arrays_agree(way: Preprocessing, size: tuple[int, int]) -> None:
    array = np.array(picture(3, *size))
    by_pillow = way.arrays([array])
    by_torch = way.tensor(torch.from_numpy(array).permute(2, 0, 1)[None].float() / 255).numpy()
    assert by_pillow.shape == by_torch.shape == (1, 3, way.size, way.size)
    assert by_pillow.dtype == by_torch.dtype == np.float32
    pixels = np.abs(by_pillow - by_torch) * np.asarray(way.std, np.float32).reshape(1, 3, 1, 1)
    assert pixels.max() <= 2 / 255 + 1e-6


def test_normalised_by_hand() -> None:
    way = Preprocessing(16, mean=(0.5, 0.25, 0.0), std=(0.5, 0.5, 2.0))
    out = way.arrays([np.full((20, 30, 3), 255, np.uint8)])
    np.testing.assert_allclose(out[0, :, 3, 3], [1.0, 1.5, 0.5])


def test_no_pictures() -> None:
    assert Preprocessing(32).arrays([]).shape == (0, 3, 32, 32)
