"""What tests on an accelerator share: where it is, when they are skipped, and what is copied off it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

__all__ = ["DEVICE", "HostCopies", "needs_gpu"]

DEVICE = "cuda"
needs_gpu = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device, or a build of torch without CUDA"),
]


class HostCopies(TorchDispatchMode):
    """Within its `with`, on this thread: how many values each operation brought from the device to the host."""

    def __init__(self) -> None:
        super().__init__()
        self.values: list[int] = []

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Iterable[type], args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        if _on(DEVICE, (args, kwargs)):
            self.values += [tensor.numel() for tensor in _on("cpu", out)]
        return out


def _on(device: str, nested: Sequence[Any] | Mapping[str, Any] | Any) -> list[torch.Tensor]:
    leaves = tree_leaves(nested)
    return [leaf for leaf in leaves if isinstance(leaf, torch.Tensor) and leaf.device.type == device]
