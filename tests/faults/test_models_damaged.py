"""Weights and networks that are damaged, do not fit or return nonsense: refused by name, never a descriptor."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper
from safetensors.torch import save_file
from torch import nn

from guard.embedders.ort import OrtEmbedder
from guard.embedders.preprocess import Preprocessing
from guard.embedders.torch import TorchEmbedder
from guard.embedders.torch_loaders import from_state_dict, from_torchscript, from_transformers
from guard.errors import CheckError, ConfigError
from guard.pixels import to_batch
from tests.support.tiny_models import SIZE, TinyNet, constant_onnx, onnx_file, onnx_model, preparation, script_file
from tests.support.toys import picture

TEXT = str(preparation)
FORMS = [picture(1), torch.rand(2, 3, 40, 40)]


@pytest.mark.parametrize("form", FORMS, ids=["array", "tensor"])
@pytest.mark.parametrize(("value", "reason"), [(math.nan, "not_finite"), (math.inf, "not_finite"), (0.0, "zero_norm")])
def test_onnx_nonsense_is_a_failed_check(tmp_path: Path, form: object, value: float, reason: str) -> None:
    embedder = OrtEmbedder(constant_onnx(tmp_path / "c.onnx", value), preprocessing=TEXT)
    with pytest.raises(CheckError) as caught:
        embedder.embed(to_batch(form))
    assert (caught.value.stage, caught.value.reason) == ("embed", reason)


@pytest.mark.parametrize("form", FORMS, ids=["array", "tensor"])
@pytest.mark.parametrize(("value", "reason"), [(math.nan, "not_finite"), (math.inf, "not_finite"), (0.0, "zero_norm")])
def test_torch_nonsense_is_a_failed_check(form: object, value: float, reason: str) -> None:
    net = TinyNet()
    net.fc.weight.data.fill_(value)
    embedder = TorchEmbedder(net, name="x", preprocessing=preparation, weights_sha256="")
    with pytest.raises(CheckError) as caught:
        embedder.embed(to_batch(form))
    assert (caught.value.stage, caught.value.reason) == ("embed", reason)


@pytest.mark.parametrize("kept", [0, 1, 64, 400])
def test_truncated_onnx(tmp_path: Path, kept: int) -> None:
    path = onnx_file(tmp_path / "t.onnx")
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ConfigError, match=r"t\.onnx"):
        OrtEmbedder(path, preprocessing=TEXT)


def test_absent_onnx(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no ONNX file"):
        OrtEmbedder(tmp_path / "none.onnx", preprocessing=TEXT)


def test_onnx_without_preprocessing_shows_how_to_give_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"preprocessing=.*squash:288.*memguard_preprocessing"):
        OrtEmbedder(onnx_file(tmp_path / "t.onnx"))


@pytest.mark.parametrize(
    ("shape", "text"),
    [
        (("n", 1, SIZE, SIZE), "needed"),
        ((4, 3, SIZE, SIZE), "fixed at 4"),
    ],
)
def test_onnx_inputs_that_do_not_fit(tmp_path: Path, shape: tuple[object, ...], text: str) -> None:
    model = onnx_model()
    model.graph.input[0].CopyFrom(helper.make_tensor_value_info("image", TensorProto.FLOAT, list(shape)))
    del model.graph.output[0].type.tensor_type.shape.dim[:]
    with pytest.raises(ConfigError, match=text):
        OrtEmbedder(write(tmp_path / "t.onnx", model), preprocessing=TEXT)


def test_preprocessing_of_another_size_than_the_network(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"has shape \['n', 3, 32, 32\]; needed: \(n, 3, 64, 64\)"):
        OrtEmbedder(onnx_file(tmp_path / "t.onnx"), preprocessing=Preprocessing(64))


def test_onnx_input_of_another_type_or_number(tmp_path: Path) -> None:
    inputs = [helper.make_tensor_value_info("image", TensorProto.INT64, ["n", 3, SIZE, SIZE])]
    output = helper.make_tensor_value_info("o", TensorProto.INT64, None)
    graph = helper.make_graph([helper.make_node("Identity", ["image"], ["o"])], "g", inputs, [output])
    with pytest.raises(ConfigError, match="int64"):
        OrtEmbedder(write(tmp_path / "i.onnx", made(graph)), preprocessing=TEXT)
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 3, SIZE, SIZE]) for name in "ab"]
    output = helper.make_tensor_value_info("o", TensorProto.FLOAT, None)
    graph = helper.make_graph([helper.make_node("Add", ["a", "b"], ["o"])], "g", inputs, [output])
    with pytest.raises(ConfigError, match="2 inputs"):
        OrtEmbedder(write(tmp_path / "two.onnx", made(graph)), preprocessing=TEXT)


def test_onnx_output_of_another_shape_or_name(tmp_path: Path) -> None:
    inputs = [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 3, SIZE, SIZE])]
    output = helper.make_tensor_value_info("o", TensorProto.FLOAT, None)
    graph = helper.make_graph([helper.make_node("Relu", ["image"], ["o"])], "g", inputs, [output])
    path = write(tmp_path / "map.onnx", made(graph))
    with pytest.raises(ConfigError, match=r"needed: \(n, dim\)"):
        OrtEmbedder(path, preprocessing=TEXT)
    with pytest.raises(ConfigError, match="no output 'descriptor'; it has o"):
        OrtEmbedder(path, preprocessing=TEXT, output="descriptor")


@pytest.mark.parametrize("provider", ["cuda", "tensorrt"])
def test_a_gpu_provider_that_cannot_be_had_is_an_error(tmp_path: Path, provider: str) -> None:
    path = onnx_file(tmp_path / "t.onnx", preprocessing=TEXT)
    if torch.cuda.is_available() and "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this machine can run the provider")
    with pytest.raises(ConfigError, match=rf"provider '{provider}' was asked for.*'gpu'"):
        OrtEmbedder(path, provider=provider)  # type: ignore[arg-type]


def test_providers_and_devices_that_do_not_exist(tmp_path: Path) -> None:
    path = onnx_file(tmp_path / "t.onnx", preprocessing=TEXT)
    with pytest.raises(ConfigError, match="cpu, cuda, tensorrt"):
        OrtEmbedder(path, provider="rocm")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="device 'tpu'"):
        OrtEmbedder(path, device="tpu")
    with pytest.raises(ConfigError, match="does not run on device"):
        OrtEmbedder(path, provider="cpu", device="cuda:0")
    with pytest.raises(ConfigError, match="max_batch"):
        OrtEmbedder(path, max_batch=0)
    for device in ("spaceship", *([] if torch.cuda.is_available() else ["cuda"])):
        with pytest.raises(ConfigError, match=f"device '{device}'"):
            TorchEmbedder(TinyNet(), name="x", preprocessing=preparation, weights_sha256="", device=device)


@pytest.mark.parametrize("kept", [0, 1, 64, 2000])
def test_truncated_torch_files(tmp_path: Path, kept: int) -> None:
    script = script_file(tmp_path / "t.pt")
    script.write_bytes(script.read_bytes()[:kept])
    with pytest.raises(ConfigError, match=r"t\.pt"):
        from_torchscript(script, preprocessing=preparation)
    save_file(copynce_like(), tmp_path / "t.safetensors")
    path = tmp_path / "t.safetensors"
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ConfigError, match=r"t\.safetensors"):
        from_state_dict(path, architecture="copynce_vit", preprocessing=preparation)


def test_a_checksum_that_does_not_match_is_refused_before_the_file_is_opened(tmp_path: Path) -> None:
    (tmp_path / "evil.pt").write_bytes(b"not opened")
    with pytest.raises(ConfigError, match="expected 1111"):
        from_torchscript(tmp_path / "evil.pt", preprocessing=preparation, expected_sha256="1" * 64)
    with pytest.raises(ConfigError, match="no weights"):
        from_torchscript(tmp_path / "absent.pt", preprocessing=preparation)


class Bomb:
    def __reduce__(self) -> tuple[object, ...]:
        return (exec, ("raise SystemExit('the pickle was executed')",))


def test_a_pickle_is_not_executed(tmp_path: Path) -> None:
    torch.save({"model": Bomb()}, tmp_path / "bomb.pth")
    with pytest.raises(ConfigError, match=r"bomb\.pth"):
        from_state_dict(tmp_path / "bomb.pth", architecture="copynce_vit", preprocessing=preparation)


def test_weights_that_do_not_fit_are_listed(tmp_path: Path) -> None:
    weights = copynce_like()
    del weights["encoder.cls_token"]
    save_file({**weights, "left_over": torch.zeros(1)}, tmp_path / "w.safetensors")
    with pytest.raises(ConfigError, match=r"missing .*cls_token.*unexpected 1 \(left_over\)"):
        from_state_dict(tmp_path / "w.safetensors", architecture="copynce_vit", preprocessing=preparation, config=SMALL)
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(ConfigError, match="not a state dict"):
        from_state_dict(tmp_path / "list.pth", architecture="copynce_vit", preprocessing=preparation)


def test_modules_whose_output_is_no_descriptor() -> None:
    for module in (nn.Identity(), nn.Sequential(nn.Flatten(0), nn.LazyLinear(3))):
        with pytest.raises(ConfigError, match=r"needed: \(2, dim\)"):
            TorchEmbedder(module, name="x", preprocessing=preparation, weights_sha256="")
    with pytest.raises(ConfigError, match="cannot run on"):
        TorchEmbedder(nn.Linear(5, 5), name="x", preprocessing=preparation, weights_sha256="")
    with pytest.raises(ConfigError, match="float32, float16, bfloat16"):
        TorchEmbedder(TinyNet(), name="x", preprocessing=preparation, weights_sha256="", dtype="int8")  # type: ignore[arg-type]


def test_a_folder_that_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"config\.json"):
        from_transformers(tmp_path, preprocessing=preparation)
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    save_file({"x": torch.zeros(1)}, tmp_path / "model.safetensors")
    with pytest.raises(ConfigError, match=r"'bert'.*clip.*dinov2"):
        from_transformers(tmp_path, preprocessing=preparation)


def test_a_runtime_failure_is_a_failed_check(tmp_path: Path) -> None:
    """A row of the wrong size for the graph's Reshape: an error of the runtime itself, at run time."""
    model = onnx_model()
    target = onnx.numpy_helper.from_array(np.array([1, 96], np.int64), "one_row")
    model.graph.initializer.append(target)
    model.graph.node[2].CopyFrom(helper.make_node("Reshape", ["r", "one_row"], ["f"]))
    embedder = OrtEmbedder(onnx_file(tmp_path / "r.onnx", model), preprocessing=TEXT)
    assert embedder.embed(to_batch(picture(1))).shape == (1, 8)
    for form in ([picture(1), picture(2)], torch.rand(2, 3, 40, 40)):
        with pytest.raises(CheckError, match="ONNX Runtime failed") as caught:
            embedder.embed(to_batch(form))
        assert caught.value.stage == "embed"


SMALL = {"image_size": SIZE, "patch_size": 8, "width": 12, "depth": 1, "heads": 2, "dim": 6}


def copynce_like() -> dict[str, torch.Tensor]:
    from guard.embedders.copynce import copynce_vit

    return copynce_vit(**SMALL).state_dict()


def made(graph: onnx.GraphProto) -> onnx.ModelProto:
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)


def write(path: Path, model: onnx.ModelProto) -> Path:
    path.write_bytes(model.SerializeToString())
    return path
