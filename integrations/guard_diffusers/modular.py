"""The guard as a block of a ModularPipeline: checks the pictures in the state. Knows states; no wrapped calls.

blocks = StableDiffusionXLAutoBlocks()
blocks.sub_blocks["guard"] = GuardBlock(guard)      # last, so after the decode block
pipe = blocks.init_pipeline(...)
pipe(prompt=..., output=["images", "guard"])
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from diffusers.modular_pipelines.modular_pipeline import ModularPipelineBlocks
from diffusers.modular_pipelines.modular_pipeline_utils import InputParam, OutputParam

from guard.config import override
from guard.errors import SkippedError
from guard.types import Action, Mode, Report
from guard_diffusers import outputs
from guard_diffusers.inputs import OWN_INPUTS, own_pictures
from guard_diffusers.latents import zeroed
from guard_diffusers.outputs import Kind
from guard_diffusers.prompts import own_prompts

if TYPE_CHECKING:
    from guard.hosted import HostGuard

__all__ = ["GuardBlock"]


class GuardBlock(ModularPipelineBlocks):
    """Replaces what is blocked in the state's pictures, and writes the report to the state as `guard`.

    output: name of the pictures in the state, "videos" for blocks that make clips. name: label of the
    metrics. inputs, on_report: as in `protect`. The state also holds the latents that the pictures were
    decoded from: those of a withheld picture become zeros. `guard_options` is an input of the pipeline.
    Latents as output (`output_type="latent"`) are not decoded here: SKIPPED, and refused in mode enforce.
    """

    def __init__(
        self,
        guard: HostGuard,
        *,
        output: str = "images",
        name: str = "ModularPipeline",
        inputs: Sequence[str] = OWN_INPUTS,
        on_report: Callable[[Report], None] | None = None,
    ) -> None:
        init: Any = super().__init__  # not typed by diffusers
        init()
        self._guard, self._output, self._label = guard, output, name
        self._own = tuple(n for n in inputs if n != output)  # in the state, that name is the pipeline's own output
        self._on_report = on_report
        guard.metrics.add_pipeline(name)

    def __deepcopy__(self, memo: dict[int, Any]) -> GuardBlock:
        # init_pipeline copies its blocks; the guard's locks and index are shared instead
        return GuardBlock(
            self._guard, output=self._output, name=self._label, inputs=self._own, on_report=self._on_report
        )

    @property
    def description(self) -> str:
        return "Step that withholds pictures that are too close to the training set"

    @property
    def inputs(self) -> list[Any]:
        return [
            InputParam(self._output, required=True, description="The pictures from the decode block"),
            InputParam("guard_options", description="Settings of the guard for this call alone"),
        ]

    @property
    def intermediate_outputs(self) -> list[Any]:
        return [
            OutputParam(self._output, description="The pictures; a withheld one is replaced"),
            OutputParam("guard", type_hint=Report, description="One verdict a picture, in order"),
        ]

    def __call__(self, components: Any, state: Any) -> tuple[Any, Any]:
        block_state: Any = self.get_block_state(state)
        pictures, options = block_state[self._output], block_state.guard_options
        report = self._check(pictures, state, options)
        if self._on_report is not None:
            self._on_report(report)
        self._refuse_unchecked(report)
        block_state[self._output] = self._guard.apply(pictures, report, options=options)
        block_state.guard = report
        latents = state.get("latents")
        if report.withheld and outputs.is_tensor(latents):
            every = tuple(range(len(latents)))
            state.set("latents", zeroed(latents, report.withheld if len(latents) == len(report) else every))
        self.set_block_state(state, block_state)
        return components, state

    def _check(self, pictures: Any, state: Any, options: Any) -> Report:
        guard, config = self._guard, override(self._guard.config, options)
        kind, count = outputs.kind_of(pictures), outputs.count_of(pictures)
        if guard.disabled or kind is None or (state.get("output_type") == "latent" and outputs.is_tensor(pictures)):
            reason = "disabled" if guard.disabled else "latent" if state.get("output_type") == "latent" else "form"
            return self._skipped(own_prompts(state, count), count, reason, options)
        own = None if config.own_input == "ignore" else own_pictures(state, self._own, stride=config.frame_stride)
        check = guard.check if kind is Kind.IMAGES else guard.check_videos
        prompts = own_prompts(state, count)
        return check(pictures, pipeline=self._label, inputs=own, prompts=prompts, options=options)

    def _skipped(self, prompts: list[str] | None, count: int, reason: Any, options: Any) -> Report:
        config = override(self._guard.config, options)
        passes = reason == "disabled" or config.mode is not Mode.ENFORCE or reason in config.allow_unchecked
        action = Action.RELEASED if passes else Action.RAISED
        return self._guard.skip(count, reason, pipeline=self._label, prompts=prompts, action=action, options=options)

    def _refuse_unchecked(self, report: Report) -> None:
        if report and report[0].reason in ("latent", "form") and report[0].withheld:
            reason = report[0].reason
            raise SkippedError(
                f"the state's {self._output!r} cannot be checked ({reason}); to let it pass unchecked: "
                f"guard_options={{'allow_unchecked': ['{reason}']}}, or the same setting",
                reason=reason,
                report=report,
            )
