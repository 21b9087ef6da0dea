"""A diffusers pipeline as an audit sees it: a prompt and seeds in, pictures out. Knows calls; no audit and no index."""

from __future__ import annotations

import importlib
import inspect
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from guard.audit.generate import Sampler
from guard.audit.prompts import Prompt
from guard.errors import ConfigError, MissingExtraError
from guard.pixels import RGBArray, to_batch
from guard_diffusers.outputs import value_of
from guard_diffusers.wrap import is_protected

__all__ = ["PipelineSampler", "load_samplers"]

_NAME = re.compile(r"[\w.-]+/[\w.-]+")  # of a model on a hub: owner/name
_MODELS = "name a folder with a pipeline in safetensors, a model that diffusers can load, or MODULE:FUNCTION"
DTYPES = ("auto", "float32", "float16", "bfloat16")


class PipelineSampler:
    """Calls one pipeline; see guard.audit.generate.Sampler.

    pipe: text-to-image, class-conditional (`class_labels`) or unconditional, on its device. call: further arguments of
    each call, e.g. num_inference_steps. Noise is drawn on the CPU, so that a seed means the same on every device.
    Raises ConfigError for a guarded pipeline, whose placeholders would be audited, and for one that needs a picture.
    """

    def __init__(self, pipe: Any, call: Mapping[str, Any] | None = None) -> None:
        if is_protected(pipe):
            raise ConfigError("this pipeline is guarded; audit what it makes by itself: unprotect(pipe)")
        parameters = inspect.signature(type(pipe).__call__).parameters
        needed = [
            name
            for name, p in parameters.items()
            if p.default is p.empty and p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
        ]
        missing = set(needed) - {"self", "prompt", "class_labels"} - set(call or {})
        if missing or "image" in parameters or "generator" not in parameters:
            what = f"needs {sorted(missing)[0]!r}" if missing else "takes a picture, or no generator"
            raise ConfigError(f"{type(pipe).__name__} {what}; an audit needs a pipeline that draws from a prompt alone")
        unknown = sorted(set(call or {}) - set(parameters))
        if unknown:
            raise ConfigError(f"{type(pipe).__name__} takes no {unknown[0]!r}")
        self.pipe = pipe
        self.takes_prompt = "prompt" in parameters
        self.takes_class = "class_labels" in parameters
        self._call = dict(call or {})

    def __call__(self, prompt: Prompt, seeds: Sequence[int]) -> Sequence[RGBArray]:
        import torch

        n = len(seeds)
        call: dict[str, Any] = {**self._call, "generator": [torch.Generator().manual_seed(seed) for seed in seeds]}
        if self.takes_class:
            if prompt.label is None:
                raise ConfigError(f"{type(self.pipe).__name__} draws classes; name them with --classes")
            call["class_labels"] = [prompt.label] * n
        elif self.takes_prompt:
            call["prompt"] = [prompt.text] * n
        else:
            call["batch_size"] = n
        return to_batch(value_of(self.pipe(**call))).as_arrays()


def load_samplers(
    model: str,
    devices: Sequence[str] = (),
    *,
    dtype: str = "auto",
    call: Mapping[str, Any] | None = None,
) -> list[Sampler]:
    """One sampler a device.

    model: a folder that `save_pretrained` wrote, the name of a model that diffusers can load, or "MODULE:FUNCTION": a
    function that takes a device and returns a pipeline, or a sampler of one's own (any model, black box).
    devices: none is "cuda" where there is one, else "cpu". dtype: one of DTYPES; auto is float16 on a GPU.
    Raises ConfigError if it cannot be loaded, MissingExtraError without diffusers.
    """
    try:
        import torch
    except ImportError as exc:
        raise MissingExtraError("an audit of a pipeline", extra="diffusers") from exc
    if dtype not in DTYPES:
        raise ConfigError(f"unknown dtype {dtype!r}; known: {', '.join(DTYPES)}")
    names = list(devices) or ["cuda" if torch.cuda.is_available() else "cpu"]
    samplers: list[Sampler] = []
    for name in names:
        try:
            device = torch.device(name)
        except RuntimeError as exc:
            raise ConfigError(f"unknown device {name!r}; known: cpu, cuda, cuda:1, mps, ...") from exc
        made = _own(model, name) if ":" in model and not _is_path(model) else _pretrained(model, device, dtype)
        samplers.append(PipelineSampler(made, call) if hasattr(made, "components") else made)
    return samplers


def _is_path(model: str) -> bool:
    return Path(model).exists()


def _own(model: str, device: str) -> Any:
    module, _, name = model.partition(":")
    if "" not in sys.path and str(Path.cwd()) not in sys.path:  # a script's path begins where it is installed, not here
        sys.path.insert(0, str(Path.cwd()))
    try:
        function = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as exc:
        raise ConfigError(f"{model} names no function ({exc}); write MODULE:FUNCTION, importable from here") from exc
    made = function(device)
    if not callable(made):
        raise ConfigError(f"{model} returned a {type(made).__name__}; return a pipeline, or a callable (prompt, seeds)")
    return made


def _pretrained(model: str, device: Any, dtype: str) -> Any:
    import torch

    try:
        from diffusers import DiffusionPipeline
    except ImportError as exc:
        raise MissingExtraError("an audit of a pipeline", extra="diffusers") from exc
    if not _is_path(model) and not _NAME.fullmatch(model):
        raise ConfigError(f"there is no folder {model}, and a model on a hub is called OWNER/NAME; {_MODELS}")
    if _is_path(model) and not (Path(model) / "model_index.json").is_file():
        raise ConfigError(f"{model} holds no pipeline (no model_index.json); {_MODELS}")
    chosen = (torch.float32 if device.type == "cpu" else torch.float16) if dtype == "auto" else getattr(torch, dtype)
    try:
        pipe = DiffusionPipeline.from_pretrained(model, dtype=chosen, use_safetensors=True)
        pipe.set_progress_bar_config(disable=True)
        return pipe.to(device)
    except (OSError, ValueError, RuntimeError, LookupError, AttributeError, TypeError, ImportError) as exc:
        if not _is_path(model) and isinstance(exc, OSError):
            raise ConfigError(
                f"there is no folder {model}, and neither diffusers' cache nor its hub gave such a model; {_MODELS}"
            ) from exc
        first = str(exc).strip().splitlines()[0] if str(exc).strip() else type(exc).__name__
        raise ConfigError(f"{model} cannot be loaded on {device} ({first}); {_MODELS}") from exc
