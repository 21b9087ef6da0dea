"""The stock pipeline classes that the guard promises to work with."""

from __future__ import annotations

from typing import Any, ClassVar

from PIL import Image

from tests.contract.pipeline import PipelineContract
from tests.pipelines import tiny
from tests.pipelines.planted import one_thread  # noqa: F401
from tests.support.toys import picture

PROMPT = {"prompt": "a cat"}
SIZE = {"height": 64, "width": 64}


def half_mask() -> Image.Image:
    mask = Image.new("L", (64, 64), 0)
    mask.paste(255, (0, 0, 64, 40))
    return mask


class TestStableDiffusion(PipelineContract):
    build = staticmethod(tiny.stable_diffusion)
    arguments = PROMPT


class TestImg2Img(PipelineContract):
    build = staticmethod(tiny.img2img)
    arguments: ClassVar[dict[str, Any]] = {**PROMPT, "image": picture(50), "strength": 0.9, "num_inference_steps": 4}


class TestInpaint(PipelineContract):
    build = staticmethod(tiny.inpaint)
    arguments: ClassVar[dict[str, Any]] = {**PROMPT, "image": picture(50), "mask_image": half_mask()}
    # lists, since one image for all three would be encoded with the first generator alone
    three_images: ClassVar[dict[str, Any]] = {
        "prompt": ["a cat"] * 3,
        "image": [picture(50)] * 3,
        "mask_image": [half_mask()] * 3,
    }


class TestControlNet(PipelineContract):
    build = staticmethod(tiny.controlnet)
    arguments: ClassVar[dict[str, Any]] = {**PROMPT, "image": picture(50)}


class TestSDXL(PipelineContract):
    build = staticmethod(tiny.sdxl)
    arguments = PROMPT


class TestSDXLRefiner(PipelineContract):
    build = staticmethod(tiny.refiner)
    arguments: ClassVar[dict[str, Any]] = {**PROMPT, "image": picture(50), "strength": 0.9, "num_inference_steps": 4}


class TestStableDiffusion3(PipelineContract):
    build = staticmethod(tiny.stable_diffusion_3)
    arguments = PROMPT


class TestFlux(PipelineContract):
    build = staticmethod(tiny.flux)
    arguments: ClassVar[dict[str, Any]] = {**PROMPT, **SIZE, "max_sequence_length": 16}


class TestPixArt(PipelineContract):
    build = staticmethod(tiny.pixart)
    arguments: ClassVar[dict[str, Any]] = {**PROMPT, **SIZE, "use_resolution_binning": False, "clean_caption": False}
    takes_callback = False  # only the older `callback`; see tests/unit/guard_diffusers/test_callbacks.py


class TestDeepFloydIF(PipelineContract):
    build = staticmethod(tiny.deepfloyd_if)
    arguments: ClassVar[dict[str, Any]] = {**PROMPT, "clean_caption": False}
    forms = ("pil", "np")  # "pt" is in [-1, 1] here; see tests/unit/guard_diffusers/test_tensors.py
    latents = "none"
    takes_callback = False


class TestUnconditional(PipelineContract):
    build = staticmethod(tiny.unconditional)
    forms = ("pil", "np")
    latents = "none"
    takes_callback = False
    three_images: ClassVar[dict[str, Any]] = {"batch_size": 3}


class TestAnimateDiff(PipelineContract):
    build = staticmethod(tiny.animatediff)
    arguments: ClassVar[dict[str, Any]] = {**PROMPT, **SIZE, "num_frames": 3, "num_inference_steps": 1}
    three_images: ClassVar[dict[str, Any]] = {"prompt": ["a cat"] * 3}
