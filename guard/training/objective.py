"""What the descriptor is trained to do, as a loss over a batch of views. Knows rows and what they show; no pictures.

z (v, d): unit rows. shows (v, p): how much of picture p is seen in view v; rows sum to 1. An ordinary view shows one
picture, a mixed one two. Two views are positives of each other if they share a picture, with weight
w_ab = sum_p shows_ap shows_bp.

    contrast_a = sum_b w_ab log(1 + sum_{k neg a} exp((z_a z_k - z_a z_b) / t)) / sum_b w_ab
    entropy    = - mean_a log(min_{k neg a} |z_a - z_k| + e)
    loss       = mean_a contrast_a + koleo * entropy

With one positive each, the first is InfoNCE (van den Oord et al. 2018, arXiv:1807.03748), and normalised temperature
cross-entropy as in SimCLR. The second is the differential-entropy estimate of Kozachenko & Leonenko (Sablayrolles et
al. 2019, arXiv:1806.03198); both together, and mixed pictures as partial positives: SSCD, Pizzi et al. 2022
(arXiv:2202.10261). Siblings in a batch are negatives like all others, only harder.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["Loss", "descriptor_loss"]

TINY = 1e-3  # e above; also keeps the gradient of the logarithm below 1000


@dataclass(frozen=True, slots=True, eq=False)
class Loss:
    """Scalars on the device of the rows, all but the first without gradient: to read one waits for the device."""

    total: Tensor
    """Scalar, with its gradient."""
    contrast: Tensor
    entropy: Tensor
    accuracy: Tensor
    """Share of the rows whose nearest other row is a positive."""
    positive: Tensor
    """Mean similarity to the positives."""
    nearest: Tensor
    """Mean similarity to the nearest negative."""


def descriptor_loss(z: Tensor, shows: Tensor, *, temperature: float, koleo: float) -> Loss:
    """z (v, d) float32 unit rows, shows (v, p) float32. Every row needs a positive and a negative."""
    similarity = z @ z.T
    weight = shows @ shows.T
    weight = weight - torch.diag(torch.diagonal(weight))
    positive = weight > 0
    excluded = positive | torch.eye(len(z), dtype=torch.bool, device=z.device)
    negatives = (similarity / temperature).masked_fill(excluded, -torch.inf)
    against = torch.logsumexp(negatives, dim=1, keepdim=True)
    pairs = functional.softplus(against - similarity / temperature)
    contrast = ((pairs * weight).sum(1) / weight.sum(1)).mean()
    with torch.no_grad():
        nearest_value, nearest = similarity.masked_fill(excluded, -torch.inf).max(1)
    # the distance from the difference, not from the cosine, whose gradient fails at equal rows
    apart = (z - z[nearest]).pow(2).sum(1).clamp(min=1e-12).sqrt()
    entropy = -torch.log(apart + TINY).mean()
    with torch.no_grad():
        best_positive = similarity.masked_fill(~positive, -torch.inf).max(1).values
        accuracy = (best_positive > nearest_value).float().mean()
        mean_positive = (similarity * weight).sum() / weight.sum()
    return Loss(
        contrast + koleo * entropy,
        contrast.detach(),
        entropy.detach(),
        accuracy,
        mean_positive,
        nearest_value.mean(),
    )
