"""The guard block in a real modular pipeline of stock blocks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from diffusers import StableDiffusionXLAutoBlocks

from guard import Action, BlockedError, Decision, Mode, SkippedError, Status
from guard.events import EventLog
from guard_diffusers.modular import GuardBlock
from tests.pipelines import tiny
from tests.pipelines.planted import Planted, same_bits


def assemble(block: GuardBlock | None = None) -> Any:
    blocks = StableDiffusionXLAutoBlocks()
    if block is not None:
        blocks.sub_blocks["guard"] = block
    pipe = blocks.init_pipeline()
    names = {"vae", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2", "scheduler", "unet"}
    components = {k: v for k, v in tiny.sdxl_components().items() if k in names}
    pipe.update_components(**components)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def run(pipe: Any, seeds: list[int], **more: Any) -> Any:
    return pipe(
        prompt="a cat", num_inference_steps=2, num_images_per_prompt=len(seeds), height=64, width=64,
        generator=[tiny.seeded(s) for s in seeds], **more,
    )  # fmt: skip


@pytest.fixture(scope="module")
def plain() -> Any:
    return assemble()


@pytest.fixture(scope="module")
def planted(plain: Any) -> Planted:
    return Planted(run(plain, [0], output="images"))


def test_prompts_reach_the_log(planted: Planted, tmp_path: Path) -> None:
    guard = planted.guard(events={"path": tmp_path / "e.sqlite", "prompts": "plain"})
    pipe = assemble(GuardBlock(guard))
    run(pipe, [0])
    with pytest.raises(SkippedError):
        run(pipe, [1], output_type="latent")
    assert guard.events.close(30)
    events = EventLog(tmp_path / "e.sqlite").read()[::-1]
    assert [(e.status, e.action, e.prompt) for e in events] == [
        (Status.SUCCESS, Action.REPLACED, "a cat"),
        (Status.SKIPPED, Action.RAISED, "a cat"),
    ]


@pytest.mark.parametrize("form", ["pil", "np", "pt"])
def test_a_planted_copy_is_withheld(plain: Any, planted: Planted, form: str) -> None:
    before = run(plain, [1, 0], output_type=form, output="images")
    assert planted.is_copy(before) == [False, True]
    reports: list[Any] = []
    pipe = assemble(GuardBlock(planted.guard(), name="modular", on_report=reports.append))
    state = run(pipe, [1, 0], output_type=form)
    report = state.get("guard")
    assert [v.decision for v in report] == [Decision.ALLOW, Decision.BLOCK]
    assert report.pipeline == "modular"
    assert reports == [report]
    images = state.get("images")
    assert type(images) is type(before)
    assert same_bits(images[0], before[0])
    assert planted.is_copy(images) == [False, False]


def test_the_state_does_not_keep_the_latents_of_what_is_withheld(plain: Any, planted: Planted) -> None:
    before = run(plain, [1, 0]).get("latents")
    latents = run(assemble(GuardBlock(planted.guard())), [1, 0]).get("latents")
    assert before[1].any()
    assert not latents[1].any()
    assert same_bits(latents[0], before[0])


def test_options_modes_and_actions(planted: Planted) -> None:
    pipe = assemble(GuardBlock(planted.guard()))
    out = run(pipe, [0], guard_options={"mode": "flag"}, output=["images", "guard"])
    assert out["guard"].mode is Mode.FLAG
    assert planted.is_copy(out["images"]) == [True]
    with pytest.raises(BlockedError):
        run(pipe, [0], guard_options={"on_block": "raise"})


def test_latents_as_output_are_refused_unless_allowed(planted: Planted) -> None:
    pipe = assemble(GuardBlock(planted.guard()))
    with pytest.raises(SkippedError, match="allow_unchecked"):
        run(pipe, [0], output_type="latent")
    report = run(pipe, [0], output_type="latent", guard_options={"allow_unchecked": ["latent"]}, output="guard")
    assert [(v.status, v.reason) for v in report] == [(Status.SKIPPED, "latent")]


def test_disabled(planted: Planted) -> None:
    guard = planted.guard()
    pipe = assemble(GuardBlock(guard))
    with guard.disable():
        out = run(pipe, [0], output=["images", "guard"])
    assert out["guard"][0].reason == "disabled"
    assert planted.is_copy(out["images"]) == [True]
