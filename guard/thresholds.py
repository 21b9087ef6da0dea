"""Which similarities flag and block in one guard: set, advised by the embedder, or kept to a rate by a calibration."""

from __future__ import annotations

from typing import TYPE_CHECKING

from guard.calibration.target import FalsePositiveRate

if TYPE_CHECKING:
    from guard.calibration.calibrated import Calibrated
    from guard.config import GuardConfig
    from guard.embedders.base import Embedder
    from guard.indexes.base import Index

__all__ = ["thresholds_of"]


def thresholds_of(
    config: GuardConfig, index: Index, embedder: Embedder, calibration: Calibrated | None, name: str
) -> tuple[float, float]:
    """(flag, block). The embedder's advice is about its own cosines, not about what a transform makes of them.

    name: of the index, for errors. Raises ConfigError for a threshold that is neither set nor advised, or a rate that
    the calibration cannot keep.
    """
    policy = config.policy.build()
    asked = None
    if isinstance(policy.flag, FalsePositiveRate) or isinstance(policy.block, FalsePositiveRate):
        from guard.calibration.calibrated import threshold_of

        hashes = policy.identical != "ignore"
        asked = threshold_of(calibration, index=name, query_views=config.query_views, hashes=hashes)
    if getattr(index.manifest, "transform", None) is None:
        return policy.resolve(embedder.spec.thresholds, threshold_of=asked)
    return policy.resolve(
        None,
        threshold_of=asked,
        without="and the embedder's own thresholds do not hold for an index with a transform: set policy.flag and "
        "policy.block, measured with `memguard eval descriptors` and the same transform, or take it off with "
        "`memguard index transform --remove`",
    )
