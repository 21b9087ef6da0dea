"""What protect changes about an object, and what it refuses."""

from __future__ import annotations

import copy
import inspect
import pickle
from typing import Any

import pytest
from diffusers import (
    AudioLDM2Pipeline,
    AutoPipelineForImage2Image,
    StableDiffusionImg2ImgPipeline,
    StableDiffusionPipeline,
    StableDiffusionXLAutoBlocks,
)

from guard import ConfigError, Decision
from guard_diffusers import from_pipe, is_protected, protect, unprotect
from tests.pipelines import tiny
from tests.pipelines.planted import decisions, guarded
from tests.support.toys import picture


def test_the_object_stays_itself(pipe: Any, planted: Any) -> None:
    with guarded(pipe, planted.guard()) as out:
        assert out is pipe
        assert isinstance(pipe, StableDiffusionPipeline)
        assert type(pipe).__name__ == "StableDiffusionPipeline"
        assert type(pipe).__qualname__ == "StableDiffusionPipeline"
        assert type(pipe).__module__ == StableDiffusionPipeline.__module__
        assert inspect.signature(type(pipe).__call__) == inspect.signature(StableDiffusionPipeline.__call__)
        assert pipe.to("cpu") is pipe
        assert set(pipe.components) == {*vars(pipe.config).get("_", ()), *pipe.components}


def test_two_pipelines_of_one_class_share_the_guarded_class_but_not_the_guard(planted: Any) -> None:
    a, b, c = (tiny.stable_diffusion() for _ in range(3))
    protect(a, planted.guard(mode="shadow"))
    protect(b, planted.guard())
    assert type(a) is type(b)
    assert not is_protected(c)
    arguments = {"prompt": "a cat", "num_inference_steps": 2}
    assert a(**arguments, generator=[tiny.seeded(0)]).guard.withheld == ()
    assert b(**arguments, generator=[tiny.seeded(0)]).guard.withheld == (0,)
    assert not hasattr(c(**arguments), "guard")


def test_protecting_again_replaces_the_guard(pipe: Any, run: Any, planted: Any) -> None:
    with guarded(pipe, planted.guard()):
        assert decisions(run(0)) == [Decision.BLOCK]
        lenient = planted.guard(policy={"flag": 1.0, "block": 1.0}, mode="flag")
        protect(pipe, lenient, name="second")
        assert run(0).guard.pipeline == "second"
        assert type(pipe).__mro__[1] is StableDiffusionPipeline  # not one guarded class on another
    assert type(pipe) is StableDiffusionPipeline


def test_unprotecting_what_is_not_protected_changes_nothing(pipe: Any) -> None:
    before = dict(vars(pipe))
    assert unprotect(pipe) is pipe
    assert vars(pipe) == before


def test_metrics_of_the_pipeline_exist_before_its_first_call(pipe: Any, planted: Any) -> None:
    guard = planted.guard()
    labels = {"decision": "block", "mode": "enforce"}
    with guarded(pipe, guard, name="shop"):
        value = guard.metrics.registry.get_sample_value("memguard_images_total", {"pipeline": "shop", **labels})
    assert value == 0


def test_a_copy_of_a_guarded_pipeline_is_guarded(pipe: Any, planted: Any) -> None:
    with guarded(pipe, planted.guard()):
        for same in (copy.copy(pipe), copy.deepcopy(pipe)):
            assert is_protected(same)
            out = same("a cat", num_inference_steps=2, generator=[tiny.seeded(0)])
            assert decisions(out) == [Decision.BLOCK]


def test_pickling_a_guarded_pipeline_fails_instead_of_losing_the_guard(pipe: Any, planted: Any) -> None:
    with guarded(pipe, planted.guard()), pytest.raises(pickle.PicklingError):
        pickle.dumps(pipe)


def test_an_instance_of_the_guarded_class_is_a_plain_pipeline(pipe: Any, planted: Any, run: Any) -> None:
    before = run(0).images[0]
    with guarded(pipe, planted.guard()):
        new = tiny.quiet(type(pipe)(**pipe.components, requires_safety_checker=False))
    assert not is_protected(new)
    out = new("a cat", num_inference_steps=2, generator=[tiny.seeded(0)])
    assert planted.is_copy(out.images) == [True]
    assert out.images[0].tobytes() == before.tobytes()
    assert unprotect(new) is new
    assert type(new) is StableDiffusionPipeline


@pytest.mark.parametrize("cls", [StableDiffusionImg2ImgPipeline, AutoPipelineForImage2Image])
def test_from_pipe_loses_the_guard_and_ours_carries_it(pipe: Any, planted: Any, cls: Any) -> None:
    call = {"prompt": "a cat", "image": picture(50), "num_inference_steps": 4}
    with guarded(pipe, planted.guard(), name="shop"):
        plain = tiny.quiet(cls.from_pipe(pipe))
        assert type(plain) is StableDiffusionImg2ImgPipeline
        assert not is_protected(plain)
        assert not hasattr(plain(**call), "guard")
        carried = tiny.quiet(from_pipe(cls, pipe))
        assert is_protected(carried)
        assert carried(**call).guard.pipeline == "shop"
    unnamed = from_pipe(cls, protect(pipe, planted.guard()))
    assert tiny.quiet(unnamed)(**call).guard.pipeline == "StableDiffusionImg2ImgPipeline"
    unprotect(pipe)
    assert not is_protected(from_pipe(cls, pipe))


def test_what_makes_no_pictures_is_refused(planted: Any) -> None:
    guard = planted.guard()
    sound = object.__new__(AudioLDM2Pipeline)
    with pytest.raises(ConfigError, match="AudioLDM2Pipeline makes no pictures"):
        protect(sound, guard)
    with pytest.raises(ConfigError, match="dict is no DiffusionPipeline"):
        protect({}, guard)
    with pytest.raises(ConfigError, match="GuardBlock"):
        protect(StableDiffusionXLAutoBlocks().init_pipeline(), guard)
    with pytest.raises(ConfigError, match=r"guard is a str; open one: Guard\.open"):
        protect(tiny.unconditional(), "training.index")  # type: ignore[type-var, arg-type]
    with pytest.raises(ConfigError, match="pixels = 'gpu'"):
        protect(tiny.unconditional(), guard, pixels="gpu")  # type: ignore[arg-type]
    assert type(sound) is AudioLDM2Pipeline
