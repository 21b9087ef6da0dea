"""The parts of a guard from an index directory: the index, the embedder that it was built with, its calibration.

Knows checked settings; reads no environment and no file of settings.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from guard.embedders.views import looks_at_windows
from guard.indexes.manifest import MANIFEST, Manifest

if TYPE_CHECKING:
    from guard.calibration.calibrated import Calibrated
    from guard.config import GuardConfig
    from guard.embedders.base import Embedder
    from guard.indexes.overlaid import OverlaidIndex

__all__ = ["Parts", "fits", "open_parts"]


@dataclass(frozen=True, slots=True, eq=False)
class Parts:
    index: OverlaidIndex
    embedder: Embedder
    name: str
    """Of the index: the label of its metrics."""
    calibration: Calibrated | None


def open_parts(
    path: Path, config: GuardConfig, embedder: Embedder | None = None, *, version: str | None = None
) -> Parts:
    """Open the version in use, or `version`. embedder: one that is loaded already; None loads the index's.

    Raises ConfigError, IndexLoadError or MissingExtraError; the text says what to do.
    """
    from guard.calibration.calibrated import Calibrated
    from guard.embedders.registry import load_index_embedder
    from guard.indexes.overlaid import open_overlaid

    index = open_overlaid(
        path,
        backend=config.index_backend,
        device=config.index_device,
        memory=config.index_memory,
        version=version,
        key=config.sealing_key(),
    )
    try:
        if embedder is None:
            options = {"device": config.device} if config.device else {}
            embedder = load_index_embedder(index.manifest.embedder.name, config.embedder, **options)
        index.manifest.require(embedder.spec, index=str(path))
        name = path.resolve().name
        # In other views windows, a network of their own, stay closed.
        looks = config.query_views == "auto" or looks_at_windows(config.query_views)
        return Parts(index, embedder, name, Calibrated.of(index.base, name, embedder if looks else None))
    except BaseException:
        index.close()
        raise


def fits(embedder: Embedder, version: Path) -> bool:
    """Whether a version folder was built with this embedder. Raises IndexLoadError for a damaged manifest."""
    built = Manifest.read(version / MANIFEST).embedder.model_dump()
    return all(built[field] == used for field, used in embedder.spec.identity().items())
