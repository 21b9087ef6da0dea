"""One guarded call, told from the top: refuse what leaks, run, find the pictures, check, act, report.

Knows the order and what cannot be checked; every step lives in a file of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from guard.config import GuardConfig, override
from guard.errors import ConfigError, SkippedError
from guard.types import Action, Mode, Report
from guard_diffusers import outputs, tensors
from guard_diffusers.arguments import CallArguments
from guard_diffusers.callbacks import leaking_callback
from guard_diffusers.inputs import own_pictures
from guard_diffusers.latents import decode, why_not, without_latents, zeroed
from guard_diffusers.outputs import Kind
from guard_diffusers.prompts import own_prompts

if TYPE_CHECKING:
    from guard_diffusers.wrap import Protection

__all__ = ["guarded_call"]


def guarded_call(
    protection: Protection,
    base_call: Callable[..., Any],
    pipe: Any,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    options: Mapping[str, Any] | None,
) -> Any:
    """Run the pipeline's own call and hand out what the guard allows.

    options: settings of GuardConfig for this call alone. Raises ConfigError for a wrong one, before
    anything is computed; SkippedError for an output that cannot be checked; BlockedError for `raise`.
    """
    config = override(protection.guard.config, options)
    call = CallArguments(base_call, pipe, args, kwargs)
    one = _GuardedCall(protection, config, dict(options or {}), pipe, call)
    if protection.guard.disabled:
        return one.unguarded()
    one.refuse_early()
    if tensors.takes_tensor(pipe, base_call, call, protection.pixels):
        return one.release(call.run(output_type="pt"), converted_to=call.get("output_type"))
    return one.release(call.run())


class _GuardedCall:
    def __init__(
        self, protection: Protection, config: GuardConfig, options: dict[str, Any], pipe: Any, call: CallArguments
    ) -> None:
        self.protection, self.guard, self.config = protection, protection.guard, config
        self.options, self.pipe, self.call = options, pipe, call
        self.enforced = config.mode is Mode.ENFORCE

    def unguarded(self) -> Any:
        """The guard is disabled: counted, reported, not checked."""
        out = self.call.run()
        count = outputs.count_of(outputs.value_of(out))
        prompts = own_prompts(self.call, count)
        return self._report(out, self.guard.skip(count, "disabled", pipeline=self.protection.name, prompts=prompts))

    def refuse_early(self) -> None:
        """What is known to go wrong before the pipeline has computed anything."""
        if self.enforced and self.config.on_block == "drop" and self.call.get("output_type") in ("np", "pt", "latent"):
            raise ConfigError(
                "on_block = 'drop' puts None in a list of images; it needs output_type='pil', not "
                f"{self.call.get('output_type')!r}: use replace, blur or raise"
            )
        callback = leaking_callback(self.call)
        if callback is not None:
            self._unchecked(
                1, "step_callback", f"{callback} is handed latents before anything has checked them; pass "
                "callback_on_step_end_tensor_inputs=[] if it needs none",
            )  # fmt: skip

    def release(self, out: Any, *, converted_to: str | None = None) -> Any:
        """Check what the pipeline returned and hand it out. converted_to: the type to make of the tensor in it."""
        value = outputs.value_of(out)
        if self.call.get("output_type") == "latent" and outputs.is_tensor(value):
            return self._release_latents(out, value)
        kind = outputs.kind_of(value)
        if kind is None:
            form = f"{type(self.pipe).__name__} returned no pictures that can be read ({type(value).__name__})"
            return self._report(out, self._unchecked(outputs.count_of(value), "form", form))
        report = self._check(value, kind, self.options)
        if converted_to is not None:
            value = tensors.convert(value, converted_to)
        self._tell(report)
        value = self.guard.apply(value, report, options=self.options)
        out = without_latents(outputs.put(out, value), report.withheld, len(report))
        return outputs.attach(self._release_beside(out), report)

    def _release_beside(self, out: Any) -> Any:
        """Check further lists of PIL images in an output, too; on_report alone is told of them."""
        for place, item in outputs.beside(out):
            if outputs.holds_pil(item):
                kind = outputs.kind_of(item)
                if kind is None:
                    text = f"{type(self.pipe).__name__} returned further pictures that cannot be read"
                    self._tell(self._unchecked(outputs.count_of(item), "form", text))
                    continue
                report = self._check(item, kind, self.options)
                self._tell(report)
                out = outputs.put_beside(out, place, self.guard.apply(item, report, options=self.options))
        return out

    def _release_latents(self, out: Any, latents: Any) -> Any:
        reason = why_not(self.pipe, latents, self.call)
        if reason is not None:
            text = f"output_type='latent': these latents cannot be checked: {reason}"
            return self._report(out, self._unchecked(len(latents), "latent", text))
        # What is withheld becomes zeros, whatever on_block says, so the verdict says replaced.
        options = self.options if self.config.on_block == "raise" else {**self.options, "on_block": "replace"}
        try:
            pictures = decode(self.pipe, latents, self.call)
        except Exception as exc:
            prompts = own_prompts(self.call, len(latents))
            report = self.guard.fail(len(latents), exc, pipeline=self.protection.name, prompts=prompts, options=options)
        else:
            kind = Kind.VIDEOS if pictures.ndim == 5 else Kind.IMAGES
            report = self._check(pictures, kind, options)
        self._tell(report)
        if self.config.on_block == "raise":
            self.guard.apply(latents, report, options=options)
        out = outputs.put(out, zeroed(latents, report.withheld))
        return outputs.attach(without_latents(out, report.withheld, len(report)), report)

    def _check(self, value: Any, kind: Kind, options: Mapping[str, Any]) -> Report:
        own = None
        if self.config.own_input != "ignore":
            own = own_pictures(self.call, self.protection.inputs, stride=self.config.frame_stride)
        if tensors.package_of(type(self.pipe)) == "deepfloyd_if" and outputs.is_tensor(value):
            value = (value / 2 + 0.5).clamp(0, 1)  # the one family that returns "pt" in [-1, 1]
        check = self.guard.check if kind is Kind.IMAGES else self.guard.check_videos
        prompts = own_prompts(self.call, outputs.count_of(value))
        return check(value, pipeline=self.protection.name, inputs=own, prompts=prompts, options=options)

    def _unchecked(self, count: int, reason: Any, text: str) -> Report:
        """Count what cannot be checked, and refuse it unless the mode or the configuration lets it pass."""
        refused = self.enforced and reason not in self.config.allow_unchecked
        report = self.guard.skip(
            count,
            reason,
            pipeline=self.protection.name,
            prompts=own_prompts(self.call, count),
            action=Action.RAISED if refused else Action.RELEASED,
            options=self.options,
        )
        if refused:
            self._tell(report)
            how = f"to let it pass unchecked: guard_options={{'allow_unchecked': ['{reason}']}}, or the same setting"
            raise SkippedError(f"{text}; {how}", reason=reason, report=report)
        return report

    def _report(self, out: Any, report: Report) -> Any:
        self._tell(report)
        return outputs.attach(out, report)

    def _tell(self, report: Report) -> None:
        if self.protection.on_report is not None:
            self.protection.on_report(report)
