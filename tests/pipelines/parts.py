"""The parts of tiny pipelines: tokenizers, text encoders, autoencoders, denoisers. Seeded; a few kB each."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import AutoencoderKL, ControlNetModel, UNet2DConditionModel
from tokenizers import pre_tokenizers
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    T5Config,
    T5EncoderModel,
    T5Tokenizer,
)

__all__ = ["clip", "clip_tokenizer", "controlnet", "t5", "t5_tokenizer", "unet", "vae"]

WIDTH = 32  # of text embeddings
TOKENS = 16


def clip_tokenizer() -> CLIPTokenizer:
    """Every byte is a token; no merges."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = [*letters, *(letter + "</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(vocab={w: i for i, w in enumerate(words)}, merges=[], model_max_length=TOKENS)


def t5_tokenizer() -> T5Tokenizer:
    """Unigrams of single letters."""
    letters = [(chr(c), -3.0) for c in range(ord("a"), ord("z") + 1)]
    vocab = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0), *letters]
    return T5Tokenizer(vocab=vocab, extra_ids=0, model_max_length=TOKENS)


def clip(tokenizer: CLIPTokenizer, *, projected: bool = False) -> Any:
    torch.manual_seed(1)
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        intermediate_size=WIDTH,
        num_attention_heads=4,
        num_hidden_layers=2,
        max_position_embeddings=TOKENS,
        projection_dim=WIDTH,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    return (CLIPTextModelWithProjection if projected else CLIPTextModel)(config).eval()


def t5(tokenizer: T5Tokenizer, width: int = WIDTH) -> T5EncoderModel:
    torch.manual_seed(2)
    return T5EncoderModel(
        T5Config(vocab_size=len(tokenizer), d_model=width, d_kv=8, d_ff=WIDTH, num_layers=1, num_heads=4)
    ).eval()


def vae(latent_channels: int = 4, **config: Any) -> AutoencoderKL:
    """Scale factor 2: 32 x 32 latents are 64 x 64 px."""
    torch.manual_seed(3)
    return AutoencoderKL(
        block_out_channels=(8, 8),
        layers_per_block=1,
        norm_num_groups=4,
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=latent_channels,
        sample_size=64,
        **config,
    ).eval()


_UNET = {
    "block_out_channels": (8, 16),
    "norm_num_groups": 4,
    "layers_per_block": 1,
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
    "attention_head_dim": 4,
}
XL: dict[str, Any] = {
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 4,
    "cross_attention_dim": 2 * WIDTH,
}


def unet(cross_attention_dim: int = WIDTH, **config: Any) -> UNet2DConditionModel:
    torch.manual_seed(4)
    return UNet2DConditionModel(
        **{
            **_UNET,
            "sample_size": 32,
            "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
            "cross_attention_dim": cross_attention_dim,
            **config,
        }
    ).eval()


def controlnet() -> ControlNetModel:
    """Its last layers start at zero, as published ones do before training: it changes nothing yet."""
    torch.manual_seed(5)
    return ControlNetModel(**_UNET, cross_attention_dim=WIDTH, conditioning_embedding_out_channels=(4, 8)).eval()
