"""How the network does on programs that it is not trained on. Knows procedural pictures; not the evaluation.

It shows a run that goes wrong, and nothing about photographs: no setting may be chosen by it alone.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from guard.training.bank import KIN, build_bank
from guard.training.config import TrainingConfig
from guard.training.device.feed import as_input
from guard.training.edits import strong_view, weak_view
from guard.training.generators.base import Dice
from guard.training.network import DescriptorNet

__all__ = ["HeldOut"]

SEED = (1 << 20) + 1  # of the programs; runs with smaller seeds share none
STRENGTH = 0.7
QUERIES = 2  # of each program
BATCH = 64


class HeldOut:
    """References: every picture of the held-out programs. Queries: strong views of the first picture of each."""

    def __init__(self, folder: Path, config: TrainingConfig, processes: int) -> None:
        count, size = config.held_out_programs, config.export_size
        path = folder / f"held_out_{count}_{config.picture_size}.npy"
        bank = build_bank(path, programs=count, size=config.picture_size, seed=SEED, processes=processes)
        pictures = bank.pictures
        self._references = np.stack([weak_view(Dice(SEED, i, 1), np.asarray(p), size) for i, p in enumerate(pictures)])
        queries = []
        for i in range(0, len(pictures), KIN):
            for turn in range(QUERIES):
                others = [np.asarray(pictures[(i + KIN * (turn + k + 1)) % len(pictures)]) for k in range(3)]
                queries.append(strong_view(Dice(SEED, i, turn, 2), np.asarray(pictures[i]), others, size, STRENGTH)[0])
        self._queries = np.stack(queries)

    def measure(self, network: DescriptorNet, device: torch.device) -> dict[str, float]:
        """recall@1 among all references; recall where 1 % of the queries match a stranger; similarity to kin."""
        was_training = network.training
        network.eval()
        with torch.inference_mode():
            xb, xq = (
                torch.cat([network(as_input(part.to(device))) for part in torch.from_numpy(v).split(BATCH)]).cpu()
                for v in (self._references, self._queries)
            )
        network.train(was_training)
        similarity = xq @ xb.T
        own = KIN * (torch.arange(len(xq)) // QUERIES)
        right = similarity.gather(1, own[:, None])[:, 0]
        wrong = similarity.scatter(1, own[:, None], -2.0)
        strangers = wrong.scatter(1, own[:, None] + torch.arange(1, KIN), -2.0).max(1).values
        threshold = torch.quantile(strangers, 0.99)
        first = xb[::KIN]
        kin = [float((first * xb[k::KIN]).sum(1).mean()) for k in range(1, KIN)]
        return {
            "held_out_recall_at_1": float((right > wrong.max(1).values).float().mean()),
            "held_out_recall_at_fpr_01": float((right > threshold).float().mean()),
            "held_out_similarity_sibling": kin[0],
            "held_out_similarity_variant": kin[1],
            "held_out_similarity_near": kin[2],
        }
