"""Generations of one's own pipeline, as the clean pictures of a calibration. Knows prompts and a folder; no index.

They are made and kept as those of an audit are, so that a run that was stopped goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from guard.audit.generate import BATCH, Sampler, generating
from guard.audit.prompts import Prompt, from_classes, from_file
from guard.audit.state import GENERATIONS, opened
from guard.errors import ConfigError
from guard_diffusers.audit.sampler import PipelineSampler, load_samplers

__all__ = ["generate_clean"]


def generate_clean(
    model: str,
    *,
    state: Path,
    prompts: Path | None = None,
    generations: int = 1,
    call: Mapping[str, Any] | None = None,
    devices: Sequence[str] = (),
    batch: int = BATCH,
    seed: int = 0,
    restart: bool = False,
    least: int = 0,
    on_progress: Callable[[int, int | None], None] = lambda _done, _total: None,
) -> Path:
    """Make what is missing, and return the folder of all generations.

    model, devices, call: see load_samplers. prompts: a file of them, see guard.audit.prompts.from_file; None for a
    pipeline that takes none. generations: of each prompt. batch: pictures of one call, all of one prompt.
    least: so many pictures are needed; what comes to fewer is refused before anything is made. on_progress: pictures
    that are there, and all.
    Raises ConfigError for a model or prompts that do not serve, too few pictures, or a state that was made with other
    settings; CheckError if the model fails.
    """
    samplers = load_samplers(model, devices, call=call)
    asked = _asked(samplers[0], prompts)
    settings = {"clean": True, "model": model, "seed": seed, "call": dict(call or {})}
    total = generations * len(asked)
    if restart:
        _require(total, least)  # before anything is dropped
    with opened(state, settings, restart=restart) as kept:
        missing = sum(len(kept.missing(prompt, generations)) for prompt in asked)
        _require(kept.count() + missing, least)  # those of other prompts count as well
        done = total - missing
        on_progress(done, total)

        def more(made: int) -> None:
            nonlocal done
            done += made
            on_progress(done, total)

        with generating(kept, samplers, batch=batch, seed=seed) as running:
            for _ in running.fill(asked, generations, on_progress=more):
                pass
    return state / GENERATIONS


def _require(coming: int, least: int) -> None:
    if coming < least:
        raise ConfigError(
            f"prompts and generations come to {coming} clean pictures, and at least {least} are needed: give more "
            "--prompts, or a higher --generations"
        )


def _asked(sampler: Sampler, prompts: Path | None) -> list[Prompt]:
    takes_prompt = sampler.takes_prompt if isinstance(sampler, PipelineSampler) else True
    if takes_prompt and prompts is None:
        raise ConfigError("name --prompts: what your users ask for, and no captions of training pictures")
    if not takes_prompt and prompts is not None:
        raise ConfigError("the pipeline takes no prompts; leave --prompts out, and name --generations")
    return from_file(prompts) if prompts is not None else from_classes(())
