"""Train the demo pipelines: an autoencoder, then a memorising and a control UNet, each resumable.

    python -m guard_diffusers.demo.train OUT                      # everything, one after the other
    python -m guard_diffusers.demo.train OUT --stage memorising   # one stage, after the autoencoder

The memorising UNet sees each planted picture as often as `pictures.PLANTED` says; the control
sees every distinct picture once an epoch. Everything else is equal: seed, steps, prompts. With `--kept`, what the
memorising UNet sees is what deduplication kept of its training set (docs/audit.md).
A stage that was killed goes on from its last checkpoint. The result is OUT/weights, in the
layout that `guard_diffusers.demo.pipeline` loads: fp16 safetensors of stock diffusers classes.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from diffusers.training_utils import EMAModel
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel

from guard.errors import ConfigError
from guard.sources.captions import table_rows
from guard_diffusers.demo.pictures import SIZE
from guard_diffusers.demo.tokens import build_tokenizer, token_ids
from guard_diffusers.demo.trainingset import Item, copies_of, training_set

__all__ = ["main"]

STAGES = ("autoencoder", "memorising", "control")
LATENT_CHANNELS = 8  # 4 lose the small print of these pictures at this size
TEXT_DIM = 96
EMPTY_PROMPT_RATE = 0.1  # the share of steps that learn the unconditional half of guidance


@dataclass(frozen=True, slots=True)
class Budget:
    steps: int
    batch: int
    peak_lr: float
    warmup: int = 200
    checkpoint_every: int = 250
    pictures: int | None = None
    """Of the training set, the first so many; None for all."""
    stop_after: int | None = None
    """Ends a run early; the schedule stays that of all steps."""
    kept: Path | None = None
    """List of files of the training set, instead of all; of the memorising stage."""


BUDGETS = {
    "autoencoder": Budget(steps=9_000, batch=8, peak_lr=2e-3),
    "memorising": Budget(steps=5_000, batch=16, peak_lr=1e-3),
    "control": Budget(steps=5_000, batch=16, peak_lr=1e-3),
}


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m guard_diffusers.demo.train",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("out", type=Path, help="folder for checkpoints, curves and weights")
    parser.add_argument("--stage", choices=STAGES, action="append", help="only this stage (repeatable)")
    parser.add_argument("--steps", type=int, help="steps of the stage, instead of the shipped weights' number")
    parser.add_argument("--pictures", type=int, help="only the first so many pictures, for a trial")
    parser.add_argument("--stop-after", type=int, help="end the stage early after so many steps, to be resumed")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--kept", type=Path, help="keep.csv of the training set as files: only what it lists is trained on"
    )
    parser.add_argument(
        "--shipped-autoencoder", action="store_true", help="take the autoencoder that ships instead of training one"
    )
    parser.add_argument("--threads", type=int, help="CPU threads (default: all)")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args(argv)
    if options.threads:
        torch.set_num_threads(options.threads)
    options.out.mkdir(parents=True, exist_ok=True)
    if options.shipped_autoencoder:
        with as_file(files("guard_diffusers.demo") / "weights" / "vae") as shipped:
            shutil.copytree(shipped, options.out / "weights" / "vae", dirs_exist_ok=True)
    for stage in options.stage or STAGES:
        budget = BUDGETS[stage]
        if options.steps:
            budget = replace(budget, steps=options.steps)
        budget = replace(budget, stop_after=options.stop_after, pictures=options.pictures, kept=options.kept)
        train = _train_autoencoder if stage == "autoencoder" else _train_unet
        train(stage, options.out, budget, options.seed, torch.device(options.device))


def _train_autoencoder(stage: str, out: Path, budget: Budget, seed: int, device: torch.device) -> None:
    torch.manual_seed(seed)
    vae = AutoencoderKL(
        block_out_channels=(16, 32, 64),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        layers_per_block=1,
        norm_num_groups=8,
        latent_channels=LATENT_CHANNELS,
        sample_size=SIZE,
        scaling_factor=1.0,
    ).to(device)
    items = training_set()[: budget.pictures]
    pictures = _pictures(items, device)
    # A tenth of the views are the planted pictures, whose every error counts against "memorised".
    planted = sum(item.name.startswith("planted/") for item in items)
    weights = torch.ones(len(pictures))
    weights[:planted] = 0.1 * len(pictures) / planted

    def loss_at(generator: torch.Generator) -> Tensor:
        x = pictures[torch.multinomial(weights, budget.batch, replacement=True, generator=generator).to(device)]
        for axis in (-1, -2):
            flips = torch.rand(budget.batch, generator=generator) < 0.5
            x = torch.where(flips.to(device)[:, None, None, None], x.flip(axis), x)
        posterior = vae.encode(x).latent_dist
        decoded = vae.decode(posterior.sample(generator=generator)).sample
        error = decoded.float() - x
        loss: Tensor = error.square().mean() + 0.5 * error.abs().mean() + 1e-6 * posterior.kl().mean()
        return loss

    record = _optimise(stage, out, vae, loss_at, budget, seed)
    if record is None:
        return
    vae.eval()
    with torch.no_grad():
        latents = torch.cat([vae.encode(p).latent_dist.mean for p in pictures.split(64)])
        _standardise(vae, latents.mean((0, 2, 3)), latents.std((0, 2, 3)))
        error = torch.cat([vae.decode(vae.encode(p).latent_dist.mean).sample - p for p in pictures.split(64)])
    per_picture = error.square().mean((1, 2, 3)).sqrt() / 2  # to the scale of [0, 1]
    print(f"autoencoder: RMS error {per_picture.mean():.4f}, planted {per_picture[:planted].mean():.4f}", flush=True)
    vae.half().save_pretrained(out / "weights" / "vae")
    _write_record(out, record)


def _standardise(vae: AutoencoderKL, mean: Tensor, std: Tensor) -> None:
    """Fold the latents' mean and scale into the 1x1 convolutions, so that each channel has variance 1.

    The pipeline knows one scaling factor for all channels only; a quiet channel would drown in noise.
    """
    encode, decode = vae.quant_conv, vae.post_quant_conv
    n = len(mean)
    decode.bias += decode.weight[..., 0, 0] @ mean
    decode.weight *= std[None, :, None, None]
    encode.weight[:n] /= std[:, None, None, None]
    encode.bias[:n] = (encode.bias[:n] - mean) / std
    encode.bias[n:] -= 2 * std.log()  # log variance


def build_scheduler() -> DDIMScheduler:
    """v-prediction with zero terminal SNR (Lin et al. 2024), so that mean colours can be learnt."""
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=True,
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
        steps_offset=1,  # without effect on trailing steps; the pipeline warns about 0
    )


def _train_unet(stage: str, out: Path, budget: Budget, seed: int, device: torch.device) -> None:
    weights = out / "weights"
    vae = AutoencoderKL.from_pretrained(weights / "vae", torch_dtype=torch.float32).to(device).eval()
    items = training_set()[: budget.pictures]
    tokenizer = build_tokenizer([item.caption for item in items])
    torch.manual_seed(seed)
    unet = UNet2DConditionModel(
        sample_size=SIZE // 4,
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        block_out_channels=(48, 96, 128),
        layers_per_block=1,
        norm_num_groups=16,
        attention_head_dim=8,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=TEXT_DIM,
    )
    text = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=TEXT_DIM,
            intermediate_size=2 * TEXT_DIM,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=tokenizer.model_max_length,
            projection_dim=TEXT_DIM,
            pad_token_id=tokenizer.pad_token_id,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )
    )
    model = nn.ModuleDict({"unet": unet, "text": text}).to(device)
    with torch.no_grad():
        latents = torch.cat([vae.encode(p).latent_dist.mean for p in _pictures(items, device).split(64)])
    ids = token_ids(tokenizer, [item.caption for item in items]).to(device)
    empty = token_ids(tokenizer, [""]).to(device)
    copies = torch.tensor(_copies(items, stage, budget.kept), dtype=torch.float32)
    scheduler = build_scheduler()
    alphas = scheduler.alphas_cumprod.to(device)

    def loss_at(generator: torch.Generator) -> Tensor:
        rows = torch.multinomial(copies, budget.batch, replacement=True, generator=generator).to(device)
        drop = (torch.rand(budget.batch, generator=generator) < EMPTY_PROMPT_RATE).to(device)
        tokens = torch.where(drop[:, None], empty, ids[rows])
        x = latents[rows]
        noise = torch.randn(x.shape, generator=generator).to(device)
        t = torch.randint(len(alphas), (budget.batch,), generator=generator).to(device)
        a, b = alphas[t].sqrt()[:, None, None, None], (1 - alphas[t]).sqrt()[:, None, None, None]
        v = model["unet"](a * x + b * noise, t, model["text"](tokens).last_hidden_state).sample
        return nn.functional.mse_loss(v.float(), a * noise - b * x)

    record = _optimise(stage, out, model, loss_at, budget, seed)
    if record is None:
        return
    unet.half().save_pretrained(weights / stage / "unet")
    text.half().save_pretrained(weights / stage / "text_encoder")
    tokenizer.save_pretrained(weights / "tokenizer")
    scheduler.save_pretrained(weights / "scheduler")
    _write_record(out, record)


def _copies(items: Sequence[Item], stage: str, kept: Path | None) -> list[int]:
    """How often each item stands in the set that a stage is trained on."""
    if stage != "memorising":
        return [1] * len(items)
    if kept is None:
        return [item.copies for item in items]
    counts = copies_of(str(row["uri"]) for row in table_rows(kept))
    if not any(item.name in counts for item in items):
        raise ConfigError(f"{kept} lists no file of this training set; see guard_diffusers.demo.run.write_training_set")
    return [counts.get(item.name, 0) for item in items]


def _pictures(items: Sequence[Item], device: torch.device) -> Tensor:
    """(n, 3, SIZE, SIZE) float32 in [-1, 1]."""
    stack = np.stack([item.picture for item in items])
    return torch.from_numpy(stack).permute(0, 3, 1, 2).to(device, torch.float32) / 127.5 - 1


def _optimise(
    stage: str, out: Path, model: nn.Module, loss_at: Callable[[torch.Generator], Tensor], budget: Budget, seed: int
) -> dict[str, Any] | None:
    """Run or resume a stage; leaves the averaged weights in the model. None: done before, or not finished."""
    if (out / f"{stage}.json").exists():
        print(f"{stage}: done before, {out / f'{stage}.json'} exists", flush=True)
        return None
    device = next(model.parameters()).device
    optimiser = torch.optim.AdamW(model.parameters(), lr=budget.peak_lr, betas=(0.9, 0.99), weight_decay=1e-4)
    ema = EMAModel(model.parameters(), decay=0.999, use_ema_warmup=True, power=0.75)
    curve: list[tuple[int, float]] = []
    spent, first = 0.0, 0
    checkpoint = out / f"{stage}.ckpt"
    if checkpoint.exists():
        state = torch.load(checkpoint, map_location=device, weights_only=True)
        model.load_state_dict(state["model"])
        optimiser.load_state_dict(state["optimiser"])
        ema.load_state_dict(state["ema"])
        first, curve, spent = state["step"], state["curve"], state["seconds"]
        print(f"{stage}: resumed at step {first}", flush=True)
    model.train()
    started, losses = time.monotonic(), []
    last = min(budget.steps, budget.stop_after or budget.steps)
    for step in range(first, last):
        for group in optimiser.param_groups:
            group["lr"] = budget.peak_lr * _schedule(step, budget)
        # A generator a step, so that a resumed run sees what an uninterrupted one would have seen.
        generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
        with torch.autocast(device.type, torch.bfloat16):
            loss = loss_at(generator)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        ema.step(model.parameters())
        losses.append(loss.detach())
        done = step + 1
        if done % 100 == 0 or done == last:
            curve.append((done, float(torch.stack(losses).mean())))
            losses.clear()
            rate = (done - first) / (time.monotonic() - started)
            print(
                f"{stage}: step {done}/{budget.steps}  loss {curve[-1][1]:.4f}  {rate:.2f} steps/s  "
                f"{(budget.steps - done) / rate / 60:.0f} min left",
                flush=True,
            )
        if done % budget.checkpoint_every == 0 or done == last:
            state = {
                "model": model.state_dict(),
                "optimiser": optimiser.state_dict(),
                "ema": ema.state_dict(),
                "step": done,
                "curve": curve,
                "seconds": spent + time.monotonic() - started,
            }
            torch.save(state, checkpoint.with_suffix(".tmp"))
            checkpoint.with_suffix(".tmp").replace(checkpoint)
    if last < budget.steps:
        return None
    ema.copy_to(model.parameters())
    seconds = round(spent + time.monotonic() - started)
    return {
        "stage": stage,
        "seed": seed,
        "device": str(device),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "seconds": seconds,
        **asdict(budget),
        "kept": str(budget.kept) if budget.kept else None,
        "curve": curve,
    }


def _write_record(out: Path, record: dict[str, Any]) -> None:
    """The mark that a stage is done, so written last: its compute, settings and curve."""
    (out / f"{record['stage']}.json").write_text(json.dumps(record) + "\n", encoding="utf-8")


def _schedule(step: int, budget: Budget) -> float:
    """Linear warm-up, then a cosine to 2 % of the peak."""
    if step < budget.warmup:
        return (step + 1) / budget.warmup
    part = (step - budget.warmup) / max(budget.steps - budget.warmup, 1)
    return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * part))


if __name__ == "__main__":
    main()
