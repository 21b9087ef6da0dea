"""A torch module as an embedder. Knows modules, devices and dtypes; how a module is loaded is torch_loaders.py's.

Pictures that come as a tensor are resized on the device where they are, and their descriptors
come back as a tensor there: no pixel is copied to the host.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from guard.embedders.base import EmbedderSpec, Thresholds
from guard.errors import CheckError, ConfigError, MissingExtraError

if TYPE_CHECKING:
    from types import ModuleType

    from torch import Tensor, nn

    from guard.embedders.preprocess import Preprocessing
    from guard.pixels import ImageBatch
    from guard.types import Descriptors

__all__ = ["DTYPES", "TorchEmbedder", "import_torch"]

DTYPES = ("float32", "float16", "bfloat16")


class TorchEmbedder:
    """Descriptors from a module that maps (n, 3, size, size) to (n, dim)."""

    def __init__(
        self,
        module: nn.Module,
        *,
        name: str,
        preprocessing: Preprocessing,
        weights_sha256: str,
        device: str = "cpu",
        dtype: Literal["float32", "float16", "bfloat16"] = "float32",
        max_batch: int = 32,
        thresholds: Thresholds | None = None,
    ) -> None:
        """Take the module over: it is moved to the device, set to eval and run once.

        max_batch: rows of one run; more are cut into several. dtype: of weights and activations;
        descriptors are float32 in any case.
        Raises ConfigError for a device that is not there, or a module whose output is not (n, dim).
        """
        torch = import_torch()
        if dtype not in DTYPES:
            raise ConfigError(f"dtype {dtype!r} is unknown; known: {', '.join(DTYPES)}")
        if max_batch < 1:
            raise ConfigError(f"max_batch is {max_batch}; it must be at least 1")
        try:
            self._device = torch.device(device)
            self._dtype: Any = getattr(torch, dtype)
            self._module = module.to(self._device, self._dtype).eval()
        except (RuntimeError, AssertionError) as exc:  # AssertionError: torch was built without CUDA
            raise ConfigError(f"device {device!r} cannot be used: {exc}") from exc
        self._max_batch = max_batch
        self._preprocessing = preprocessing
        self._spec = EmbedderSpec(
            name=name,
            dim=self._probe(),
            input_size=preprocessing.size,
            preprocessing=str(preprocessing),
            weights_sha256=weights_sha256,
            thresholds=thresholds,
        )

    @property
    def spec(self) -> EmbedderSpec:
        return self._spec

    @property
    def provider(self) -> str:
        """Where it runs, for metrics: "torch-cpu", "torch-cuda"."""
        return f"torch-{self._device.type}"

    def embed(self, batch: ImageBatch) -> Descriptors:
        """(n, dim): an array for arrays; for a tensor, a tensor on the device of the batch."""
        torch = import_torch()
        parts = []
        for start in range(0, len(batch), self._max_batch):
            rows = slice(start, start + self._max_batch)
            if batch.tensor is not None:
                x = self._preprocessing.tensor(batch.tensor[rows])
            else:
                x = torch.from_numpy(self._preprocessing.arrays(batch.as_arrays()[rows]))
            parts.append(self._run(x))
        if not parts:
            return np.empty((0, self._spec.dim), np.float32)
        whole: Any = torch.cat(parts)
        return whole.to(batch.tensor.device) if batch.tensor is not None else whole.cpu().numpy()  # type: ignore[no-any-return]

    def _run(self, x: Tensor) -> Tensor:
        torch = import_torch()
        try:
            with torch.inference_mode():
                raw = self._module(x.to(self._device, self._dtype)).float()
                norms = raw.norm(dim=1, keepdim=True)
                finite, lowest = bool(torch.isfinite(raw).all()), float(norms.min())
        except Exception as exc:
            raise CheckError(f"the torch module failed: {exc}", stage="embed", reason=type(exc).__name__) from exc
        if not finite:
            raise CheckError("the embedder returned NaN or infinity", stage="embed", reason="not_finite")
        if lowest == 0:
            raise CheckError("the embedder returned a row of zeros", stage="embed", reason="zero_norm")
        with torch.inference_mode():
            unit: Tensor = raw / norms
            return unit

    def _probe(self) -> int:
        torch = import_torch()
        size = self._preprocessing.size
        generator = torch.Generator().manual_seed(0)
        x = torch.rand((2, 3, size, size), generator=generator).to(self._device, self._dtype)
        try:
            with torch.inference_mode():
                raw = self._module(x)
        except Exception as exc:
            raise ConfigError(f"the module cannot run on (2, 3, {size}, {size}): {exc}") from exc
        if not isinstance(raw, torch.Tensor) or raw.ndim != 2 or len(raw) != 2:
            shape = tuple(raw.shape) if isinstance(raw, torch.Tensor) else type(raw).__name__
            raise ConfigError(f"the module answered (2, 3, {size}, {size}) with {shape}; needed: (2, dim)")
        return int(raw.shape[1])


def import_torch() -> ModuleType:
    """Return torch. Raises MissingExtraError naming the extra."""
    try:
        import torch
    except ImportError as exc:
        raise MissingExtraError("a torch embedder", extra="torch") from exc
    return torch
