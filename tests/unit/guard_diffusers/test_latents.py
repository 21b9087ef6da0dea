"""Latents as output: decoded for the check as the pipeline itself decodes them, or refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from guard import BlockedError, Decision, SkippedError, Status
from guard_diffusers import latents, protect
from guard_diffusers.arguments import CallArguments
from tests.pipelines import tiny
from tests.pipelines.planted import Planted, decisions, guarded, value

CAT = {"prompt": "a cat", "num_inference_steps": 2}
SIZE = {"height": 64, "width": 64}
BUILDS: dict[str, tuple[Any, dict[str, Any]]] = {
    "stable_diffusion": (tiny.stable_diffusion, CAT),
    "sdxl": (tiny.sdxl, CAT),
    "stable_diffusion_3": (tiny.stable_diffusion_3, CAT),
    "flux": (tiny.flux, {**CAT, "height": 64, "width": 96, "max_sequence_length": 16}),
    "flux_default_size": (tiny.flux, {**CAT, "max_sequence_length": 16}),
    "pixart": (tiny.pixart, {**CAT, **SIZE, "use_resolution_binning": False, "clean_caption": False}),
    "animatediff": (tiny.animatediff, {**CAT, **SIZE, "num_frames": 3}),
}


@pytest.mark.parametrize("name", sorted(BUILDS))
def test_decoding_gives_the_bits_that_the_pipeline_gives(name: str) -> None:
    build, arguments = BUILDS[name]
    pipe = build()
    if name == "flux_default_size":
        pipe.default_sample_size = 32
    expected, latent = (
        value(pipe(**arguments, output_type=form, generator=tiny.seeded(3))) for form in ("pt", "latent")
    )
    call = CallArguments(type(pipe).__call__, pipe, (), arguments)
    assert latents.why_not(pipe, latent, call) is None
    assert torch.equal(latents.decode(pipe, latent, call), expected)


def test_a_half_precision_vae_of_sdxl_is_upcast_and_put_back() -> None:
    pipe = tiny.sdxl()
    latent = value(pipe(**CAT, output_type="latent", generator=tiny.seeded(3)))
    call = CallArguments(type(pipe).__call__, pipe, (), CAT)
    expected = latents.decode(pipe, latent, call)
    pipe.vae.to(torch.float16)
    pipe.vae.register_to_config(force_upcast=True)
    assert torch.allclose(latents.decode(pipe, latent, call), expected, atol=0.02)
    assert pipe.vae.dtype == torch.float16


@pytest.fixture
def base_and_refiner() -> tuple[Any, Any]:
    return tiny.sdxl(), tiny.refiner()


def test_finished_latents_of_the_base_are_checked_before_the_refiner_gets_them(base_and_refiner: Any) -> None:
    base, refiner = base_and_refiner
    planted = Planted(value(base(**CAT, generator=tiny.seeded(0))))

    def both(seed: int) -> tuple[Any, Any]:
        out = base(**CAT, output_type="latent", generator=tiny.seeded(seed))
        refined = refiner("a cat", image=out.images, strength=0.3, num_inference_steps=4, generator=tiny.seeded(9))
        return out, refined

    assert both(0)[0].images.any()
    with guarded(base, planted.guard()), guarded(refiner, planted.guard()):
        out, refined = both(0)
        assert decisions(out) == [Decision.BLOCK]
        assert not out.images.any()
        assert decisions(refined) == [Decision.ALLOW]  # made of zeros
        assert refined.guard[0].input_similarity is None  # latents are no picture of the caller's
        assert decisions(both(1)[0]) == [Decision.ALLOW]


def test_unfinished_latents_are_refused_and_the_refiner_checks_the_picture(base_and_refiner: Any) -> None:
    base, refiner = base_and_refiner

    def both(seed: int, **more: Any) -> Any:
        half = base("a cat", num_inference_steps=4, denoising_end=0.5, output_type="latent",
                    generator=tiny.seeded(seed), **more)  # fmt: skip
        return refiner("a cat", num_inference_steps=4, denoising_start=0.5, image=half.images,
                       generator=tiny.seeded(9))  # fmt: skip

    before = both(0).images
    planted = Planted(before)
    assert planted.is_copy(before) == [True]
    with guarded(base, planted.guard()), guarded(refiner, planted.guard()):
        with pytest.raises(SkippedError, match=r"unfinished \(denoising_end = 0.5\).*allow_unchecked"):
            both(0)
        out = both(0, guard_options={"allow_unchecked": ["latent"]})
        assert decisions(out) == [Decision.BLOCK]
        assert planted.is_copy(out.images) == [False]
        assert decisions(both(1, guard_options={"allow_unchecked": ["latent"]})) == [Decision.ALLOW]


class Custom(type(tiny.stable_diffusion())):  # type: ignore[misc]
    """A pipeline of somebody else's: how it decodes cannot be known."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return super().__call__(*args, **kwargs)


def test_what_cannot_be_decoded_is_refused(planted: Any) -> None:
    pipe = tiny._stable_diffusion(Custom)
    guard = planted.guard()
    reports: list[Any] = []
    protect(pipe, guard, name="p", on_report=reports.append)
    with pytest.raises(SkippedError, match="how Custom decodes its latents is not known"):
        pipe(**CAT, output_type="latent")
    assert [v.reason for v in reports[-1]] == ["latent"]
    assert reports[-1].withheld == (0,)
    for options in ({"allow_unchecked": ["latent"]}, {"mode": "shadow"}):
        out = pipe(**CAT, output_type="latent", guard_options=options)
        assert [(v.status, v.reason) for v in out.guard] == [(Status.SKIPPED, "latent")]
        assert out.images.any()
    count = guard.metrics.registry.get_sample_value("memguard_skipped_total", {"pipeline": "p", "reason": "latent"})
    assert count == 3


@pytest.mark.parametrize(
    ("shape", "arguments", "text"),
    [
        ((1, 64, 16), {"height": 64, "width": 128}, "do not fit 128 x 64 px"),
        ((1, 16, 32, 32), SIZE, "do not fit 64 x 64 px"),
    ],
)
def test_packed_latents_of_another_size_are_refused(shape: Any, arguments: Any, text: str) -> None:
    pipe = tiny.flux()
    call = CallArguments(type(pipe).__call__, pipe, (), arguments)
    assert text in (latents.why_not(pipe, torch.zeros(shape), call) or "")


def test_latents_of_other_channels_are_refused(pipe: Any) -> None:
    call = CallArguments(type(pipe).__call__, pipe, ("a cat",), {})
    assert "VAE of 4 channels" in (latents.why_not(pipe, torch.zeros(1, 9, 32, 32), call) or "")


def test_a_decoder_that_fails_is_a_failed_check(pipe: Any, run: Any, planted: Any) -> None:
    guard = planted.guard()
    hook = pipe.vae.decoder.register_forward_pre_hook(_fail)
    try:
        with guarded(pipe, guard, name="p"):
            out = run([0, 1], output_type="latent")
            opened = run([0], output_type="latent", guard_options={"on_error": "open"})
            with pytest.raises(BlockedError):
                run([0], output_type="latent", guard_options={"on_block": "raise"})
    finally:
        hook.remove()
    assert [(v.status, v.stage) for v in out.guard] == [(Status.ERROR, "host")] * 2
    assert not out.images.any()
    assert opened.images.any()
    labels = {"pipeline": "p", "stage": "host", "reason": "runtime", "outcome": "closed"}
    assert guard.metrics.registry.get_sample_value("memguard_failures_total", labels) == 3


def _fail(module: Any, args: Any) -> None:
    raise RuntimeError("no room left")
