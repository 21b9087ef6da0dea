"""Ways to run a pipeline: lists, hooks, compiled parts, threads. Every verdict belongs to its image."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
from accelerate.hooks import AlignDevicesHook, ModelHook, add_hook_to_module, remove_hook_from_module
from diffusers import DiffusionPipeline, UNet2DModel
from diffusers.pipelines.pipeline_utils import ImagePipelineOutput

from guard import Decision
from guard_diffusers import protect
from tests.pipelines import tiny
from tests.pipelines.planted import Planted, decisions, guarded, same_bits


def test_prompt_lists_times_images_per_prompt(pipe: Any, planted: Any) -> None:
    seeds = [1, 2, 0, 3]
    arguments = {"prompt": ["a dog", "a cat"], "num_images_per_prompt": 2, "num_inference_steps": 2}
    before = pipe(**arguments, generator=[tiny.seeded(s) for s in seeds]).images
    assert planted.is_copy(before) == [False, False, True, False]
    with guarded(pipe, planted.guard()):
        out = pipe(**arguments, generator=[tiny.seeded(s) for s in seeds])
    assert out.guard.blocked == (2,)
    assert [same_bits(a, b) for a, b in zip(out.images, before, strict=True)] == [True, True, False, True]


def test_prompt_embeddings_instead_of_a_prompt(pipe: Any, run: Any, planted: Any) -> None:
    cond, uncond = pipe.encode_prompt("a cat", "cpu", 1, True)
    embeds = {"prompt": None, "prompt_embeds": cond, "negative_prompt_embeds": uncond}
    assert planted.is_copy(run([0], **embeds).images) == [True]
    with guarded(pipe, planted.guard()):
        assert decisions(run([0], **embeds)) == [Decision.BLOCK]


def test_after_to(pipe: Any, run: Any, planted: Any) -> None:
    with guarded(pipe, planted.guard()):
        moved = pipe.to("cpu").to(torch.float32)
        assert moved is pipe
        assert decisions(run([0])) == [Decision.BLOCK]


class Counting(ModelHook):
    calls = 0

    def pre_forward(self, module: Any, *args: Any, **kwargs: Any) -> Any:
        Counting.calls += 1
        return args, kwargs


def test_accelerate_hooks_before_and_after_protect(run: Any, planted: Any, pipe: Any) -> None:
    """Real hooks on the CPU; offloading itself needs an accelerator."""
    add_hook_to_module(pipe.unet, AlignDevicesHook(execution_device="cpu", io_same_device=True))
    try:
        with guarded(pipe, planted.guard()):
            add_hook_to_module(pipe.vae, Counting())
            assert decisions(run([0])) == [Decision.BLOCK]
            assert decisions(run([0], output_type="latent")) == [Decision.BLOCK]
            assert decisions(run([1])) == [Decision.ALLOW]
        assert hasattr(pipe.unet, "_hf_hook")  # unprotect leaves other people's hooks alone
        assert Counting.calls == 3  # also while latents are decoded for the check
    finally:
        remove_hook_from_module(pipe.unet)
        remove_hook_from_module(pipe.vae)


@pytest.mark.slow
def test_compiled_components(planted: Any) -> None:
    pipe = tiny.stable_diffusion()
    pipe.unet = torch.compile(pipe.unet, backend="eager")
    arguments = {"prompt": "a cat", "num_inference_steps": 2}
    assert planted.is_copy(pipe(**arguments, generator=tiny.seeded(0)).images) == [True]
    with guarded(pipe, planted.guard()):
        assert decisions(pipe(**arguments, generator=tiny.seeded(0))) == [Decision.BLOCK]
        assert decisions(pipe(**arguments, generator=tiny.seeded(1))) == [Decision.ALLOW]


class OneStep(DiffusionPipeline):
    """A pipeline without a scheduler's state, so that threads may share it."""

    def __init__(self, unet: UNet2DModel) -> None:
        super().__init__()
        self.register_modules(unet=unet)

    @torch.no_grad()
    def __call__(self, seed: int) -> Any:
        noise = torch.randn(1, 3, 64, 64, generator=tiny.seeded(seed))
        image = (self.unet(noise, 1).sample / 2 + 0.5).clamp(0, 1)
        return ImagePipelineOutput(images=self.numpy_to_pil(image.permute(0, 2, 3, 1).numpy()))


def test_threads_that_share_a_pipeline_get_their_own_verdicts() -> None:
    pipe = OneStep(tiny.unconditional().unet)
    seeds = list(range(24))
    memorised = {s for s in seeds if s % 3 == 0}
    before = {s: pipe(s).images[0] for s in seeds}
    planted = Planted([before[s] for s in sorted(memorised)])
    guard = planted.guard()
    protect(pipe, guard, name="p")
    together = threading.Barrier(8)

    def one(worker: int) -> list[tuple[int, Any]]:
        together.wait()
        mine = seeds[worker::8]
        return [(s, pipe(s)) for s in mine for _ in range(2)]

    with ThreadPoolExecutor(8) as pool:
        results = [pair for made in pool.map(one, range(8)) for pair in made]
    assert len(results) == 48
    for seed, out in results:
        assert decisions(out) == [Decision.BLOCK if seed in memorised else Decision.ALLOW]
        assert same_bits(out.images[0], before[seed]) == (seed not in memorised)
        if seed in memorised:
            assert out.guard[0].nearest.record.uri == f"planted/{sorted(memorised).index(seed)}.png"
    value = guard.metrics.registry.get_sample_value
    labels = {"pipeline": "p", "mode": "enforce"}
    assert value("memguard_images_total", {**labels, "decision": "block"}) == 16
    assert value("memguard_images_total", {**labels, "decision": "allow"}) == 32


def test_disabling_in_one_thread_does_not_disable_another() -> None:
    pipe = OneStep(tiny.unconditional().unet)
    planted = Planted(pipe(0).images)
    guard = planted.guard()
    protect(pipe, guard)
    with guard.disable(), ThreadPoolExecutor(1) as pool:
        assert pipe(0).guard[0].reason == "disabled"
        assert decisions(pool.submit(pipe, 0).result()) == [Decision.BLOCK]


@pytest.fixture(scope="module")
def video() -> Any:
    return tiny.animatediff()


def clip(video: Any, seeds: list[int], **more: Any) -> Any:
    arguments = {"prompt": ["a cat"] * len(seeds), "height": 64, "width": 64, "num_frames": 6, "num_inference_steps": 1}
    return video(**arguments, generator=[tiny.seeded(s) for s in seeds], **more)


@pytest.mark.parametrize("form", ["pil", "np", "latent"])
def test_a_verdict_names_the_frame(video: Any, form: str) -> None:
    frames = clip(video, [0]).frames[0]
    planted = Planted([frames[4]])  # one frame of the clip alone is in the reference set
    with guarded(video, planted.guard(frame_stride=2)):
        out = clip(video, [1, 0], output_type=form)
    assert decisions(out) == [Decision.ALLOW, Decision.BLOCK]
    assert out.guard[1].frame == 4
    assert len(out.frames[1]) == len(frames) or form == "latent"
    assert np.ptp(np.stack([np.asarray(frame) for frame in out.frames[1]]), axis=0).max() == 0  # every frame withheld


def test_the_stride_bounds_what_is_checked(video: Any) -> None:
    """Said in the documentation: a copied frame between two checked ones gets through."""
    frames = clip(video, [0]).frames[0]
    with guarded(video, Planted([frames[3]]).guard(frame_stride=4)):
        assert decisions(clip(video, [0])) == [Decision.ALLOW]
        assert decisions(clip(video, [0], guard_options={"frame_stride": 1})) == [Decision.BLOCK]
    with guarded(video, Planted([frames[5]]).guard(frame_stride=4)):
        out = clip(video, [0])
        assert out.guard[0].frame == 5  # the last one always is checked
