"""An index and its overlay as one: every check sees what was added, given, taken or buried before it began.

Knows when what was read of the overlay still holds; how the two are merged is guard.indexes.moment's.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from guard.indexes.hashes import HashIndex
from guard.indexes.layout import IndexFolder
from guard.indexes.moment import Moment, ids_of
from guard.indexes.overlaid_hashes import OverlaidHashes
from guard.indexes.overlay import identity_of, key_of
from guard.indexes.overlay_file import FIRST_ID, OVERLAY
from guard.indexes.overlay_state import OverlayReader, OverlayState
from guard.indexes.records import RECORDS, RecordReader
from guard.indexes.store import OpenIndex, open_index
from guard.types import Candidates

if TYPE_CHECKING:
    from guard.indexes.manifest import Manifest
    from guard.types import Descriptors, Record

__all__ = ["OverlaidIndex", "count_now", "open_overlaid", "state_of"]


def open_overlaid(path: str | Path, **options: Any) -> OverlaidIndex:
    """Open an index directory as `open_index` does, with its overlay."""
    return OverlaidIndex(open_index(path, **options), Path(path))


def state_of(path: str | Path, manifest: Manifest) -> OverlayState:
    """What the overlay of the index at path says at this moment. Raises IndexLoadError as OverlaidIndex.now does."""
    reader = OverlayReader(Path(path) / OVERLAY, identity=identity_of(manifest), dim=manifest.embedder.dim)
    try:
        return reader.state()
    finally:
        reader.close()


def count_now(path: str | Path, version: str, manifest: Manifest, state: OverlayState) -> int:
    """How many references the index at path holds with a state of its overlay, without its vectors."""
    reader = RecordReader(IndexFolder(path).version(version) / RECORDS)
    try:
        buried = {i for key in state.buried for i in ids_of(reader, key)}
        new = sum(not ids_of(reader, key_of(record)) for record in state.records.values())
        return manifest.count - len(buried) + new
    finally:
        reader.close()


class OverlaidIndex:
    """See the Index protocol. Each method answers for this moment; `now` gives one moment to ask several things of."""

    def __init__(self, base: OpenIndex, path: Path, *, clock: Callable[[], float] = time.time) -> None:
        """base: an open version of the index at path, closed with this one."""
        self.base = base
        self.overlay = OverlayReader(
            path / OVERLAY, identity=identity_of(base.manifest), dim=base.manifest.embedder.dim, clock=clock
        )
        self._moment: Moment | None = None
        self._known: dict[str, tuple[int, ...]] = {}

    def now(self) -> OpenIndex | Moment:
        """The index as it is at this moment, for one check: the version itself if the overlay is empty.

        Raises IndexLoadError, naming the file, for an overlay that is damaged or of another embedder.
        """
        state = self.overlay.state()
        if state.empty:
            return self.base
        moment = self._moment
        if moment is None or moment.state is not state:
            moment = self._moment = Moment(self.base, self.overlay, state, self._known)
        return moment

    @property
    def manifest(self) -> Manifest:
        return self.base.manifest

    @property
    def version(self) -> str:
        return self.base.version

    @property
    def folder(self) -> Path:
        return self.base.folder

    @property
    def has_thumbnails(self) -> bool:
        return self.base.has_thumbnails

    def lacks_thumbnails(self) -> bool:
        """See OpenIndex.lacks_thumbnails: those that were added at once are not asked for."""
        return self.base.lacks_thumbnails()

    @property
    def hashes(self) -> HashIndex | OverlaidHashes | None:
        return self.now().hashes

    def __len__(self) -> int:
        return len(self.now())

    def search(self, xq: Descriptors, k: int) -> Candidates:
        """See VectorIndex.search."""
        return self.now().search(xq, k)

    def similarity(self, xq: Descriptors, ids: Sequence[int]) -> npt.NDArray[np.float32]:
        """See OpenIndex.similarity."""
        return self.now().similarity(xq, ids)

    def compare(self, xq: Descriptors, xr: Descriptors) -> npt.NDArray[np.float32]:
        """See SupportsComparison."""
        return self.base.compare(xq, xr)

    def descriptors(self, ids: Sequence[int]) -> Descriptors:
        """See OpenIndex.descriptors."""
        return self.now().descriptors(ids)

    def records(self, ids: Sequence[int]) -> list[Record]:
        """See Index.records."""
        return self.now().records(ids)

    def thumbnail(self, id: int) -> bytes | None:  # noqa: A002
        """See OpenIndex.thumbnail."""
        return self.now().thumbnail(id)

    def keypoints(self, id: int) -> bytes | None:  # noqa: A002
        """See OpenIndex.keypoints; of what was added at once, none are kept."""
        return self.base.keypoints(id) if id < FIRST_ID else None

    def close(self) -> None:
        self.overlay.close()
        self.base.close()

    def __enter__(self) -> OverlaidIndex:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.close()
