"""Exact search with one matrix product a block, on any torch device. Knows torch; no files of an index.

The queries of a pipeline on a GPU are looked up there: only ids and similarities leave the device.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from guard.errors import ConfigError, MissingExtraError
from guard.indexes.faiss_index import as_queries, pad
from guard.types import Candidates, Descriptors

if TYPE_CHECKING:
    import torch

__all__ = ["TorchIndex"]

BLOCK_VALUES = 1 << 24  # similarities held at once (64 MiB of float32)


class TorchIndex:
    """Inner products of the rows, all of them compared, in float32 unless asked otherwise."""

    def __init__(
        self,
        xb: Descriptors | torch.Tensor,
        *,
        device: str | torch.device | None = None,
        dtype: str = "float32",
        block_values: int = BLOCK_VALUES,
    ) -> None:
        """xb: (n, dim) unit rows; copied to the device. device: None is the CPU, or where a tensor already is.

        dtype: "float32", or "float16" / "bfloat16" for half the memory and cosines that are off by up to 1e-3 / 4e-3.
        block_values: similarities held at once; bounds the memory of a search.
        Raises ConfigError for another dtype, or a device that torch does not have.
        """
        try:
            import torch
        except ImportError as exc:
            raise MissingExtraError("TorchIndex", extra="torch") from exc
        if dtype not in ("float32", "float16", "bfloat16"):
            raise ConfigError(f"unknown dtype {dtype!r}; known: float32, float16, bfloat16")
        rows = xb if isinstance(xb, torch.Tensor) else torch.tensor(np.asarray(xb, np.float32))
        try:
            self._xb = rows.to(device=device, dtype=getattr(torch, dtype)).contiguous()
        except (RuntimeError, AssertionError) as exc:
            raise ConfigError(f"device {device!r} cannot be used by torch: {exc}") from exc
        self._block_values = block_values
        self.dim = int(self._xb.shape[1])

    def __len__(self) -> int:
        return int(self._xb.shape[0])

    @property
    def device(self) -> torch.device:
        return self._xb.device

    def search(self, xq: Descriptors | torch.Tensor, k: int) -> Candidates:
        """See VectorIndex.search. A tensor on the index's device is not copied off it."""
        import torch

        queries = self._queries(xq, k)
        nq, found = len(queries), min(k, len(self))
        if found == 0 or nq == 0:
            return pad(nq, k)
        with torch.inference_mode():
            similarity = torch.full((nq, 0), 0.0, device=self.device)
            ids = torch.full((nq, 0), 0, dtype=torch.int64, device=self.device)
            step = max(1, self._block_values // nq)
            for start in range(0, len(self), step):
                block = (queries @ self._xb[start : start + step].T).float()
                values, places = block.topk(min(found, block.shape[1]), dim=1)
                similarity, order = torch.cat([similarity, values], 1).sort(dim=1, descending=True, stable=True)
                ids = torch.cat([ids, places + start], 1).gather(1, order)
                similarity, ids = similarity[:, :found], ids[:, :found]
            return pad(nq, k, ids.cpu().numpy(), similarity.cpu().numpy())

    def rows(self, ids: npt.NDArray[np.int64]) -> Descriptors:
        """See SupportsRows; as they are kept, in the dtype of the index rounded."""
        import torch

        with torch.inference_mode():
            found: Descriptors = self._xb[torch.from_numpy(ids).to(self.device)].float().cpu().numpy()
        return found

    def _queries(self, xq: Any, k: int) -> torch.Tensor:
        import torch

        if not isinstance(xq, torch.Tensor):
            xq = torch.from_numpy(as_queries(xq, self.dim, k))
        elif k < 1 or xq.ndim != 2 or xq.shape[1] != self.dim:
            as_queries(xq, self.dim, k)  # raises
        moved: torch.Tensor = xq.detach().to(device=self.device, dtype=self._xb.dtype)
        return moved
