"""One identity for two files: both runtimes agree, the weights come back, damage and foreign files are refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from guard.embedders.files import sha256_of
from guard.embedders.ort import OrtEmbedder
from guard.embedders.torch_loaders import from_state_dict
from guard.embedders.views import CROPS
from guard.errors import ConfigError
from guard.pixels import to_batch
from guard.training.config import NetworkConfig, TrainingConfig
from guard.training.dihedral import GroupConv, GroupNorm2d, LiftingConv
from guard.training.export import Exported, export, load_network, preprocessing_for, read_weights
from guard.training.network import DescriptorNet, WindowNet, begin_from, descriptor_net, window_shares

SMALL = NetworkConfig(widths=(8, 16, 24, 32), depths=(1, 2, 1), pooled=(8, 24), dim=32)


def trained(config: NetworkConfig) -> DescriptorNet:
    """Weights and statistics that look as if they had been learnt."""
    torch.manual_seed(0)
    network = DescriptorNet(config)
    for name, value in network.state_dict().items():
        if name.endswith("running_var"):
            value.uniform_(0.3, 3)
        elif value.is_floating_point() and value.ndim == 1:
            value.add_(0.3 * torch.randn(value.shape))
    return network.eval()


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return export(trained(SMALL), tmp_path_factory.mktemp("export"), name="tiny", size=64, windows_size=96)


def test_both_runtimes_agree(exported: Exported) -> None:
    assert exported.difference <= 1e-4
    pictures = list(np.random.default_rng(0).integers(0, 256, (3, 50, 70, 3), np.uint8))
    embedder = OrtEmbedder(exported.onnx)
    x = torch.from_numpy(preprocessing_for(64).arrays(pictures))
    with torch.inference_mode():
        expected = load_network(exported.safetensors)(x).numpy()
    np.testing.assert_allclose(embedder.embed(to_batch(pictures)), expected, atol=1e-4)


def test_both_runtimes_agree_on_windows(exported: Exported) -> None:
    pictures = list(np.random.default_rng(0).integers(0, 256, (3, 150, 120, 3), np.uint8))
    x = torch.from_numpy(preprocessing_for(96).arrays(pictures))
    with torch.inference_mode():
        expected = load_network(exported.safetensors, WindowNet)(x).numpy()
    assert expected.shape == (3, len(CROPS) * 32)
    embedder = OrtEmbedder(exported.windows)
    assert embedder.spec.weights_sha256 == exported.weights_sha256
    np.testing.assert_allclose(embedder.embed(to_batch(pictures)) * len(CROPS) ** 0.5, expected, atol=1e-4)


@pytest.mark.parametrize("side", [5, 8, 16])
def test_a_window_over_everything_is_the_plain_mean(side: int) -> None:
    shares = window_shares(torch.tensor([[0.0, 0.0, 1.0], [0.25, 0.5, 0.5]]), side, side).T
    torch.testing.assert_close(shares.sum(0), torch.ones(2))
    torch.testing.assert_close(shares[:, 0], torch.full((side * side,), 1 / side**2))
    grid = shares[:, 1].view(side, side)
    assert grid[: side // 4].sum() == 0
    assert grid[:, : side // 2].sum() == 0
    inside, plain = WindowNet(SMALL).eval(), DescriptorNet(SMALL).eval()
    plain.load_state_dict(inside.state_dict())
    x = torch.rand(2, 3, 64, 64) * 2 - 1
    with torch.inference_mode():
        found = inside(x).view(2, len(CROPS), 32)
        torch.testing.assert_close(inside.through(x, torch.tensor(CROPS[3]).expand(2, 3)), found[:, 3])
        torch.testing.assert_close(inside.through(x, torch.tensor([0.0, 0.0, 1.0]).expand(2, 3)), plain(x))
    assert found.norm(dim=2).allclose(torch.ones(2, len(CROPS)))


def test_the_onnx_file_carries_the_identity_of_the_weights(exported: Exported) -> None:
    spec = OrtEmbedder(exported.onnx).spec
    assert spec.weights_sha256 == exported.weights_sha256 == sha256_of(exported.safetensors)
    assert (spec.name, spec.dim, spec.input_size) == ("tiny", 32, 64)
    assert spec.preprocessing == str(preprocessing_for(64))


def test_weights_come_back_rounded_to_half_precision(exported: Exported) -> None:
    original, found = trained(SMALL), load_network(exported.safetensors)
    assert found.config == SMALL
    for name, value in original.state_dict().items():
        if value.is_floating_point():
            torch.testing.assert_close(found.state_dict()[name], value, rtol=1e-3, atol=1e-4)


def test_the_weights_load_strictly_into_the_registered_form(exported: Exported) -> None:
    from safetensors.torch import load_file

    descriptor_net(**SMALL.model_dump()).load_state_dict(load_file(exported.safetensors), strict=True)


def test_exporting_twice_gives_the_same_identity(exported: Exported, tmp_path: Path) -> None:
    again = export(load_network(exported.safetensors), tmp_path, name="tiny", size=64, windows_size=96)
    assert again.weights_sha256 == exported.weights_sha256


def test_a_foreign_or_damaged_file_is_refused(tmp_path: Path, exported: Exported) -> None:
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(ConfigError, match=r"other\.safetensors"):
        read_weights(tmp_path / "other.safetensors")
    (tmp_path / "half.safetensors").write_bytes(exported.safetensors.read_bytes()[:1000])
    with pytest.raises(ConfigError, match=r"half\.safetensors"):
        read_weights(tmp_path / "half.safetensors")


def test_the_default_network_fits_the_wheel(tmp_path: Path) -> None:
    config = TrainingConfig()
    sizes = {"size": config.export_size, "windows_size": config.windows_size}
    done = export(trained(config.network), tmp_path, name="default", **sizes)
    assert sum(path.stat().st_size for path in (done.safetensors, done.onnx, done.windows)) <= 12_000_000
    # kernels of one position, not of eight
    assert done.onnx.stat().st_size <= 1.2 * done.safetensors.stat().st_size


def test_a_deeper_network_begins_as_the_one_whose_weights_it_takes() -> None:
    shallow = trained(SMALL)
    deeper = DescriptorNet(SMALL.model_copy(update={"depths": (2, 3, 2)})).eval()
    begin_from(deeper, shallow.state_dict())
    x = torch.rand(3, 3, 64, 64) * 2 - 1
    with torch.inference_mode():
        torch.testing.assert_close(deeper(x), shallow(x))


def test_a_network_begins_from_no_other_shape() -> None:
    state = trained(SMALL).state_dict()
    with pytest.raises(ValueError, match=r"stages\.1\.1"):  # shallower: blocks would be lost
        begin_from(DescriptorNet(SMALL.model_copy(update={"depths": (1, 1, 1)})), state)
    del state["stages.1.1.conv2.weight"]
    with pytest.raises(ValueError, match=r"stages\.1\.1\.conv2"):  # a block in part
        begin_from(DescriptorNet(SMALL), state)
    del state["head.bias"]
    with pytest.raises(ValueError, match="head"):
        begin_from(DescriptorNet(SMALL), state)


@pytest.mark.parametrize("element", range(1, 8))
def test_the_onnx_file_does_not_care_how_a_picture_lies(exported: Exported, element: int) -> None:
    """What is not square when it comes is squeezed to a square first, turned or not."""
    one = np.random.default_rng(1).integers(0, 256, (64, 96, 3), np.uint8)
    other = np.rot90(one[:, ::-1] if element >= 4 else one, element % 4)
    embedder = OrtEmbedder(exported.onnx)
    rows = embedder.embed(to_batch([one, np.ascontiguousarray(other)]))
    np.testing.assert_allclose(rows[1], rows[0], atol=1e-5)


def test_rows_have_unit_norm_at_every_size() -> None:
    network = trained(SMALL)
    for size in (64, 96, 160):
        with torch.inference_mode():
            rows = network(torch.rand(2, 3, size, size) * 2 - 1)
        torch.testing.assert_close(rows.norm(dim=1), torch.ones(2))


@pytest.mark.parametrize("kind", [DescriptorNet, WindowNet])
def test_folding_keeps_the_function_and_expands_nothing(exported: Exported, kind: type[DescriptorNet]) -> None:
    network = load_network(exported.safetensors, kind)
    folded = network.folded()
    x = torch.rand(3, 3, 96, 96) * 2 - 1
    with torch.inference_mode():
        before = network(x)
        torch.testing.assert_close(folded(x), before, atol=1e-5, rtol=0)
        torch.testing.assert_close(network(x), before)  # the one that trains is left as it is
    assert not any(isinstance(module, GroupConv | LiftingConv | GroupNorm2d) for module in folded.modules())


def test_the_torch_embedder_serves_the_folded_form(exported: Exported) -> None:
    _, config, metadata = read_weights(exported.safetensors)
    embedder = from_state_dict(
        exported.safetensors, architecture="memguard_descriptor", config=config.model_dump(),
        preprocessing=metadata["memguard_preprocessing"],
    )  # fmt: skip
    assert not any(isinstance(module, GroupConv) for module in embedder._module.modules())
