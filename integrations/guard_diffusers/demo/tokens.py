"""The demo's tokenizer: a CLIP tokenizer whose words are those of the training captions."""

from __future__ import annotations

import json
from collections.abc import Sequence

import torch
from tokenizers import pre_tokenizers, trainers
from transformers import CLIPTokenizer

__all__ = ["MAX_TOKENS", "build_tokenizer", "token_ids"]

MAX_TOKENS = 16  # a caption has at most 12 words


def build_tokenizer(captions: Sequence[str]) -> CLIPTokenizer:
    """Byte-pair encoding in which every word of the captions ends up as one token."""
    plain = CLIPTokenizer()
    special = list(dict.fromkeys([plain.bos_token, plain.eos_token]))
    trainer = trainers.BpeTrainer(
        vocab_size=4096,
        special_tokens=special,
        end_of_word_suffix="</w>",
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend = plain.backend_tokenizer
    backend.train_from_iterator(sorted(captions), trainer)
    model = json.loads(backend.to_str())["model"]
    merges = [tuple(m) for m in model["merges"]]
    return CLIPTokenizer(vocab=model["vocab"], merges=merges, model_max_length=MAX_TOKENS)


def token_ids(tokenizer: CLIPTokenizer, captions: Sequence[str]) -> torch.Tensor:
    """(n, MAX_TOKENS) int64, as StableDiffusionPipeline.encode_prompt tokenizes."""
    ids: torch.Tensor = tokenizer(
        list(captions), padding="max_length", max_length=MAX_TOKENS, truncation=True, return_tensors="pt"
    ).input_ids
    return ids
