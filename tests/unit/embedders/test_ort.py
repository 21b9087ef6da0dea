"""The ONNX embedder beyond the contract: metadata, identity, chunks, bindings."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from guard.embedders.base import Thresholds
from guard.embedders.ort import OrtEmbedder
from guard.errors import CheckError
from guard.pixels import ImageBatch, to_batch
from tests.support.tiny_models import DIM, SHA, SIZE, onnx_file, onnx_model, preparation
from tests.support.toys import picture

TEXT = str(preparation)


def test_metadata_names_it_and_lends_it_the_identity_of_its_weights(tmp_path: Path) -> None:
    path = onnx_file(tmp_path / "a.onnx", preprocessing=TEXT, name="tiny", weights_sha256=SHA)
    spec = OrtEmbedder(path).spec
    assert (spec.name, spec.weights_sha256, spec.preprocessing) == ("tiny", SHA, TEXT)
    assert (spec.dim, spec.input_size, spec.metric) == (DIM, SIZE, "cosine")
    assert OrtEmbedder(path, name="other").spec.name == "other"


def test_without_metadata_the_file_speaks_for_itself(tmp_path: Path) -> None:
    path = onnx_file(tmp_path / "plain.onnx")
    advice = Thresholds(0.5, 0.7, "a test")
    spec = OrtEmbedder(path, preprocessing=preparation, thresholds=advice).spec
    assert (spec.name, spec.thresholds) == ("plain", advice)
    assert spec.weights_sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_weights_beside_the_file_are_part_of_its_identity(tmp_path: Path) -> None:
    path = tmp_path / "a.onnx"
    onnx.save(onnx_model(), path, save_as_external_data=True, location="a.onnx.data", size_threshold=0)
    one = OrtEmbedder(path, preprocessing=preparation)
    changed = bytearray((tmp_path / "a.onnx.data").read_bytes())
    changed[2] ^= 1
    (tmp_path / "a.onnx.data").write_bytes(changed)
    assert OrtEmbedder(path, preprocessing=preparation).spec.weights_sha256 != one.spec.weights_sha256


@pytest.mark.parametrize("max_batch", [1, 3, 64])
def test_chunks_and_bindings_change_nothing(tmp_path: Path, max_batch: int) -> None:
    path = onnx_file(tmp_path / "a.onnx", preprocessing=TEXT)
    tensor = torch.rand(7, 3, 40, 56, generator=torch.Generator().manual_seed(1))
    embedder = OrtEmbedder(path, max_batch=max_batch, threads=1)
    bound = embedder.embed(ImageBatch(tensor=tensor))
    assert isinstance(bound, torch.Tensor)
    by_hand = embedder._session.run(None, {"image": preparation.tensor(tensor).numpy()})[0]
    by_hand /= np.linalg.norm(by_hand, axis=1, keepdims=True)
    np.testing.assert_allclose(bound.numpy(), by_hand, atol=1e-6)


def test_a_batch_fixed_at_one_is_run_row_by_row(tmp_path: Path) -> None:
    pictures = to_batch([picture(seed) for seed in range(3)])
    fixed = OrtEmbedder(onnx_file(tmp_path / "f.onnx", onnx_model(shape=(1, 3, SIZE, SIZE))), preprocessing=TEXT)
    free = OrtEmbedder(onnx_file(tmp_path / "a.onnx"), preprocessing=TEXT)
    np.testing.assert_allclose(fixed.embed(pictures), free.embed(pictures), atol=1e-6)


def test_half_precision_networks(tmp_path: Path) -> None:
    """float16 in and out, by cast around the same graph."""
    model = onnx_model()
    nodes = list(model.graph.node)
    nodes[0].input[0], nodes[-1].output[0] = "wide", "wide_out"
    casts = [
        helper.make_node("Cast", ["image"], ["wide"], to=TensorProto.FLOAT),
        helper.make_node("Cast", ["wide_out"], ["descriptor"], to=TensorProto.FLOAT16),
    ]
    graph = helper.make_graph(
        [casts[0], *nodes, casts[1]],
        "half",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT16, ["n", 3, SIZE, SIZE])],
        [helper.make_tensor_value_info("descriptor", TensorProto.FLOAT16, ["n", DIM])],
        model.graph.initializer,
    )
    half = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    embedder = OrtEmbedder(onnx_file(tmp_path / "h.onnx", half), preprocessing=TEXT)
    whole = OrtEmbedder(onnx_file(tmp_path / "a.onnx"), preprocessing=TEXT)
    for form in ([picture(seed) for seed in range(3)], torch.rand(3, 3, 40, 40)):
        batch = to_batch(form)
        found = embedder.embed(batch)
        assert found.dtype == (np.float32 if batch.tensor is None else torch.float32)
        np.testing.assert_allclose(np.asarray(found), np.asarray(whole.embed(batch)), atol=5e-3)


def test_a_provider_that_fails_later_is_an_error_and_not_a_change_of_provider(tmp_path: Path) -> None:
    from onnxruntime.capi.onnxruntime_pybind11_state import EPFail

    embedder = OrtEmbedder(onnx_file(tmp_path / "a.onnx", preprocessing=TEXT))
    native = embedder._session._sess

    class Broken:
        """The runtime's native session, below its own fallback, on a device that has failed."""

        def __getattr__(self, name: str) -> object:
            return getattr(native, name)

        def run(self, *args: object) -> None:
            raise EPFail("the device has gone")

    embedder._session._sess = Broken()
    pixels = to_batch(picture(1))
    for _ in range(2):
        with pytest.raises(CheckError, match="the device has gone"):
            embedder.embed(pixels)


def test_where_it_runs(tmp_path: Path) -> None:
    path = onnx_file(tmp_path / "a.onnx", preprocessing=TEXT)
    assert OrtEmbedder(path).provider == OrtEmbedder(path, device="cpu").provider == "ort-cpu"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU and the extra 'gpu'")
def test_a_tensor_on_the_gpu_stays_there(tmp_path: Path) -> None:
    path = onnx_file(tmp_path / "a.onnx", preprocessing=TEXT)
    tensor = torch.rand(5, 3, 64, 64)
    found = OrtEmbedder(path, device="cuda", max_batch=2).embed(ImageBatch(tensor=tensor.cuda()))
    assert isinstance(found, torch.Tensor)
    assert found.is_cuda
    np.testing.assert_allclose(found.cpu().numpy(), np.asarray(OrtEmbedder(path).embed(to_batch(tensor))), atol=1e-3)
