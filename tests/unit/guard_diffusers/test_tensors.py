"""Which calls can be asked for a tensor instead of the caller's type."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusers import IFPipeline, StableDiffusionUpscalePipeline

from guard import Decision
from guard_diffusers import tensors
from guard_diffusers.arguments import CallArguments
from guard_diffusers.tensors import package_of, takes_tensor
from guard_diffusers.wrap import protect
from tests.pipelines import tiny
from tests.pipelines.planted import Planted, decisions, guarded


def taken(pipe: Any, choice: str = "tensor", **arguments: Any) -> bool:
    base_call = type(pipe).__call__
    return takes_tensor(pipe, base_call, CallArguments(base_call, pipe, (), arguments), choice)


def test_stock_pipelines_that_end_in_postprocess() -> None:
    for build in (tiny.stable_diffusion, tiny.sdxl, tiny.flux, tiny.pixart, tiny.animatediff, tiny.inpaint):
        pipe = build()
        assert taken(pipe)
        assert taken(pipe, output_type="np")
        assert not taken(pipe, output_type="pt")
        assert not taken(pipe, output_type="latent")
        assert not taken(pipe, "auto")  # on the CPU there is nothing to win
        assert not taken(pipe, "output")
    assert not taken(tiny.inpaint(), padding_mask_crop=8)


def test_pipelines_that_end_otherwise_are_checked_as_they_return() -> None:
    assert not taken(tiny.unconditional())
    assert not tensors._ends_alike(IFPipeline.__call__)  # returns "pt" in [-1, 1]
    assert not tensors._ends_alike(StableDiffusionUpscalePipeline.__call__)  # draws a watermark on PIL images alone


def test_a_custom_pipeline_is_nobodys_package(planted: Any) -> None:
    pipe = tiny.stable_diffusion()
    assert package_of(type(pipe)) == "stable_diffusion"

    class Mine(type(pipe)):  # type: ignore[misc]
        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            return super().__call__(*args, **kwargs)

    class Named(type(pipe)):  # type: ignore[misc]
        pass

    assert package_of(Mine) is None
    assert package_of(Named) == "stable_diffusion"  # it runs the stock __call__
    protect(pipe, planted.guard())
    assert package_of(type(pipe)) == "stable_diffusion"


class Where:
    """PDQ that notes where its batches are."""

    def __init__(self, real: Any) -> None:
        self.real, self.spec, self.seen = real, real.spec, []

    def embed(self, batch: Any) -> Any:
        self.seen.append("tensor" if batch.tensor is not None else "arrays")
        return self.real.embed(batch)


@pytest.mark.parametrize(("route", "seen"), [("tensor", "tensor"), ("output", "arrays"), ("auto", "arrays")])
def test_the_embedder_sees_the_tensor(pipe: Any, run: Any, planted: Any, route: Any, seen: str) -> None:
    embedder = Where(planted.embedder)
    with guarded(pipe, planted.guard(embedder), pixels=route):
        out = run([1, 0])
    assert set(embedder.seen) == {seen}
    assert decisions(out) == [Decision.ALLOW, Decision.BLOCK]
    assert not isinstance(out.images[0], torch.Tensor)


def test_tensors_in_another_range_are_checked_and_released_as_they_are() -> None:
    """DeepFloyd IF returns "pt" in [-1, 1], for its second stage."""
    pipe = tiny.deepfloyd_if()
    arguments = {"prompt": "a cat", "num_inference_steps": 2, "clean_caption": False}
    planted = Planted(pipe(**arguments, generator=tiny.seeded(0)).images)
    before = pipe(**arguments, generator=tiny.seeded(1), output_type="pt").images
    assert before.min() < -0.1
    with guarded(pipe, planted.guard()):
        assert decisions(pipe(**arguments, generator=tiny.seeded(0), output_type="pt")) == [Decision.BLOCK]
        out = pipe(**arguments, generator=tiny.seeded(1), output_type="pt")
    assert decisions(out) == [Decision.ALLOW]
    assert torch.equal(out.images, before)
