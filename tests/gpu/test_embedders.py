"""The shipped descriptor on a GPU: the contract of all embedders, and the descriptors that a CPU gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from guard.embedders.base import Embedder
from guard.embedders.registry import load_embedder
from guard.embedders.shipped import load_shipped
from guard.embedders.views import embed_views
from guard.errors import ConfigError
from guard.pixels import to_batch
from tests.contract.embedder import EmbedderContract
from tests.support.accelerator import DEVICE, needs_gpu
from tests.support.toys import picture

pytestmark = needs_gpu

TOLERANCE = {"float32": 1e-4, "float16": 1e-3, "bfloat16": 2e-3}
"""1 - cosine, at most, to the CPU's. Convolutions of float32 are multiplied in TF32, with ten bits, as torch has it."""
COUNT, SIDE = 40, 256  # more than one run of the embedder, which takes 32 rows


class TestShippedOnAGpu(EmbedderContract):
    batch_tolerance = 2e-3  # TF32, and other kernels for other sizes

    def build(self, tmp_path: Path) -> Embedder:
        return load_shipped(device=DEVICE, runtime="torch")


class TestShippedOnAGpuInHalf(EmbedderContract):
    form_tolerance = 5e-3
    batch_tolerance = 1e-2

    def build(self, tmp_path: Path) -> Embedder:
        return load_shipped(device=DEVICE, runtime="torch", dtype="float16")


@pytest.fixture(scope="module")
def pictures() -> torch.Tensor:
    """(COUNT, 3, SIDE, SIDE) in [0, 1]."""
    arrays = np.stack([np.asarray(picture(seed, SIDE, SIDE)) for seed in range(COUNT)])
    return torch.from_numpy(arrays).permute(0, 3, 1, 2).float() / 255


@pytest.fixture(scope="module")
def wanted(pictures: torch.Tensor) -> torch.Tensor:
    """(COUNT, 15, dim): each picture and its windows, by torch on the CPU."""
    found: torch.Tensor = embed_views(load_shipped(runtime="torch"), to_batch(pictures), "windows").vectors
    return found


@pytest.mark.parametrize("dtype", sorted(TOLERANCE))
def test_descriptors_are_the_cpus(pictures: torch.Tensor, wanted: torch.Tensor, dtype: str) -> None:
    embedder = load_shipped(device=DEVICE, runtime="torch", dtype=dtype)
    query = embed_views(embedder, to_batch(pictures.to(DEVICE)), "windows")
    found: Any = query.vectors
    assert found.device.type == DEVICE
    assert found.dtype == torch.float32
    assert query.usable.all()
    assert (1 - (found.cpu() * wanted).sum(2)).max() <= TOLERANCE[dtype]


def test_onnx_runtime_on_the_cpu_gives_them_too(pictures: torch.Tensor) -> None:
    """What an index was built with on a CPU, and what looks it up on a GPU."""
    batch = to_batch(pictures)
    of_cpu: Any = embed_views(load_shipped(runtime="onnx"), batch, "windows+levels").vectors
    of_gpu: Any = embed_views(load_shipped(device=DEVICE), to_batch(pictures.to(DEVICE)), "windows+levels").vectors
    assert (1 - (of_gpu.cpu() * of_cpu).sum(2)).max() <= 2e-3


def test_a_device_chooses_torch() -> None:
    embedder = load_embedder(device=DEVICE)
    assert getattr(embedder, "provider", None) == f"torch-{DEVICE}"
    assert embedder.spec.identity() == load_shipped(runtime="onnx").spec.identity()


def test_pictures_of_a_host_go_to_the_device_and_their_descriptors_come_back(pictures: torch.Tensor) -> None:
    embedder = load_shipped(device=DEVICE)
    on_host: Any = embedder.embed(to_batch(pictures[:2]))
    assert on_host.device.type == "cpu"
    assert isinstance(embedder.embed(to_batch([picture(0)])), np.ndarray)


def test_a_device_that_is_not_there_is_refused() -> None:
    with pytest.raises(ConfigError, match="cuda:99"):
        load_shipped(device="cuda:99", runtime="torch")
