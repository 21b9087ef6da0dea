"""Every runtime passes the embedder contract; torch and ONNX Runtime agree on the same weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from guard.embedders.architectures import register_architecture
from guard.embedders.base import Embedder
from guard.embedders.ort import OrtEmbedder
from guard.embedders.pdq import PdqEmbedder
from guard.embedders.registry import load_embedder
from guard.embedders.shipped import load_shipped
from guard.embedders.torch_loaders import from_state_dict, from_torchscript
from guard.pixels import to_batch
from tests.contract.embedder import EmbedderContract
from tests.support.tiny_models import SHA, TinyNet, onnx_file, preparation, script_file
from tests.support.toys import picture

register_architecture("tests-tiny", "tests.support.tiny_models:TinyNet")


class TestPdq(EmbedderContract):
    form_tolerance = 2 * 8 / 256  # 8 bits
    tensors_stay = False

    def build(self, tmp_path: Path) -> Embedder:
        return PdqEmbedder()


class TestOnnxRuntime(EmbedderContract):
    def build(self, tmp_path: Path) -> Embedder:
        return OrtEmbedder(onnx_file(tmp_path / "tiny.onnx", preprocessing=str(preparation)), max_batch=3, threads=1)


class TestTorchScript(EmbedderContract):
    def build(self, tmp_path: Path) -> Embedder:
        return from_torchscript(script_file(tmp_path / "tiny.pt"), preprocessing=preparation, max_batch=3)


class TestTorchStateDict(EmbedderContract):
    def build(self, tmp_path: Path) -> Embedder:
        save_file(TinyNet().state_dict(), tmp_path / "tiny.safetensors")
        return from_state_dict(tmp_path / "tiny.safetensors", architecture="tests-tiny", preprocessing=str(preparation))


class TestTorchBfloat16(EmbedderContract):
    form_tolerance = 5e-3
    batch_tolerance = 1e-2  # the bits that a product keeps depend on how its rows are blocked

    def build(self, tmp_path: Path) -> Embedder:
        return from_torchscript(script_file(tmp_path / "tiny.pt"), preprocessing=preparation, dtype="bfloat16")


class TestShippedOnOnnxRuntime(EmbedderContract):
    def build(self, tmp_path: Path) -> Embedder:
        return load_shipped(runtime="onnx", threads=1)


class TestShippedOnTorch(EmbedderContract):
    def build(self, tmp_path: Path) -> Embedder:
        return load_shipped(runtime="torch")


def test_torch_and_onnx_agree_and_share_their_identity(tmp_path: Path) -> None:
    script = script_file(tmp_path / "tiny.pt")
    of_torch = from_torchscript(script, preprocessing=preparation)
    metadata = {"preprocessing": str(preparation), "name": "tiny", "weights_sha256": of_torch.spec.weights_sha256}
    of_onnx = load_embedder(f"onnx:{onnx_file(tmp_path / 'x.onnx', **metadata)}")
    assert of_torch.spec.identity() == of_onnx.spec.identity()
    assert of_onnx.spec.weights_sha256 != SHA
    pictures = [picture(seed) for seed in range(6)]
    tensor = torch.rand(3, 3, 50, 70)
    np.testing.assert_allclose(of_torch.embed(to_batch(pictures)), of_onnx.embed(to_batch(pictures)), atol=1e-5)
    np.testing.assert_allclose(of_torch.embed(to_batch(tensor)), of_onnx.embed(to_batch(tensor)), atol=1e-5)
