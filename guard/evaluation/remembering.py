"""An embedder for several guards that look at the same pictures one after another. Knows its last batch alone."""

from __future__ import annotations

from typing import Any

from guard.embedders.base import Embedder, EmbedderSpec
from guard.pixels import ImageBatch, RGBArray

__all__ = ["Remembering"]


class Remembering:
    """Embeds a batch once, however often it is asked for in a row: the same arrays, not only equal ones."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder: Any = embedder
        self._last: dict[str, tuple[tuple[RGBArray, ...], Any]] = {}

    @property
    def spec(self) -> EmbedderSpec:
        spec: EmbedderSpec = self._embedder.spec
        return spec

    @property
    def windows(self) -> int:
        return int(getattr(self._embedder, "windows", 0))

    def embed(self, batch: ImageBatch) -> Any:
        return self._once("embed", batch)

    def embed_windows(self, batch: ImageBatch) -> Any:
        return self._once("embed_windows", batch)

    def windows_identity(self) -> str:
        return str(self._embedder.windows_identity())

    def _once(self, what: str, batch: ImageBatch) -> Any:
        arrays, rows = self._last.get(what, ((), None))
        asked = batch.as_arrays()
        if rows is None or len(asked) != len(arrays) or any(a is not b for a, b in zip(asked, arrays, strict=True)):
            rows = getattr(self._embedder, what)(batch)
            self._last[what] = (asked, rows)
        return rows
