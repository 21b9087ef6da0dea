"""Modes, actions, failures and options of a guarded call."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline
from diffusers.utils import BaseOutput

from guard import Action, BlockedError, ConfigError, Decision, Mode, SkippedError, Status
from guard_diffusers import protect
from tests.pipelines import tiny
from tests.pipelines.planted import decisions, guarded, same_bits
from tests.support.toys import ToyEmbedder
from tests.support.waiting import WAIT_S


class Broken(ToyEmbedder):
    """PDQ's identity, and a runtime that fails."""

    def __init__(self, real: Any) -> None:
        super().__init__()
        self.real = real

    @property
    def spec(self) -> Any:
        return self.real.spec

    def embed(self, batch: Any) -> Any:
        raise RuntimeError("out of luck")


def metric(guard: Any, name: str, **labels: str) -> float:
    value = guard.metrics.registry.get_sample_value(f"memguard_{name}", labels)
    assert value is not None
    return float(value)


def test_blur_keeps_nothing_that_is_recognised(pipe: Any, run: Any, planted: Any) -> None:
    before = run([1, 0, 2]).images
    assert planted.is_copy(before) == [False, True, False]
    with guarded(pipe, planted.guard(on_block="blur")):
        out = run([1, 0, 2])
    assert [v.action for v in out.guard] == [Action.RELEASED, Action.BLURRED, Action.RELEASED]
    assert same_bits(out.images[0], before[0])
    assert same_bits(out.images[2], before[2])
    assert np.asarray(out.images[1]).std(axis=(0, 1)).max() < 25  # averaged to 4 px; the noise had 38
    assert out.images[1].size == before[1].size


def test_drop_puts_none_in_place(pipe: Any, run: Any, planted: Any) -> None:
    with guarded(pipe, planted.guard(on_block="drop")):
        out = run([1, 0, 2])
        assert [image is None for image in out.images] == [False, True, False]
        assert out.guard[1].action is Action.DROPPED
        steps: list[int] = []
        for form in ("np", "pt", "latent"):
            with pytest.raises(ConfigError, match="drop"):
                run([1], output_type=form, callback_on_step_end=lambda *step: steps.append(1))
        assert not steps  # refused before the pipeline has computed anything


@pytest.mark.parametrize("form", ["pil", "np", "pt", "latent"])
def test_raise_carries_the_report_and_the_allowed_images(pipe: Any, run: Any, planted: Any, form: str) -> None:
    before = run([1, 0, 2], output_type=form).images
    reports: list[Any] = []
    with guarded(pipe, planted.guard(on_block="raise"), on_report=reports.append):
        with pytest.raises(BlockedError, match="1 of 3 images withheld") as blocked:
            run([1, 0, 2], output_type=form)
        assert run([1, 2], output_type=form).guard.withheld == ()
    assert decisions_of(blocked.value.report) == [Decision.ALLOW, Decision.BLOCK, Decision.ALLOW]
    assert [same_bits(a, b) for a, b in zip(blocked.value.allowed, [before[0], before[2]], strict=True)] == [True, True]
    assert reports[0] is blocked.value.report


def decisions_of(report: Any) -> list[Any]:
    return [v.decision for v in report]


def test_a_callable_gets_the_image_and_its_verdict(pipe: Any, run: Any, planted: Any) -> None:
    seen: list[Any] = []

    def mirror(image: Any, verdict: Any) -> Any:
        seen.append(verdict)
        return image.transpose(0)

    before = run([0, 1]).images[0]
    with guarded(pipe, planted.guard(on_block=mirror)):
        out = run([0, 1])
        latent = run([0], output_type="latent")
    assert same_bits(out.images[0], before.transpose(0))
    assert seen == [out.guard[0]]
    assert not latent.images.any()  # a callable makes no latents: zeros, as for replace


@pytest.mark.parametrize("mode", [Mode.FLAG, Mode.SHADOW])
def test_other_modes_release_and_count(pipe: Any, run: Any, planted: Any, mode: Mode) -> None:
    before = run([0, 1]).images
    guard = planted.guard(mode=mode)
    with guarded(pipe, guard, name="p"):
        out = run([0, 1])
        latent = run([0], output_type="latent")
        stepped = run([1], callback_on_step_end=lambda pipe, i, t, tensors: tensors)
    assert decisions(out) == [Decision.BLOCK, Decision.ALLOW]
    assert same_bits(out.images, before)
    assert latent.images.any()
    assert decisions(stepped) == [Decision.ALLOW]
    assert metric(guard, "would_block_total", pipeline="p") == 2
    assert metric(guard, "skipped_total", pipeline="p", reason="step_callback") == 1


@pytest.mark.parametrize("form", ["pil", "np", "pt", "latent"])
def test_a_failed_check_withholds_or_releases_as_configured(pipe: Any, run: Any, planted: Any, form: str) -> None:
    before = run([0, 1], output_type=form).images
    for on_error, outcome in (("closed", "closed"), ("open", "open")):
        guard = planted.guard(Broken(planted.embedder), on_error=on_error)
        with guarded(pipe, guard, name="p"):
            out = run([0, 1], output_type=form)
        assert [v.status for v in out.guard] == [Status.ERROR] * 2
        assert decisions(out) == [None, None]
        same = [same_bits(a, b) for a, b in zip(out.images, before, strict=True)]
        assert same == [on_error == "open"] * 2
        labels = {"pipeline": "p", "stage": "embed", "reason": "runtime", "outcome": outcome}
        assert metric(guard, "failures_total", **labels) == 2


def test_options_of_one_call(pipe: Any, run: Any, planted: Any) -> None:
    with guarded(pipe, planted.guard()):
        assert run([0], guard_options={"mode": "flag"}).guard.mode is Mode.FLAG
        assert run([0]).guard.mode is Mode.ENFORCE
        assert run([0], guard_options={"policy": {"flag": 1, "block": 1}}).guard[0].decision is Decision.BLOCK
        calls: list[int] = []
        for wrong in ({"mode": "loud"}, {"thresold": 1}, {"top_k": 0}):
            with pytest.raises(ConfigError, match=next(iter(wrong))):
                run([0], guard_options=wrong, callback_on_step_end=lambda *a: calls.append(1))
        assert not calls


def test_disabled_lets_pass_and_counts(pipe: Any, run: Any, planted: Any) -> None:
    guard = planted.guard()
    reports: list[Any] = []
    with guarded(pipe, guard, name="p", on_report=reports.append):
        with guard.disable():
            out = run([0, 1], callback_on_step_end=lambda pipe, i, t, tensors: tensors)
            latent = run([0], output_type="latent")
            with guard.enable():
                assert run([0]).guard.withheld == (0,)
        assert run([0]).guard.withheld == (0,)
    assert planted.is_copy(out.images) == [True, False]
    assert [(v.status, v.reason) for v in out.guard] == [(Status.SKIPPED, "disabled")] * 2
    assert latent.images.any()
    assert metric(guard, "skipped_total", pipeline="p", reason="disabled") == 3
    assert len(reports) == 4


def test_wrong_arguments_fail_as_without_the_guard(pipe: Any, planted: Any) -> None:
    with guarded(pipe, planted.guard()), pytest.raises(ValueError, match="prompt"):
        pipe(num_inference_steps=2)
    with guarded(tiny.unconditional(), planted.guard()) as other, pytest.raises(TypeError, match="no_such"):
        other(no_such=1)


class Scores(StableDiffusionPipeline):
    """A custom pipeline whose output is no picture."""

    def __call__(self, form: str) -> Any:  # type: ignore[override]
        made = {"scores": [0.1, 0.2], "planes": np.zeros((2, 5, 64, 64)), "nothing": None, "text": ["a", "b"]}
        return Loose(scores=made[form])


@dataclass
class Loose(BaseOutput):
    scores: Any


def test_an_output_of_unknown_form_is_refused_unless_allowed(planted: Any) -> None:
    custom = tiny._stable_diffusion(Scores)
    guard = planted.guard()
    protect(custom, guard, name="p")
    for form in ("scores", "planes", "nothing", "text"):
        with pytest.raises(SkippedError, match=r"no pictures that can be read.*allow_unchecked.*form") as refused:
            custom(form)
        assert refused.value.reason == "form"
        assert refused.value.report is not None
        out = custom(form, guard_options={"allow_unchecked": ["form"]})
        assert type(out) is Loose
        assert out.guard[0].status is Status.SKIPPED
        assert custom(form, guard_options={"mode": "flag"}).guard[0].reason == "form"


class WithLatents(StableDiffusionPipeline):
    """Hands out the latents beside the pictures, as SanaWMPipeline and Marigold do."""

    def __call__(self, seeds: list[int], whole: bool = False, return_dict: bool = True) -> Any:  # type: ignore[override]
        generator = [tiny.seeded(s) for s in seeds]
        arguments = {"prompt": ["a cat"] * len(seeds), "num_inference_steps": 2, "generator": generator}
        latents = super().__call__(**arguments, output_type="latent").images
        image = self.vae.decode(latents / self.vae.config.scaling_factor).sample.detach()
        images = self.image_processor.postprocess(image, output_type="pil")
        latents = latents[None] if whole else latents
        return Beside(images, [1, 2], latents) if return_dict else (images, [1, 2], latents)


@dataclass
class Beside(BaseOutput):
    images: Any
    numbers: Any
    latent: Any


@pytest.mark.parametrize("return_dict", [True, False])
def test_latents_beside_withheld_pictures_go_too(planted: Any, return_dict: bool) -> None:
    custom = tiny._stable_diffusion(WithLatents)
    before = custom([1, 0])
    assert planted.is_copy(before.images) == [False, True]
    protect(custom, planted.guard())
    images, numbers, latent = (custom([1, 0], return_dict=return_dict)[i] for i in range(3))
    assert planted.is_copy(images) == [False, False]
    assert numbers == [1, 2]
    assert same_bits(latent[0], before.latent[0])
    assert not latent[1].any()
    assert not custom([1, 0], whole=True, return_dict=return_dict)[2].any()  # one tensor of all pictures
    assert same_bits(custom([1], return_dict=return_dict)[2], custom([1], guard_options={"mode": "flag"}).latent)


class TwoLists(StableDiffusionPipeline):
    """Returns other pictures beside its pictures, as StableDiffusionPipelineSafe does."""

    def __call__(self, first: Any, other: Any, return_dict: bool = True) -> Any:  # type: ignore[override]
        return Beside(first, None, other) if return_dict else (first, None, other)


@pytest.mark.parametrize("return_dict", [True, False])
def test_other_pictures_in_an_output_are_checked_too(pipe: Any, run: Any, planted: Any, return_dict: bool) -> None:
    copy, control = run([0, 1]).images
    custom = tiny._stable_diffusion(TwoLists)
    reports: list[Any] = []
    protect(custom, planted.guard(), on_report=reports.append)
    out = custom([control], [control, copy], return_dict=return_dict)
    images, other = (out.images, out.latent) if return_dict else (out[0], out[2])
    assert planted.is_copy([*images, *other]) == [False, False, False]
    assert images[0] is other[0] is control
    assert [decisions_of(report) for report in reports] == [[Decision.ALLOW], [Decision.ALLOW, Decision.BLOCK]]
    with pytest.raises(SkippedError, match="further pictures"):
        custom([control], [[copy], control], return_dict=return_dict)


class Stuck(Broken):
    """A runtime that comes back when the test is over."""

    def __init__(self, real: Any) -> None:
        super().__init__(real)
        self.over = threading.Event()

    def embed(self, batch: Any) -> Any:
        self.over.wait(WAIT_S)
        return self.real.embed(batch)


def test_a_check_that_hangs_withholds(pipe: Any, run: Any, planted: Any) -> None:
    stuck = Stuck(planted.embedder)
    with guarded(pipe, planted.guard(stuck, deadline_s=0.05)):
        out = run([0, 1])
    stuck.over.set()
    assert [v.reason for v in out.guard] == ["deadline", "deadline"]
    assert out.guard.withheld == (0, 1)


def test_arguments_by_position_count(pipe: Any, planted: Any) -> None:
    """output_type and callbacks are found however they are given."""
    with guarded(pipe, planted.guard(), pixels="tensor"):
        out = pipe("a cat", 64, 64, 2, generator=[tiny.seeded(0)])
    assert decisions(out) == [Decision.BLOCK]
    assert not isinstance(out.images, torch.Tensor)
