"""A real CLIP of a few hundred kB, made on the spot: both towers, a trained tokenizer, and ONNX files of them."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import nn

from guard.embedders.preprocess import CLIP_MEAN, CLIP_STD, Preprocessing

__all__ = ["CAPTIONS", "DIM", "PREPROCESSING", "clip_folder", "onnx_towers"]

DIM, SIDE, CONTEXT = 16, 32, 12
PREPROCESSING = Preprocessing(SIDE, "shorter_side", None, "bicubic", CLIP_MEAN, CLIP_STD)
CAPTIONS = ("a red fox", "a blue crow", "a hare in the snow", "an owl at night")


def clip_folder(folder: Path) -> Path:
    """config.json, model.safetensors and the tokenizer, as a published CLIP has them."""
    from transformers import CLIPConfig, CLIPModel, CLIPTextConfig, CLIPVisionConfig

    tokenizer = _tokenizer()
    torch.manual_seed(0)
    small: dict[str, Any] = {
        "hidden_size": 32,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "projection_dim": DIM,
    }
    end = tokenizer.convert_tokens_to_ids(tokenizer.eos_token)
    text = CLIPTextConfig(
        vocab_size=len(tokenizer), max_position_embeddings=CONTEXT, eos_token_id=end, pad_token_id=end, **small
    )
    vision = CLIPVisionConfig(image_size=SIDE, patch_size=8, **small)
    config = CLIPConfig(text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=DIM)
    CLIPModel(config).eval().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def onnx_towers(folder: Path) -> tuple[Path, Path]:
    """Export image.onnx and text.onnx of the model in folder, beside its tokenizer.json."""
    from transformers import CLIPTextModelWithProjection, CLIPVisionModelWithProjection

    image = CLIPVisionModelWithProjection.from_pretrained(folder, attn_implementation="eager").eval()
    text = CLIPTextModelWithProjection.from_pretrained(folder, attn_implementation="eager").eval()
    files = folder / "image.onnx", folder / "text.onnx"
    _export(_Take(image, "image_embeds"), torch.rand(2, 3, SIDE, SIDE), files[0], "image", {0: "n"})
    _export(_Take(text, "text_embeds"), torch.ones(1, 5, dtype=torch.long), files[1], "input_ids", {1: "tokens"})
    return files


class _Take(nn.Module):
    def __init__(self, model: nn.Module, name: str) -> None:
        super().__init__()
        self.model, self.name = model, name

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return getattr(self.model(x), self.name)


def _export(module: nn.Module, example: torch.Tensor, path: Path, name: str, axes: dict[int, str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter of traced graphs is deprecated, and needs no further package
        torch.onnx.export(
            module, (example,), str(path), input_names=[name], output_names=["descriptor"],
            dynamic_axes={name: axes}, dynamo=False,
        )  # fmt: skip


def _tokenizer() -> Any:
    from tokenizers import pre_tokenizers, trainers
    from transformers import CLIPTokenizer

    plain = CLIPTokenizer()
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=list(dict.fromkeys([plain.bos_token, plain.eos_token])),
        end_of_word_suffix="</w>",
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend = plain.backend_tokenizer
    backend.train_from_iterator(list(CAPTIONS), trainer)
    model = json.loads(backend.to_str())["model"]
    merges = [tuple(merge) for merge in model["merges"]]
    return CLIPTokenizer(vocab=model["vocab"], merges=merges, model_max_length=CONTEXT)
