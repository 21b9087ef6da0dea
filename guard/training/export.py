"""Trained weights -> safetensors and ONNX with one identity. Knows both formats; nothing about training.

Both files hold the same float16 convolutions and compute in float32. The ONNX graph is written node by node: torch's
exporters are either deprecated or need a package more, and neither keeps weights in half the space. It holds the
kernels of one position: their eight positions and the normalisation are constant nodes, which ONNX Runtime works out
when it opens the file.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from guard.embedders.files import sha256_of
from guard.embedders.ort import METADATA_NAME, METADATA_PREPROCESSING, METADATA_SHA256
from guard.embedders.preprocess import Preprocessing
from guard.embedders.views import CROPS
from guard.errors import CheckError, ConfigError, MissingExtraError
from guard.training.config import NetworkConfig
from guard.training.dihedral import INSIDE, ORDER, GroupConv, GroupNorm2d, LiftingConv
from guard.training.network import FLOOR, STEM_STRIDE, Block, DescriptorNet, WindowNet, window_shares

__all__ = ["Exported", "export", "load_network", "preprocessing_for", "read_weights"]

FORMAT, METADATA = "memguard-descriptor-1", "memguard"
OPSET = 17
TOLERANCE = 1e-3  # largest difference of a value between both runtimes, inclusive


@dataclass(frozen=True, slots=True)
class Exported:
    safetensors: Path
    onnx: Path
    windows: Path
    """The same network as WindowNet, ONNX alone."""
    weights_sha256: str
    difference: float
    """Largest between both runtimes over the test pictures."""


def preprocessing_for(size: int) -> Preprocessing:
    return Preprocessing(size, "squash", None, "bilinear", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def export(network: DescriptorNet, folder: Path, *, name: str, size: int, windows_size: int) -> Exported:
    """Write NAME.safetensors, NAME.onnx and NAME.windows.onnx, and compare them on random pictures, 1 and 5 together.

    Raises CheckError(stage="embed") if they differ by more than TOLERANCE: then neither file may be used.
    """
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    weights, graph, windows = (folder / f"{name}.{suffix}" for suffix in ("safetensors", "onnx", "windows.onnx"))
    preprocessing = preprocessing_for(size)
    state = {
        key: _stored(value) for key, value in network.state_dict().items() if not key.endswith("num_batches_tracked")
    }
    metadata = {
        "format": FORMAT,
        "network": network.config.model_dump_json(),
        METADATA_NAME: name,
        METADATA_PREPROCESSING: str(preprocessing),
    }
    # one entry: several would be written in random order, and the checksum would change from export to export
    save_file(state, weights, metadata={METADATA: json.dumps(metadata, sort_keys=True)})
    weights.chmod(0o644)  # written for the owner alone, and a wheel keeps that
    sha256 = sha256_of(weights)
    read = load_network(weights)
    graph.write_bytes(_onnx_bytes(read, size, {**metadata, METADATA_SHA256: sha256}))
    larger = {METADATA_PREPROCESSING: str(preprocessing_for(windows_size)), METADATA_SHA256: sha256}
    windowed = load_network(weights, WindowNet)
    windows.write_bytes(_onnx_bytes(windowed, windows_size, {**metadata, **larger}))
    difference = max(_difference(read, graph, size), _difference(windowed, windows, windows_size))
    if not difference <= TOLERANCE:
        raise CheckError(f"torch and ONNX Runtime differ by {difference:.2g}", stage="embed", reason="export_differs")
    return Exported(weights, graph, windows, sha256, difference)


def read_weights(path: Path) -> tuple[dict[str, Tensor], NetworkConfig, dict[str, str]]:
    """float32 state, shape of the network, and all metadata. Raises ConfigError for a file of another format."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            metadata: dict[str, str] = json.loads((file.metadata() or {}).get(METADATA, "{}"))
            if metadata.get("format") != FORMAT:
                raise ConfigError(
                    f"{path.name} is not a descriptor of this package (format {metadata.get('format')!r})"
                )
            read = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - it is no dict
            state = {key: value.float() for key, value in read.items()}
    except (OSError, SafetensorError) as exc:
        raise ConfigError(f"cannot read the weights {path.name}: {exc}") from exc
    return state, NetworkConfig(**json.loads(metadata["network"])), metadata


def load_network(path: Path, kind: type[DescriptorNet] = DescriptorNet) -> DescriptorNet:
    """The network of a safetensors file, in float32, in evaluation mode."""
    state, config, _ = read_weights(path)
    network = kind(config)
    missing, unexpected = network.load_state_dict(state, strict=False)
    if missing or unexpected:
        raise ConfigError(f"{path.name} does not fit its own network: {', '.join([*missing, *unexpected][:3])}")
    return network.eval()


def _stored(value: Tensor) -> Tensor:
    """Matrices and kernels in half precision; the few vectors in full."""
    return value.detach().cpu().to(torch.float16 if value.ndim > 1 else torch.float32).contiguous()


class _Graph:
    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def constant(self, value: npt.NDArray[Any]) -> str:
        from onnx import numpy_helper

        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def add(self, kind: str, *inputs: str, **attributes: Any) -> str:
        from onnx import helper

        name = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def matrix(self, value: Tensor) -> str:
        """A float16 constant, widened."""
        return self.add("Cast", self.constant(value.detach().numpy().astype(np.float16)), to=1)  # 1: float32

    def convolution(self, x: str, conv: LiftingConv | GroupConv, norm: GroupNorm2d) -> str:
        """With its normalisation: w' = w * s, b' = beta - mean * s, s = gamma / sqrt(var + eps)."""
        mean, variance = norm.statistics()
        scale = norm.weight.repeat(ORDER) / torch.sqrt(variance + norm.EPS)
        bias = norm.bias.repeat(ORDER) - mean * scale
        kernel = self.add("Mul", self.expanded(conv), self.constant(_column(scale).numpy()))
        side, stride, pad = conv.weight.shape[-1], conv.stride, conv.padding
        return self.add(
            "Conv", x, kernel, self.constant(bias.detach().numpy()),
            kernel_shape=[side, side], strides=[stride, stride], pads=[pad] * 4,
        )  # fmt: skip

    def expanded(self, conv: LiftingConv | GroupConv) -> str:
        """What conv.expanded() gives, made of the kernel of one position."""
        fields, channels, side, _ = conv.weight.shape
        if isinstance(conv, LiftingConv):
            kernel = self.matrix(conv.weight)
            return self.add("Concat", *(self.acted(kernel, g, 4) for g in range(ORDER)), axis=0)
        kernel = self.matrix(conv.weight.view(fields, ORDER, -1, side, side))
        inside = [self.add("Gather", kernel, self.integers(*row), axis=1) for row in INSIDE.tolist()]
        laid = self.add("Concat", *(self.acted(x, g, 5) for g, x in enumerate(inside)), axis=0)
        return self.add("Reshape", laid, self.integers(ORDER * fields, channels, side, side))

    def acted(self, x: str, element: int, rank: int) -> str:
        """As guard.training.dihedral.acted, for so many dimensions: each turn is flips and perhaps a transposition."""
        flips = (set[int](), {-1}, {-1, -2}, {-2})[element % 4] ^ ({-1} if element >= 4 else set())
        if flips:
            back, end = [-1] * len(flips), [np.iinfo(np.int64).min] * len(flips)
            x = self.add("Slice", x, *(self.integers(*values) for values in (back, end, sorted(flips), back)))
        if element % 2:
            x = self.add("Transpose", x, perm=[*range(rank - 2), rank - 1, rank - 2])
        return x

    def integers(self, *values: int) -> str:
        return self.constant(np.array(values, np.int64))

    def block(self, x: str, block: Block) -> str:
        y = self.add("Relu", self.convolution(x, block.conv1, block.norm1))
        y = self.convolution(y, block.conv2, block.norm2)
        if block.shortcut is not None and block.shortcut_norm is not None:
            if block.stride > 1:
                x = self.add("AveragePool", x, kernel_shape=[block.stride] * 2, strides=[block.stride] * 2)
            x = self.convolution(x, block.shortcut, block.shortcut_norm)
        return self.add("Relu", self.add("Add", y, x))

    def generalised_mean(self, x: str, fields: int) -> str:
        """As guard.training.network does: cubes, their mean over places and group, the root. (n, fields)."""
        means = self.add("GlobalAveragePool", self.add("Mul", self.add("Mul", x, x), x))
        positions = self.add("Reshape", means, self.integers(0, ORDER, fields))
        return self.root(self.add("ReduceMean", positions, axes=[1], keepdims=0))

    def means_of_windows(self, x: str, fields: int, side: int) -> str:
        """As WindowNet does, of maps with so many cells along a side: (n, windows, fields)."""
        cubes = self.add("Mul", self.add("Mul", x, x), x)
        positions = self.add("Reshape", cubes, self.integers(0, ORDER, fields, side * side))
        mean = self.add("ReduceMean", positions, axes=[1], keepdims=0)
        shares = self.constant(window_shares(torch.tensor(CROPS), side, side).T.numpy())
        return self.add("Transpose", self.root(self.add("MatMul", mean, shares)), perm=[0, 2, 1])

    def root(self, cubes: str) -> str:
        floored = self.add("Max", cubes, self.constant(np.array(FLOOR, np.float32)))
        return self.add("Pow", floored, self.constant(np.array(1 / 3, np.float32)))


def _column(values: Tensor) -> Tensor:
    return values.detach().reshape(-1, 1, 1, 1)


def _onnx_bytes(network: DescriptorNet, size: int, metadata: dict[str, str]) -> bytes:
    try:
        import onnx
        from onnx import helper
    except ImportError as exc:
        raise MissingExtraError("the export of a descriptor", extra="train") from exc
    graph, windowed = _Graph(), isinstance(network, WindowNet)
    x, side = graph.add("Relu", graph.convolution("image", network.stem, network.stem_norm)), size // STEM_STRIDE
    pooled, first = [], len(network.stages) - 2
    for i, stage in enumerate(network.stages):
        assert isinstance(stage, nn.Sequential)
        side //= 2
        for block in stage:
            assert isinstance(block, Block)
            x = graph.block(x, block)
        if i >= first:
            spread, norm = network.spread[i - first], network.spread_norm[i - first]
            assert isinstance(spread, GroupConv)
            assert isinstance(norm, GroupNorm2d)
            maps, fields = graph.add("Relu", graph.convolution(x, spread, norm)), network.config.pooled[i - first]
            pooled.append(
                graph.means_of_windows(maps, fields, side) if windowed else graph.generalised_mean(maps, fields)
            )
    joined = graph.add("Concat", *pooled, axis=-1)
    bias, last = graph.constant(network.head.bias.detach().numpy()), graph.matrix(network.head.weight.T)
    raw = graph.add("Add", graph.add("MatMul", joined, last), bias)
    unit, dim = graph.add("LpNormalization", raw, axis=-1, p=2), network.config.dim * (len(CROPS) if windowed else 1)
    answer = helper.make_node("Reshape", [unit, graph.integers(0, dim)], ["descriptor"])
    model = helper.make_model(
        helper.make_graph(
            [*graph.nodes, answer],
            "descriptor",
            [helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, ["n", 3, size, size])],
            [helper.make_tensor_value_info("descriptor", onnx.TensorProto.FLOAT, ["n", dim])],
            graph.constants,
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=8,
        producer_name="memorization-guard",
    )
    helper.set_model_props(model, metadata)
    onnx.checker.check_model(model, full_check=True)
    written: bytes = model.SerializeToString()
    return written


def _difference(network: DescriptorNet, graph: Path, size: int) -> float:
    try:
        import onnxruntime
    except ImportError as exc:
        raise MissingExtraError("comparing the export with torch", extra="cpu") from exc
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
    largest = 0.0
    for count in (1, 5):
        pictures = np.random.default_rng(count).uniform(-1, 1, (count, 3, size, size)).astype(np.float32)
        pictures *= np.linspace(0.05, 1, count, dtype=np.float32).reshape(-1, 1, 1, 1)
        with torch.inference_mode():
            expected = network(torch.from_numpy(pictures)).numpy()
        found = session.run(None, {"image": pictures})[0]
        largest = max(largest, float(np.abs(found - expected).max()))
    return largest
