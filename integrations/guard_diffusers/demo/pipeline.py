"""The demo's two pipelines, from the weights that ship with the package. Stock diffusers classes throughout."""

from __future__ import annotations

import hashlib
import os
from functools import cache
from importlib.resources import as_file, files
from typing import TYPE_CHECKING, Any, Literal

from guard.errors import ConfigError, MissingExtraError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from diffusers import StableDiffusionPipeline

__all__ = ["GUIDANCE", "STEPS", "generate", "load_pipeline", "weights_sha256"]

STEPS = 12  # DDIM; with 25, RMS distances to the planted pictures change by less than 0.01
GUIDANCE = 2.0


def load_pipeline(
    model: Literal["memorising", "control"] = "memorising", *, folder: Path | None = None
) -> StableDiffusionPipeline:
    """Load one of the demo's pipelines in float32 on the CPU.

    folder: a `weights` folder written by `guard_diffusers.demo.train`; None: the shipped one.
    Raises MissingExtraError without diffusers, ConfigError if the folder holds no such model.
    """
    # Said at import of classes that this pipeline does not use (image processors without torchvision).
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    try:
        from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
        from transformers import CLIPTextModel, CLIPTokenizer
        from transformers.utils import logging
    except ImportError as exc:
        raise MissingExtraError("the demo pipeline", extra="demo") from exc
    import torch

    shows_progress = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # four bars for a second's work
    with as_file(files("guard_diffusers.demo") / "weights") as shipped:
        root = folder or shipped
        if not (root / model / "unet").is_dir():
            raise ConfigError(f"{root} holds no model {model!r}; train it with python -m guard_diffusers.demo.train")
        dtype: dict[str, Any] = {"torch_dtype": torch.float32, "local_files_only": True}
        pipe = StableDiffusionPipeline(
            vae=AutoencoderKL.from_pretrained(root / "vae", **dtype),
            text_encoder=CLIPTextModel.from_pretrained(root / model / "text_encoder", dtype=torch.float32),
            tokenizer=CLIPTokenizer.from_pretrained(root / "tokenizer"),
            unet=UNet2DConditionModel.from_pretrained(root / model / "unet", **dtype),
            scheduler=DDIMScheduler.from_pretrained(root / "scheduler"),
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
    if shows_progress:
        logging.enable_progress_bar()
    pipe.set_progress_bar_config(disable=True)
    return pipe


@cache
def weights_sha256(model: Literal["memorising", "control"]) -> str:
    """Of all files that one of the shipped models is made of."""
    digest = hashlib.sha256()
    with as_file(files("guard_diffusers.demo") / "weights") as root:
        for part in (model, "scheduler", "tokenizer", "vae"):
            for path in sorted((root / part).rglob("*.*")):
                digest.update(path.relative_to(root).as_posix().encode())
                digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def generate(pipe: StableDiffusionPipeline, prompts: Sequence[str], *, seed: int, **call: Any) -> Any:
    """Call a demo pipeline with the settings that its figures were measured with; returns its output."""
    import torch

    generators = [torch.Generator().manual_seed(seed * 100_003 + i) for i in range(len(prompts))]
    return pipe(list(prompts), num_inference_steps=STEPS, guidance_scale=GUIDANCE, generator=generators, **call)
