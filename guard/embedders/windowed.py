"""Two passes of one network as one embedder: the whole picture, and its windows. Knows no runtime and no file.

The second network has the weights of the first and sees the picture larger, so that what stands small in it is about as
large as references are; it answers with the descriptors of all windows in one long row. It is opened when windows are
first asked for, since nothing else needs it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from guard.embedders.base import EmbedderSpec, unit_rows
from guard.embedders.views import CROPS
from guard.errors import ConfigError

if TYPE_CHECKING:
    from guard.embedders.base import Embedder
    from guard.pixels import ImageBatch
    from guard.types import Descriptors

__all__ = ["WindowedEmbedder"]


class WindowedEmbedder:
    """An embedder with `embed_windows`; everything else is that of the whole picture's."""

    def __init__(self, whole: Embedder, open_windows: Callable[[], Embedder]) -> None:
        """open_windows: opens the embedder whose rows hold len(CROPS) descriptors each, one after another."""
        self.whole = whole
        self._open_windows = open_windows
        self._opened: Embedder | None = None
        self._opening = threading.Lock()

    @property
    def spec(self) -> EmbedderSpec:
        return self.whole.spec

    @property
    def provider(self) -> str:
        return str(getattr(self.whole, "provider", ""))

    @property
    def windows(self) -> int:
        return len(CROPS)

    def embed(self, batch: ImageBatch) -> Descriptors:
        return self.whole.embed(batch)

    def embed_windows(self, batch: ImageBatch) -> Any:
        """See SupportsWindows. Raises ConfigError if the second network cannot be opened, or is not of the first."""
        rows: Any = self._second().embed(batch)
        flat = rows.reshape(len(batch) * self.windows, self.spec.dim)
        # the long row was brought to unit norm, and with it each of its parts to the same lesser one
        flat = unit_rows(flat) if isinstance(flat, np.ndarray) else flat / flat.norm(dim=1, keepdim=True)
        return flat.reshape(len(batch), self.windows, self.spec.dim)

    def windows_identity(self) -> str:
        """See SupportsWindows. Raises ConfigError as embed_windows does."""
        return self._second().spec.preprocessing

    def _second(self) -> Embedder:
        with self._opening:
            if self._opened is None:
                self._opened = self._checked(self._open_windows())
            return self._opened

    def _checked(self, opened: Embedder) -> Embedder:
        wanted, found = self.windows * self.spec.dim, opened.spec.dim
        if found != wanted:
            raise ConfigError(f"the network of {self.spec.name}'s windows answers with {found} values, not {wanted}")
        if opened.spec.weights_sha256 != self.spec.weights_sha256:
            raise ConfigError(f"the network of {self.spec.name}'s windows was made of other weights; export both anew")
        return opened
