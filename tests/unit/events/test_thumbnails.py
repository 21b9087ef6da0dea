"""Sizes of thumbnails, in px and in bytes."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image

from guard import InputError
from guard.events.thumbnails import MAX_BYTES, thumbnail_of
from tests.support.toys import picture


@pytest.mark.parametrize(
    ("size", "side", "expected"),
    [((512, 512), 256, (256, 256)), ((300, 100), 64, (64, 21)), ((40, 30), 256, (40, 30)), ((500, 333), 96, (96, 64))],
)
def test_the_longer_side_is_bounded_and_nothing_is_enlarged(
    size: tuple[int, int], side: int, expected: tuple[int, int]
) -> None:
    with Image.open(io.BytesIO(thumbnail_of(picture(1, *size), side) or b"")) as made:
        assert (made.format, made.mode, made.size) == ("JPEG", "RGB", expected)


def test_noise_is_kept_at_a_lower_quality_or_not_at_all() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (1024, 1024, 3), dtype=np.uint8)
    assert len(thumbnail_of(noise, 256) or b"") in range(1, MAX_BYTES)
    large = thumbnail_of(noise, 1024)
    assert large is None or len(large) <= MAX_BYTES
    middle = thumbnail_of(noise, 512)
    assert middle is not None
    assert len(middle) <= MAX_BYTES


def test_a_tensor_is_one_picture() -> None:
    tensor = torch.from_numpy(np.array(picture(1))).permute(2, 0, 1).float() / 255
    assert thumbnail_of(tensor, 64) == thumbnail_of(picture(1), 64)
    with pytest.raises(InputError):
        thumbnail_of("a path", 64)
