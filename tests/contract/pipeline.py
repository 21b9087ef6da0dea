"""What holds for every guarded pipeline class. A subclass says how to build one; it adds no copies of tests.

Seed 0 of each pipeline is in the reference set, as a memorised picture would be; every other seed is a
control. Each test that a copy is withheld also shows that it gets out when nothing guards the pipeline.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest
import torch

from guard import Action, Decision, SkippedError, Status
from guard_diffusers import from_pipe, is_protected, protect, unprotect
from tests.pipelines.planted import Planted, decisions, guarded, pictures_of, same_bits, value
from tests.pipelines.tiny import seeded

__all__ = ["FORMS", "PipelineContract"]

FORMS = ("pil", "np", "pt")
PLANTED, CONTROL = 0, 1  # seeds


class PipelineContract:
    """Withholds a planted copy by every route, and leaves everything else as it was."""

    build: ClassVar[Callable[[], Any]]
    arguments: ClassVar[Mapping[str, Any]] = {}
    forms: ClassVar[tuple[str, ...]] = FORMS
    latents: ClassVar[Literal["decoded", "refused", "none"]] = "decoded"
    """refused: nobody knows how to decode them. none: works on pixels, "latent" is no output type of its own."""
    takes_callback: ClassVar[bool] = True
    three_images: ClassVar[Mapping[str, Any]] = {"num_images_per_prompt": 3}

    @pytest.fixture(scope="class")
    @classmethod
    def pipe(cls) -> Any:
        return cls.build()

    @pytest.fixture(scope="class")
    @classmethod
    def planted(cls, pipe: Any) -> Planted:
        return Planted(pictures_of(value(cls.run(pipe, PLANTED))))

    @classmethod
    def run(cls, pipe: Any, seed: int | list[int], **more: Any) -> Any:
        generator = [seeded(s) for s in seed] if isinstance(seed, list) else seeded(seed)
        return pipe(**{"num_inference_steps": 2, **cls.arguments, "generator": generator, **more})

    @pytest.mark.parametrize("form", FORMS)
    def test_a_planted_copy_is_withheld(self, pipe: Any, planted: Planted, form: str) -> None:
        if form not in self.forms:
            pytest.skip(f"{type(pipe).__name__} has no output_type {form!r}")
        before = self.run(pipe, PLANTED, output_type=form)
        assert all(planted.is_copy(pictures_of(value(before))))
        with guarded(pipe, planted.guard()):
            out = self.run(pipe, PLANTED, output_type=form)
        assert decisions(out) == [Decision.BLOCK]
        assert out.guard[0].action is Action.REPLACED
        assert out.guard[0].nearest.record.uri.startswith("planted/")
        assert not any(planted.is_copy(pictures_of(value(out))))
        assert type(out) is type(before)
        assert list(out.keys()) == list(before.keys())
        assert len(out.to_tuple()) == len(before.to_tuple())
        assert type(value(out)) is type(value(before))
        assert [p.size if form == "pil" else p.shape for p in pictures_of(value(out))] == [
            p.size if form == "pil" else p.shape for p in pictures_of(value(before))
        ]

    @pytest.mark.parametrize("route", ["output", "tensor"])
    @pytest.mark.parametrize("form", FORMS)
    def test_a_control_is_released_bit_for_bit(self, pipe: Any, planted: Planted, form: str, route: Any) -> None:
        """Also where the pixels are taken before they become PIL images, as on an accelerator."""
        if form not in self.forms:
            pytest.skip(f"{type(pipe).__name__} has no output_type {form!r}")
        before = value(self.run(pipe, CONTROL, output_type=form))
        with guarded(pipe, planted.guard(), pixels=route):
            out = self.run(pipe, CONTROL, output_type=form)
            blocked = self.run(pipe, PLANTED, output_type=form)
        assert decisions(out) == [Decision.ALLOW]
        assert same_bits(value(out), before)
        assert decisions(blocked) == [Decision.BLOCK]
        assert not any(planted.is_copy(pictures_of(value(blocked))))

    def test_latents_are_decoded_or_refused(self, pipe: Any, planted: Planted) -> None:
        if self.latents == "none":
            pytest.skip(f"{type(pipe).__name__} works on pixels")
        planted_latent, control = (value(self.run(pipe, s, output_type="latent")) for s in (PLANTED, CONTROL))
        assert isinstance(planted_latent, torch.Tensor)
        with guarded(pipe, planted.guard()):
            if self.latents == "refused":
                with pytest.raises(SkippedError, match="allow_unchecked") as refused:
                    self.run(pipe, PLANTED, output_type="latent")
                assert refused.value.reason == "latent"
                options = {"allow_unchecked": ["latent"]}
                out = self.run(pipe, PLANTED, output_type="latent", guard_options=options)
                assert out.guard[0].status is Status.SKIPPED
                return
            blocked = self.run(pipe, PLANTED, output_type="latent")
            out = self.run(pipe, CONTROL, output_type="latent")
        assert planted_latent.abs().max() > 0  # what would have been handed out
        assert decisions(blocked) == [Decision.BLOCK]
        assert value(blocked).shape == planted_latent.shape
        assert not value(blocked).any()
        assert decisions(out) == [Decision.ALLOW]
        assert same_bits(value(out), control)

    def test_a_tuple_stays_a_tuple(self, pipe: Any, planted: Planted) -> None:
        before = self.run(pipe, PLANTED, return_dict=False)
        assert isinstance(before, tuple)
        assert all(planted.is_copy(pictures_of(value(before))))
        reports: list[Any] = []
        with guarded(pipe, planted.guard(), on_report=reports.append):
            out = self.run(pipe, PLANTED, return_dict=False)
        assert type(out) is tuple
        assert len(out) == len(before)
        assert not any(planted.is_copy(pictures_of(value(out))))
        assert [[v.decision for v in report] for report in reports] == [[Decision.BLOCK]]

    def test_one_bad_image_of_a_batch_is_withheld_alone(self, pipe: Any, planted: Planted) -> None:
        seeds = [CONTROL, PLANTED, 2]
        before = value(self.run(pipe, seeds, output_type="np", **self.three_images))
        with guarded(pipe, planted.guard()):
            out = self.run(pipe, seeds, output_type="np", **self.three_images)
        assert decisions(out) == [Decision.ALLOW, Decision.BLOCK, Decision.ALLOW]
        assert [same_bits(a, b) for a, b in zip(value(out), before, strict=True)] == [True, False, True]
        assert all(planted.is_copy(pictures_of(before[1:2])))
        assert not any(planted.is_copy(pictures_of(value(out))))

    def test_a_callback_that_gets_latents_is_refused_before_anything_runs(self, pipe: Any, planted: Planted) -> None:
        if not self.takes_callback:
            pytest.skip(f"{type(pipe).__name__} has no step callback")
        seen: list[Any] = []

        def spy(pipe: Any, step: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
            seen.append(tensors.get("latents"))
            return {}

        self.run(pipe, PLANTED, callback_on_step_end=spy)
        assert all(isinstance(latents, torch.Tensor) for latents in seen)
        assert seen  # this is what gets out of an unguarded pipeline
        seen.clear()
        with guarded(pipe, planted.guard()):
            with pytest.raises(SkippedError, match="allow_unchecked") as refused:
                self.run(pipe, PLANTED, callback_on_step_end=spy)
            assert refused.value.reason == "step_callback"
            assert not seen
            out = self.run(pipe, PLANTED, callback_on_step_end=spy, callback_on_step_end_tensor_inputs=[])
        assert set(seen) == {None}
        assert decisions(out) == [Decision.BLOCK]

    def test_unprotect_leaves_no_trace(self, pipe: Any, planted: Planted) -> None:
        def shape() -> tuple[Any, ...]:
            return type(pipe), inspect.signature(pipe.__call__), dict(vars(pipe)), pipe.config

        before = shape()
        guard = planted.guard()
        protected = protect(pipe, guard)
        assert is_protected(pipe)
        assert isinstance(pipe, before[0])
        assert (type(pipe).__name__, type(pipe).__module__) == (before[0].__name__, before[0].__module__)
        assert inspect.signature(pipe.__call__) == before[1]
        assert unprotect(protected) is pipe
        assert not is_protected(pipe)
        assert shape() == before

    def test_what_is_built_from_a_guarded_pipeline_is_unguarded_and_says_so(
        self, pipe: Any, planted: Planted, tmp_path: Path
    ) -> None:
        with guarded(pipe, planted.guard()):
            pipe.save_pretrained(tmp_path)
            loaded = inspect.unwrap(type(pipe).__mro__[1]).from_pretrained(tmp_path)
            shared = type(pipe).from_pipe(pipe)
            carried = from_pipe(type(pipe), pipe)
            assert not is_protected(loaded)
            assert not is_protected(shared)
            assert is_protected(pipe)
            assert is_protected(carried)
        assert "memguard" not in (tmp_path / "model_index.json").read_text()
        for unguarded in (loaded, shared):
            unguarded.set_progress_bar_config(disable=True)
            assert all(planted.is_copy(pictures_of(value(self.run(unguarded, PLANTED)))))
        carried.set_progress_bar_config(disable=True)
        assert decisions(self.run(carried, PLANTED)) == [Decision.BLOCK]
