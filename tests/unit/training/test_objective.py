"""The loss against its formula written as loops, and against InfoNCE as torch has it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from guard.training.objective import TINY, descriptor_loss

TEMPERATURE, KOLEO = 0.05, 5.0


def rows(count: int, dim: int = 8, seed: int = 0) -> torch.Tensor:
    return functional.normalize(torch.randn(count, dim, generator=torch.Generator().manual_seed(seed)), dim=1)


def slow(z: np.ndarray, shows: np.ndarray) -> tuple[float, float]:
    """contrast and entropy, as in the module's docstring."""
    contrasts, entropies = [], []
    for a in range(len(z)):
        weights = {b: float(shows[a] @ shows[b]) for b in range(len(z)) if b != a}
        negatives = [k for k, w in weights.items() if w == 0]
        total = 0.0
        for b, w in weights.items():
            if w > 0:
                against = sum(np.exp((z[a] @ z[k] - z[a] @ z[b]) / TEMPERATURE) for k in negatives)
                total += w * np.log1p(against)
        contrasts.append(total / sum(weights.values()))
        entropies.append(-np.log(min(np.linalg.norm(z[a] - z[k]) for k in negatives) + TINY))
    return float(np.mean(contrasts)), float(np.mean(entropies))


@pytest.mark.parametrize("mixed", [False, True])
def test_the_loss_is_its_formula(mixed: bool) -> None:
    z = rows(12)
    shows = torch.eye(6).repeat(2, 1)
    if mixed:
        shows[7] = torch.tensor([0, 0.6, 0, 0.4, 0, 0])
        shows[10] = torch.tensor([0.5, 0, 0, 0, 0.5, 0])
    loss = descriptor_loss(z, shows, temperature=TEMPERATURE, koleo=KOLEO)
    contrast, entropy = slow(z.double().numpy(), shows.double().numpy())
    assert loss.contrast == pytest.approx(contrast, rel=1e-4)
    assert loss.entropy == pytest.approx(entropy, rel=1e-4)
    assert float(loss.total) == pytest.approx(contrast + KOLEO * entropy, rel=1e-4)


def test_without_mixtures_it_is_infonce() -> None:
    z = rows(16)
    shows = torch.eye(8).repeat(2, 1)
    logits = (z @ z.T / TEMPERATURE).masked_fill(torch.eye(16, dtype=torch.bool), -torch.inf)
    expected = functional.cross_entropy(logits, torch.arange(16).roll(8))
    assert descriptor_loss(z, shows, temperature=TEMPERATURE, koleo=0).contrast == pytest.approx(
        float(expected), rel=1e-5
    )


def test_gradients_of_parts_add_up_to_those_of_the_whole() -> None:
    """What a team relies on: each member differentiates the whole loss through its own rows."""
    shows = torch.eye(6).repeat(2, 1)
    whole = rows(12).requires_grad_()
    descriptor_loss(whole, shows, temperature=TEMPERATURE, koleo=KOLEO).total.backward()
    for part in (slice(0, 6), slice(6, 12)):
        mine = rows(12)[part].requires_grad_()
        pieces = [mine, rows(12)[6:]] if part.start == 0 else [rows(12)[:6], mine]
        descriptor_loss(torch.cat(pieces), shows, temperature=TEMPERATURE, koleo=KOLEO).total.backward()
        torch.testing.assert_close(mine.grad, whole.grad[part])


def test_equal_rows_have_a_finite_gradient() -> None:
    z = torch.ones(8, 4).mul(0.5).requires_grad_()
    descriptor_loss(z, torch.eye(4).repeat(2, 1), temperature=TEMPERATURE, koleo=KOLEO).total.backward()
    assert torch.isfinite(z.grad).all()


def test_accuracy_counts_rows_that_find_their_picture() -> None:
    z = torch.eye(6).repeat(2, 1)
    shows = torch.eye(6).repeat(2, 1)
    assert descriptor_loss(z, shows, temperature=TEMPERATURE, koleo=0).accuracy == 1
    wrong = torch.cat([torch.eye(6), torch.eye(6).roll(1, 0)])
    assert descriptor_loss(wrong, shows, temperature=TEMPERATURE, koleo=0).accuracy == 0
