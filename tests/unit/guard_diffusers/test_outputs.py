"""Where the pictures are in an output."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from diffusers.pipelines.stable_diffusion import StableDiffusionPipelineOutput

from guard_diffusers.outputs import Kind, attach, count_of, kind_of, put, value_of
from tests.support.toys import picture

PIL = picture(0)


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ([PIL, PIL], Kind.IMAGES),
        ([], Kind.IMAGES),
        (np.zeros((2, 8, 8, 3)), Kind.IMAGES),
        (np.zeros((2, 8, 8, 1)), Kind.IMAGES),
        (torch.zeros(2, 3, 8, 8), Kind.IMAGES),
        ([np.zeros((8, 8, 3))] * 2, Kind.IMAGES),
        ([torch.zeros(3, 8, 8)], Kind.IMAGES),
        ([[PIL, PIL]], Kind.VIDEOS),
        (np.zeros((2, 5, 8, 8, 3)), Kind.VIDEOS),
        (torch.zeros(2, 5, 3, 8, 8), Kind.VIDEOS),
        ([np.zeros((5, 8, 8, 3))], Kind.VIDEOS),
        ([torch.zeros(5, 3, 8, 8)], Kind.VIDEOS),
        (torch.zeros(2, 4, 8, 8), None),
        (torch.zeros(2, 64, 16), None),
        (np.zeros((2, 4, 8, 8)), None),
        (np.array([None, None]), None),
        ([PIL, None], None),
        ([PIL, [PIL]], None),
        ([[]], None),
        ("text", None),
        (["text"], None),
        (None, None),
        ({"a": 1}, None),
    ],
)
def test_kinds(value: Any, kind: Kind | None) -> None:
    assert kind_of(value) is kind


def test_counts() -> None:
    values: list[Any] = [[PIL, PIL], np.zeros((3, 8, 8, 3)), torch.zeros(4, 16, 8), "text", None, 7]
    assert [count_of(v) for v in values] == [2, 3, 4, 1, 1, 1]


def test_an_output_keeps_its_keys_and_its_tuple() -> None:
    out = StableDiffusionPipelineOutput(images=[PIL], nsfw_content_detected=None)
    other = [picture(1)]
    assert value_of(out)[0] is PIL
    assert attach(put(out, other), "report") is out
    assert out.images is other
    assert out["images"] is other
    assert out[0] is other
    assert list(out.keys()) == ["images"]
    assert len(out.to_tuple()) == 1
    assert out.guard == "report"


def test_tuples_and_bare_values_come_back_as_new_ones() -> None:
    first, other = [PIL], [picture(1)]
    assert put((first, None), other) == (other, None)
    assert put(first, other) is other
    assert attach(first, "report") is first
    assert put((first, None), first) == (first, None)
    assert value_of(()) is None
