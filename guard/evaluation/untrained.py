"""The shipped network as it was before training: what its shape alone is worth. Knows torch and the card."""

from __future__ import annotations

import hashlib
import importlib.util
from typing import Any

from guard.embedders.base import Embedder
from guard.embedders.preprocess import Preprocessing
from guard.embedders.shipped import ARCHITECTURE, shipped_card

__all__ = ["UNTRAINED", "untrained"]

UNTRAINED = "untrained"
SEED = 0


def untrained() -> Embedder | None:
    """With random weights of a fixed seed; None without torch."""
    if importlib.util.find_spec("torch") is None:
        return None
    import torch

    from guard.embedders.architectures import build_architecture
    from guard.embedders.torch import TorchEmbedder

    card = shipped_card()
    network: Any
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        network = build_architecture(ARCHITECTURE, **card.network)
    digest = hashlib.sha256()
    for key, value in sorted(network.state_dict().items()):
        digest.update(key.encode() + value.numpy().tobytes())
    return TorchEmbedder(
        network.folded(),  # the same function: the checksum is of the network itself
        name=UNTRAINED,
        preprocessing=Preprocessing.parse(card.preprocessing),
        weights_sha256=digest.hexdigest(),
    )
