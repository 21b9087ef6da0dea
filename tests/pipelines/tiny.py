"""Tiny pipelines of stock classes: 64 x 64 px in two steps, a fraction of a second each on a CPU."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import (
    AnimateDiffPipeline,
    DDIMPipeline,
    DDIMScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    IFPipeline,
    MotionAdapter,
    PixArtAlphaPipeline,
    PixArtTransformer2DModel,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionControlNetPipeline,
    StableDiffusionImg2ImgPipeline,
    StableDiffusionInpaintPipeline,
    StableDiffusionPipeline,
    StableDiffusionXLImg2ImgPipeline,
    StableDiffusionXLPipeline,
    UNet2DModel,
)

from tests.pipelines import parts

__all__ = [
    "animatediff",
    "controlnet",
    "deepfloyd_if",
    "flux",
    "img2img",
    "inpaint",
    "pixart",
    "refiner",
    "sdxl",
    "seeded",
    "stable_diffusion",
    "stable_diffusion_3",
    "unconditional",
]


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def quiet(pipe: Any) -> Any:
    pipe.set_progress_bar_config(disable=True)
    return pipe


def _ddim() -> DDIMScheduler:
    return DDIMScheduler(clip_sample=False, set_alpha_to_one=False, steps_offset=1)


def _stable_diffusion(cls: Any, **more: Any) -> Any:
    tokenizer = parts.clip_tokenizer()
    components = {
        "vae": parts.vae(),
        "text_encoder": parts.clip(tokenizer),
        "tokenizer": tokenizer,
        "unet": parts.unet(),
        "scheduler": _ddim(),
        "safety_checker": None,
        "feature_extractor": None,
        "requires_safety_checker": False,
    }
    return quiet(cls(**{**components, **more}))


def stable_diffusion() -> Any:
    return _stable_diffusion(StableDiffusionPipeline)


def img2img() -> Any:
    return _stable_diffusion(StableDiffusionImg2ImgPipeline)


def inpaint() -> Any:
    return _stable_diffusion(StableDiffusionInpaintPipeline)


def controlnet() -> Any:
    return _stable_diffusion(StableDiffusionControlNetPipeline, controlnet=parts.controlnet())


def sdxl_components() -> dict[str, Any]:
    tokenizer = parts.clip_tokenizer()
    return {
        "vae": parts.vae(latents_mean=[0.1, -0.1, 0.2, 0.0], latents_std=[1.1, 0.9, 1.0, 1.2]),
        "text_encoder": parts.clip(tokenizer),
        "text_encoder_2": parts.clip(tokenizer, projected=True),
        "tokenizer": tokenizer,
        "tokenizer_2": parts.clip_tokenizer(),
        "scheduler": EulerDiscreteScheduler(),
        "unet": parts.unet(**parts.XL, projection_class_embeddings_input_dim=6 * 4 + parts.WIDTH),
    }


def sdxl() -> Any:
    return quiet(StableDiffusionXLPipeline(**sdxl_components(), add_watermarker=False))


def refiner() -> Any:
    return quiet(StableDiffusionXLImg2ImgPipeline(**sdxl_components(), add_watermarker=False))


def stable_diffusion_3() -> Any:
    tokenizer = parts.clip_tokenizer()
    t5_tokenizer = parts.t5_tokenizer()
    torch.manual_seed(6)
    transformer = SD3Transformer2DModel(
        sample_size=32,
        patch_size=2,
        in_channels=4,
        out_channels=4,
        num_layers=1,
        attention_head_dim=8,
        num_attention_heads=4,
        joint_attention_dim=parts.WIDTH * 2,
        caption_projection_dim=32,
        pooled_projection_dim=parts.WIDTH * 2,
    )
    return quiet(
        StableDiffusion3Pipeline(
            transformer=transformer.eval(),
            scheduler=FlowMatchEulerDiscreteScheduler(),
            vae=parts.vae(shift_factor=0.06, scaling_factor=1.5),
            text_encoder=parts.clip(tokenizer, projected=True),
            tokenizer=tokenizer,
            text_encoder_2=parts.clip(tokenizer, projected=True),
            tokenizer_2=parts.clip_tokenizer(),
            text_encoder_3=parts.t5(t5_tokenizer, 2 * parts.WIDTH),
            tokenizer_3=t5_tokenizer,
        )
    )


def flux() -> Any:
    tokenizer, t5_tokenizer = parts.clip_tokenizer(), parts.t5_tokenizer()
    torch.manual_seed(7)
    transformer = FluxTransformer2DModel(
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=parts.WIDTH,
        pooled_projection_dim=parts.WIDTH,
        axes_dims_rope=(4, 4, 8),
    )
    return quiet(
        FluxPipeline(
            scheduler=FlowMatchEulerDiscreteScheduler(),
            vae=parts.vae(shift_factor=0.06, scaling_factor=1.5, use_quant_conv=False, use_post_quant_conv=False),
            text_encoder=parts.clip(tokenizer),
            tokenizer=tokenizer,
            text_encoder_2=parts.t5(t5_tokenizer),
            tokenizer_2=t5_tokenizer,
            transformer=transformer.eval(),
        )
    )


def pixart() -> Any:
    tokenizer = parts.t5_tokenizer()
    torch.manual_seed(8)
    transformer = PixArtTransformer2DModel(
        sample_size=32,
        num_layers=1,
        patch_size=2,
        attention_head_dim=8,
        num_attention_heads=2,
        caption_channels=parts.WIDTH,
        in_channels=4,
        cross_attention_dim=16,
        out_channels=8,
        attention_bias=True,
        norm_num_groups=8,
    )
    return quiet(
        PixArtAlphaPipeline(
            tokenizer=tokenizer,
            text_encoder=parts.t5(tokenizer),
            vae=parts.vae(),
            transformer=transformer.eval(),
            scheduler=DPMSolverMultistepScheduler(),
        )
    )


def deepfloyd_if() -> Any:
    """Works on pixels; the UNet also predicts a variance."""
    tokenizer = parts.t5_tokenizer()
    return quiet(
        IFPipeline(
            tokenizer=tokenizer,
            text_encoder=parts.t5(tokenizer),
            unet=parts.unet(in_channels=3, out_channels=6, sample_size=64, act_fn="gelu"),
            scheduler=DDPMScheduler(thresholding=True, variance_type="learned_range"),
            safety_checker=None,
            feature_extractor=None,
            watermarker=None,
            requires_safety_checker=False,
        )
    )


def unconditional() -> Any:
    torch.manual_seed(9)
    unet = UNet2DModel(
        sample_size=64,
        block_out_channels=(4, 8),
        norm_num_groups=2,
        layers_per_block=1,
        down_block_types=("DownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "UpBlock2D"),
    )
    return quiet(DDIMPipeline(unet=unet.eval(), scheduler=DDIMScheduler()))


def animatediff() -> Any:
    torch.manual_seed(10)
    adapter = MotionAdapter(
        block_out_channels=(8, 16),
        motion_layers_per_block=1,
        motion_norm_num_groups=2,
        motion_num_attention_heads=2,
    )
    tokenizer = parts.clip_tokenizer()
    return quiet(
        AnimateDiffPipeline(
            vae=parts.vae(),
            text_encoder=parts.clip(tokenizer),
            tokenizer=tokenizer,
            unet=parts.unet(),
            motion_adapter=adapter.eval(),
            scheduler=DDIMScheduler(clip_sample=False, set_alpha_to_one=False, steps_offset=1, beta_schedule="linear"),
        )
    )
