"""Which similarities flag and block in one guard: set, advised by the embedder, or kept to a rate by a calibration."""

from __future__ import annotations

from typing import TYPE_CHECKING

from guard.calibration.target import FalsePositiveRate
from guard.rules import Rules

if TYPE_CHECKING:
    from guard.calibration.calibrated import Calibrated
    from guard.config import GuardConfig
    from guard.embedders.base import Embedder
    from guard.indexes.base import Index

__all__ = ["rules_of"]


def rules_of(config: GuardConfig, index: Index, embedder: Embedder, calibration: Calibrated | None, name: str) -> Rules:
    """The rule of every collection.

    The embedder's advice is about its own cosines, not about what a transform makes of them.
    name: of the index, for errors. Raises ConfigError for a threshold that is neither set nor advised, or a rate that
    the calibration cannot keep.
    """
    policy = config.policy.build()
    asked = None
    own = [policy.flag, policy.block]
    for one in policy.collections.values():
        own += [one.flag, one.block]
    if any(isinstance(value, FalsePositiveRate) for value in own):
        from guard.calibration.calibrated import threshold_of

        hashes = policy.identical != "ignore"
        asked = threshold_of(calibration, index=name, query_views=config.query_views, hashes=hashes)
    if getattr(index.manifest, "transform", None) is None:
        return Rules.resolve(policy, embedder.spec.thresholds, threshold_of=asked)
    return Rules.resolve(
        policy,
        None,
        threshold_of=asked,
        without="and the embedder's own thresholds do not hold for an index with a transform: set policy.flag and "
        "policy.block, measured with `memguard eval descriptors` and the same transform, or take it off with "
        "`memguard index transform --remove`",
    )
