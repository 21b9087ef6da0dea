"""Text towers: two runtimes of one CLIP agree, and what is no text tower is refused by name."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from guard.embedders.models import fetch_model, model_card
from guard.embedders.words import OrtWords, TransformersWords, WordEmbedder, load_words
from guard.errors import ConfigError
from tests.support.tiny_clip import CAPTIONS, CONTEXT, DIM, clip_folder, onnx_towers
from tests.support.tiny_models import onnx_file

TEXTS = (*CAPTIONS, "fox", "", "é ☃", "a fox and a crow and a hare and an owl at night in the snow " * 9)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = clip_folder(tmp_path_factory.mktemp("clip"))
    onnx_towers(made)
    return made


def test_both_runtimes_give_what_the_whole_model_gives(folder: Path) -> None:
    from transformers import AutoTokenizer, CLIPModel

    model, tokenizer = CLIPModel.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    towers: list[WordEmbedder] = [TransformersWords(folder), OrtWords(folder / "text.onnx")]
    for text in TEXTS:
        tokens = tokenizer([text], truncation=True, max_length=CONTEXT, return_tensors="pt")
        with torch.inference_mode():
            out = model.get_text_features(**tokens)
        wanted = torch.nn.functional.normalize(getattr(out, "pooler_output", out)).numpy()
        for tower in towers:
            np.testing.assert_allclose(tower.embed_words(text), wanted, atol=1e-5)
    assert [tower.dim for tower in towers] == [DIM, DIM]
    assert towers[0].weights_sha256
    assert not towers[1].weights_sha256


def test_a_tower_is_loaded_by_its_name(folder: Path) -> None:
    assert isinstance(load_words(str(folder)), TransformersWords)
    assert isinstance(load_words(f"onnx:{folder / 'text.onnx'}"), OrtWords)


def test_the_tokenizer_may_lie_one_folder_up(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "onnx").mkdir()
    (tmp_path / "onnx" / "text.onnx").write_bytes((folder / "text.onnx").read_bytes())
    with pytest.raises(ConfigError, match=r"tokenizer\.json beside it"):
        OrtWords(tmp_path / "onnx" / "text.onnx")
    (tmp_path / "tokenizer.json").write_bytes((folder / "tokenizer.json").read_bytes())
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"model_max_length": CONTEXT}), encoding="utf-8")
    near = OrtWords(tmp_path / "onnx" / "text.onnx")
    np.testing.assert_array_equal(near.embed_words(TEXTS[-1]), OrtWords(folder / "text.onnx").embed_words(TEXTS[-1]))
    (tmp_path / "tokenizer.json").write_text("{", encoding="utf-8")
    with pytest.raises(ConfigError, match="tokenizer"):
        OrtWords(tmp_path / "onnx" / "text.onnx")


def test_a_clip_of_the_list_brings_its_tokenizer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MEMGUARD_CACHE", str(tmp_path))
    assert {"tokenizer.json", "tokenizer_config.json"} < {f.name for f in model_card("clip-vit-base-patch32").files}
    with pytest.raises(ConfigError, match="memguard models fetch clip-vit-base-patch32"):
        load_words("clip-vit-base-patch32")
    with pytest.raises(ConfigError, match="files"):
        fetch_model("clip-vit-base-patch32", source=tmp_path)


def test_what_is_no_text_tower_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="clip-vit-base-patch32"):
        load_words("unheard-of")
    for name in ("sscd_disc_mixup", "dinov2-small", "procedural"):
        with pytest.raises(ConfigError, match="no text tower"):
            load_words(name)
    with pytest.raises(ConfigError, match=r"config\.json"):
        load_words(str(tmp_path))
    with pytest.raises(ConfigError, match="inputs"):
        OrtWords(folder / "image.onnx")
    (tmp_path / "text.onnx").write_bytes(b"no graph")
    with pytest.raises(ConfigError, match="cannot be opened as ONNX"):
        OrtWords(tmp_path / "text.onnx", tokenizer=folder / "tokenizer.json")
    with pytest.raises(ConfigError, match="inputs"):
        OrtWords(onnx_file(tmp_path / "tiny.onnx"), tokenizer=folder / "tokenizer.json")
