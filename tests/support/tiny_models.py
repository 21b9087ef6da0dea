"""Real networks of a few kB, made on the spot: one set of weights as an ONNX file and as TorchScript."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from guard.embedders.preprocess import Preprocessing

__all__ = [
    "DIM",
    "SIZE",
    "SSCD_LIKE_DIM",
    "SscdLike",
    "TinyNet",
    "onnx_file",
    "onnx_model",
    "preparation",
    "script_file",
]

SIZE, DIM, SSCD_LIKE_DIM = 32, 8, 512
SHA = "ab" * 32  # stands for the checksum of the weights that both files were made from
preparation = Preprocessing(SIZE)


class TinyNet(nn.Module):
    """One convolution, relu, mean over the picture, one matrix: enough to tell pictures apart."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.conv = nn.Conv2d(3, 6, 8, stride=8, bias=False)
        self.fc = nn.Linear(6 * 16, DIM, bias=False)
        for parameter in self.parameters():
            parameter.data = torch.randn(parameter.shape, generator=generator) * 0.1

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(torch.relu(self.conv(x)).flatten(1))


class SscdLike(nn.Module):
    """The interface of SSCD's TorchScript files: residual convolutions, GeM pooling, a linear map, L2 norm."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Conv2d(3, 16, 7, stride=4, padding=3)
        self.block = nn.Conv2d(16, 16, 3, padding=1)
        self.fc = nn.Linear(16, SSCD_LIKE_DIM)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.stem(x))
        x = torch.relu(x + self.block(x))
        pooled = x.clamp(min=1e-6).pow(3.0).mean(dim=(2, 3)).pow(1.0 / 3.0)
        return nn.functional.normalize(self.fc(pooled))


def script_file(path: Path, net: nn.Module | None = None, size: int = SIZE, *, preprocessing: str = "") -> Path:
    if path.exists():  # two files of one network differ in their bytes
        return path
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit is deprecated; the published files are in that format
        traced = torch.jit.trace(net or TinyNet(), torch.rand(2, 3, size, size))
        torch.jit.save(
            traced, str(path), _extra_files={"memguard_preprocessing": preprocessing} if preprocessing else {}
        )
    return path


def onnx_model(net: TinyNet | None = None, *, shape: tuple[Any, ...] = ("n", 3, SIZE, SIZE)) -> onnx.ModelProto:
    """The graph of TinyNet with its weights."""
    weights = (net or TinyNet()).state_dict()
    nodes = [
        helper.make_node("Conv", ["image", "conv"], ["c"], kernel_shape=[8, 8], strides=[8, 8]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("Flatten", ["r"], ["f"], axis=1),
        helper.make_node("Gemm", ["f", "fc"], ["descriptor"], transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, list(shape))],
        [helper.make_tensor_value_info("descriptor", TensorProto.FLOAT, [shape[0], DIM])],
        [
            numpy_helper.from_array(weights["conv.weight"].numpy(), "conv"),
            numpy_helper.from_array(weights["fc.weight"].numpy(), "fc"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    onnx.checker.check_model(model)
    return model


def onnx_file(path: Path, model: onnx.ModelProto | None = None, **metadata: str) -> Path:
    """Write it with metadata: preprocessing=, name=, weights_sha256= under the keys that the embedder reads."""
    model = model or onnx_model()
    helper.set_model_props(model, {f"memguard_{key}": value for key, value in metadata.items()})
    path.write_bytes(model.SerializeToString())
    return path


def constant_onnx(path: Path, value: float) -> Path:
    """A network whose every output is the given value: NaN, infinity, or zero."""
    model = onnx_model()
    model.graph.initializer[1].CopyFrom(numpy_helper.from_array(np.full((DIM, 6 * 16), value, np.float32), "fc"))
    return onnx_file(path, model)
