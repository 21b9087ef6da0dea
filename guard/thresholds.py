"""Which similarities flag and block in one guard: set, advised by the embedder, or kept to a rate by a calibration."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from guard.calibration.target import FalsePositiveRate
from guard.embedders.views import looks_at_windows
from guard.indexes.usual import advised
from guard.rules import Rules
from guard.small.record import small_of

if TYPE_CHECKING:
    from guard.calibration.calibrated import Calibrated
    from guard.calibration.record import ComparedPixels
    from guard.config import GuardConfig
    from guard.embedders.base import Embedder, EmbedderSpec, Thresholds
    from guard.indexes.base import Index
    from guard.small.record import SmallSet
    from guard.verification.verifier import Verifier

__all__ = ["advice_of", "compared_pixels", "rules_of"]


def advice_of(index: Index, spec: EmbedderSpec, *, windows: bool = False) -> Thresholds | None:
    """What flags and blocks in an index where nothing is set: a small set's own, else the embedder's; None: neither.

    Of similarities as the index finds them, before a check weighs them beside rivals. windows: of pictures that are
    looked up by their windows too.
    """
    small = small_of(index)
    manifest = index.manifest
    if small:
        return small.thresholds
    return advised(spec, manifest.transform, windows=windows, regions=manifest.regions > 1, checks=False)


def compared_pixels(config: GuardConfig, verifier: Verifier | None = None) -> ComparedPixels | None:
    """How checks compare pixels; None if they do not, or only to confirm what counts anyway.

    config: in force, see guard.comparing. verifier: None for the guard's own.
    """
    if config.verify is not True or config.verify_margin == 0:
        return None
    from guard.calibration.record import ComparedPixels
    from guard.verification.verifier import identity_of

    return ComparedPixels(identity_of(verifier), config.verify_candidates)


def rules_of(
    config: GuardConfig,
    index: Index,
    embedder: Embedder,
    calibration: Calibrated | None,
    name: str,
    pixels: ComparedPixels | None = None,
    small: SmallSet | None = None,
) -> Rules:
    """The rule of every collection.

    The embedder's advice is about its own cosines and about the whitening that an index has by default, each without
    and with windows of the query and crops of the references, not about what another transform makes of them. A small
    set advises for itself.
    config: in force. name: of the index, for errors. pixels: compared_pixels of it. Of pixels that only confirm, no
    strength counts by itself at a rate, and similarity has the whole rate.
    Raises ConfigError for a threshold that is neither set nor advised, or a rate that the calibration cannot keep.
    """
    policy = config.policy.build()
    asked, strength_of = None, None
    own = [policy.flag, policy.block]
    for one in policy.collections.values():
        own += [one.flag, one.block]
    if any(isinstance(value, FalsePositiveRate) for value in own):
        from guard.calibration.calibrated import threshold_of

        hashes = policy.identical != "ignore"
        asked = threshold_of(calibration, index=name, query_views=config.views, hashes=hashes, pixels=pixels)
        if pixels is not None and calibration is not None:
            strength_of = lambda target: calibration.strength(target.rate)  # noqa: E731
        elif config.verify is True:
            strength_of = lambda _: math.inf  # noqa: E731
    if small is not None:
        own_advice = f"the small set, {small.count} references looked up among themselves"
        return Rules.resolve(
            policy, small.thresholds, threshold_of=asked, strength_of=strength_of, advised_by=own_advice
        )
    transform = getattr(index.manifest, "transform", None)
    regions = getattr(index.manifest, "regions", 1) > 1
    advice = advised(embedder.spec, transform, windows=looks_at_windows(config.views), regions=regions)
    if transform is None or advice is not None:
        return Rules.resolve(policy, advice, threshold_of=asked, strength_of=strength_of)
    return Rules.resolve(
        policy,
        None,
        threshold_of=asked,
        strength_of=strength_of,
        without="and the embedder's own thresholds do not hold for an index with such a transform: set policy.flag and "
        "policy.block, measured with `memguard eval descriptors` and the same transform, or take it off with "
        "`memguard index transform --remove`",
    )
