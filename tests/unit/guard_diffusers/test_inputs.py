"""The caller's own pictures: an output that echoes one is no memorisation."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from guard import Action, Decision
from guard_diffusers.inputs import own_pictures
from tests.pipelines import tiny
from tests.pipelines.planted import Planted, decisions, guarded, value
from tests.support.toys import picture

ARRAY = np.array(picture(7))
UNIT = torch.from_numpy(ARRAY).permute(2, 0, 1).float() / 255


@pytest.mark.parametrize(
    ("given", "count"),
    [
        (picture(7), 1),
        (ARRAY, 1),
        (ARRAY.astype(np.float32) / 255, 1),
        (ARRAY.astype(np.float32) / 127.5 - 1, 1),
        (np.stack([ARRAY, ARRAY]), 2),
        (UNIT, 1),
        (UNIT * 2 - 1, 1),
        (torch.stack([UNIT, UNIT]) * 2 - 1, 2),
        ([picture(7), UNIT, ARRAY], 3),
        ([[picture(7)], [picture(7), picture(7)]], 3),
        (np.stack([ARRAY, ARRAY])[None], 2),
    ],
)
def test_every_form_that_diffusers_takes(given: Any, count: int) -> None:
    found = own_pictures({"image": given}, ["image", "mask_image"])
    assert found is not None
    assert len(found) == count
    for array in found:
        assert array.dtype == np.uint8
        assert np.abs(array.astype(int) - ARRAY).max() <= 1


@pytest.mark.parametrize(
    "given",
    [
        None,
        torch.zeros(1, 4, 32, 32),  # latents
        torch.full((3, 64, 64), 7.0),
        torch.full((3, 64, 64), float("nan")),
        np.zeros((8, 8, 3), np.uint8),  # too small to tell anything
        "photo.png",
        [],
        object(),
    ],
)
def test_what_is_no_picture_is_left_out(given: Any) -> None:
    assert own_pictures({"image": given}, ["image"]) is None


def test_a_mask_may_be_a_plane() -> None:
    found = own_pictures({"mask_image": torch.ones(64, 64), "image": Image.new("L", (64, 64))}, ["image", "mask_image"])
    assert found is not None
    assert [a.shape for a in found] == [(64, 64, 3)] * 2


def test_a_clip_is_sampled() -> None:
    clip = [picture(i) for i in range(10)]
    assert len(own_pictures({"video": clip}, ["video"], stride=4) or []) == 3


@pytest.fixture(scope="module")
def controlnet() -> Any:
    return tiny.controlnet()


@pytest.fixture(scope="module")
def made(controlnet: Any) -> Any:
    """What seed 0 makes; the untrained ControlNet adds nothing, so no control picture changes it."""
    return call(controlnet, 0, picture(50)).images[0]


def call(pipe: Any, seed: int, image: Any, **more: Any) -> Any:
    return pipe("a cat", image=image, num_inference_steps=2, generator=tiny.seeded(seed), **more)


@pytest.mark.parametrize("form", ["pil", "np", "pt", "signed", "list"])
def test_an_echo_is_told_apart_in_every_form(controlnet: Any, made: Any, form: str) -> None:
    array = np.array(made).astype(np.float32) / 255
    tensor = torch.from_numpy(array).permute(2, 0, 1)[None]
    image = {"pil": made, "np": array[None], "pt": tensor, "signed": tensor * 2 - 1, "list": [made]}[form]
    with guarded(controlnet, Planted([made]).guard()):
        assert decisions(call(controlnet, 0, picture(50))) == [Decision.BLOCK]  # not its own input: memorised
        out = call(controlnet, 0, image)
        assert decisions(out) == [Decision.ALLOW]
        assert "echoes the caller's own input" in out.guard[0].reasons[-1]
        assert out.guard[0].input_similarity == pytest.approx(1, abs=0.04)
        assert decisions(call(controlnet, 0, image, guard_options={"own_input": "flag"})) == [Decision.FLAG]
        assert decisions(call(controlnet, 0, image, guard_options={"own_input": "ignore"})) == [Decision.BLOCK]


def test_only_the_named_parameters_excuse(controlnet: Any, made: Any) -> None:
    with guarded(controlnet, Planted([made]).guard(), inputs=()):
        assert decisions(call(controlnet, 0, made)) == [Decision.BLOCK]


def test_inpainting_that_keeps_almost_everything_echoes() -> None:
    """padding_mask_crop pastes the result back into the caller's picture."""
    pipe = tiny.inpaint()
    blocks = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    photo = Image.fromarray(blocks).resize((128, 128), Image.Resampling.NEAREST)  # detail at every scale
    mask = Image.new("L", photo.size, 0)
    mask.paste(255, (60, 60, 68, 68))
    arguments = {"image": photo, "mask_image": mask, "padding_mask_crop": 8, "num_inference_steps": 2, "strength": 1.0}
    arguments |= {"prompt": "a cat", "height": 64, "width": 64}
    before = pipe(**arguments, generator=tiny.seeded(0)).images
    planted = Planted([photo])
    assert planted.is_copy(before) == [True]
    with guarded(pipe, planted.guard(), pixels="tensor"):
        out = pipe(**arguments, generator=tiny.seeded(0))
        assert decisions(out) == [Decision.ALLOW]
        assert out.images[0].tobytes() == before[0].tobytes()
        out = pipe(**arguments, generator=tiny.seeded(0), guard_options={"own_input": "ignore"})
        assert decisions(out) == [Decision.BLOCK]


def test_img2img_of_a_stranger_is_still_memorisation() -> None:
    pipe = tiny.img2img()
    arguments = {"prompt": "a cat", "image": picture(50), "strength": 0.9, "num_inference_steps": 4}
    before = pipe(**arguments, generator=tiny.seeded(0))
    planted = Planted(value(before))
    with guarded(pipe, planted.guard()):
        out = pipe(**arguments, generator=tiny.seeded(0))
    assert decisions(out) == [Decision.BLOCK]
    assert out.guard[0].action is Action.REPLACED
    assert out.guard[0].input_similarity is not None
    assert out.guard[0].input_similarity < 0.7
