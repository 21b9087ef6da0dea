"""The transform that an index has without being asked for it. Knows when, and what it does to thresholds; no maths.

A whitening fitted on the references tells copies from look-alikes better than plain cosines do, and rivals do it
better still (docs/results.md). Both have thresholds of their own, which come with the embedder. An embedder without
those is left as it is.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from guard.errors import ConfigError
from guard.indexes.rivals import Rivals
from guard.indexes.transform import POWER, Transform, fit_whitening

if TYPE_CHECKING:
    from guard.embedders.base import EmbedderSpec, Thresholds
    from guard.indexes.manifest import TransformEntry

__all__ = ["ABOVE", "advised", "is_usual", "usual_transform"]

ABOVE = 250
"""References from which a set says enough about its 256 directions, exclusive: 260 do, 70 do not (docs/results.md)."""


def usual_transform(spec: EmbedderSpec, rows: npt.NDArray[np.float32]) -> Transform | None:
    """The whitening of references, with rivals, or None where cosines are compared.

    rows: (n, d) descriptors as the embedder made them, without those of crops; also mapped from a file.
    """
    if spec.thresholds is None or spec.thresholds.whitened is None or len(rows) <= ABOVE:
        return None
    with suppress(ConfigError):  # hundreds of one and the same picture have no covariance
        return Transform(fit_whitening(rows, power=POWER), rivals=Rivals() if spec.thresholds.whitened.rivals else None)
    return None


def is_usual(transform: TransformEntry, dim: int) -> bool:
    """Whether a transform is one that `usual_transform` makes; dim: of the embedder."""
    white = transform.whitening
    return (
        white is not None
        and (white.chosen_by, white.power) == ("ledoit_wolf", POWER)
        and transform.dim == dim
        and transform.normalisation is None
        and (transform.rivals is None or transform.rivals.plain() == Rivals())
    )


def advised(
    spec: EmbedderSpec, transform: TransformEntry | None, *, windows: bool = False, checks: bool = True
) -> Thresholds | None:
    """What the embedder advises for an index with this transform: about other similarities than its own, nothing.

    windows: of checks that look at windows of a picture. checks: False for similarities as the index finds them, which
    are not weighed beside rivals.
    """
    advice = spec.thresholds
    if transform is not None and advice is not None:
        advice = advice.whitened if is_usual(transform, spec.dim) else None
        if checks and advice is not None and transform.rivals is not None:
            advice = advice.rivals
    return advice and advice.of(windows=windows)
