"""A turned or mirrored picture gives the same channels, turned and permuted, and so the same descriptor."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from guard.training.config import NetworkConfig
from guard.training.dihedral import ORDER, GroupConv, GroupNorm2d, LiftingConv, acted
from guard.training.network import DescriptorNet, generalised_mean

ELEMENTS = range(ORDER)


def learnt(module: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    for name, value in module.state_dict().items():
        value.uniform_(0.5, 2) if name.endswith("running_var") else value.normal_(0, 0.3)
    return module.eval()


def test_the_eight_positions_are_all_different_and_the_first_is_as_it_is() -> None:
    x = torch.arange(9).view(1, 1, 3, 3)
    assert torch.equal(acted(x, 0), x)
    assert len({tuple(acted(x, g).flatten().tolist()) for g in ELEMENTS}) == ORDER


@pytest.mark.parametrize("element", ELEMENTS)
def test_layers_turn_with_the_picture(element: int) -> None:
    """Each channel of the turned picture is a turned channel of the picture, and none is missing."""
    layers = learnt(nn.Sequential(LiftingConv(3, 2, 8, 4, 2), GroupNorm2d(2), GroupConv(2, 3, 4, 2, 1), GroupNorm2d(3),
                                  GroupConv(3, 2, 3, 1, 1)))  # fmt: skip
    x = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        straight, turned = layers(x)[0], layers(acted(x, element))[0]
    for field in range(2):
        expected = acted(straight[field::2], element)
        found = turned[field::2]
        apart = (expected[:, None] - found[None]).abs().amax((2, 3))
        assert apart.min(1).values.max() < 1e-5
        assert sorted(apart.argmin(1).tolist()) == list(ELEMENTS)


@pytest.mark.parametrize("element", ELEMENTS)
def test_the_descriptor_does_not_care_how_a_picture_lies(element: int) -> None:
    network = learnt(DescriptorNet(NetworkConfig(widths=(8, 16, 24, 32), depths=(1, 2, 1), pooled=(8, 24), dim=32)))
    x = torch.rand(2, 3, 96, 96) * 2 - 1
    with torch.inference_mode():
        straight, turned = network(x), network(acted(x, element))
    torch.testing.assert_close(turned, straight, atol=1e-5, rtol=0)
    assert float((straight[0] - straight[1]).abs().max()) > 1e-3


def test_pooling_has_the_gradient_of_its_formula() -> None:
    x = torch.rand(2, 2 * ORDER, 3, 3, requires_grad=True)
    shares = torch.rand(2, 9).softmax(1)
    expected = (x.view(2, ORDER, 2, 9).pow(3).mean(1) * shares[:, None]).sum(2).pow(1 / 3)
    torch.testing.assert_close(generalised_mean(x, shares), expected)
    grads = [torch.autograd.grad(y.square().sum(), x)[0] for y in (expected, generalised_mean(x, shares))]
    torch.testing.assert_close(grads[1], grads[0])
