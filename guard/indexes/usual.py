"""The transform and the regions that an index has without being asked for them. Knows when, and what they do to
thresholds; no maths.

A whitening fitted on the references tells copies from look-alikes better than plain cosines do, rivals do it
better still; crops of the references find images that show a part of one, and equalised copies those in other levels
(docs/results.md). All have thresholds of their own, which come with the embedder. An embedder without those is left as
it is.
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

__all__ = ["ABOVE", "REGIONS_UP_TO", "advised", "has_usual_regions", "is_usual", "usual_transform"]

ABOVE = 250
"""References from which a set says enough about its 256 directions, exclusive: 260 do, 70 do not (docs/results.md)."""
REGIONS_UP_TO = 2000
"""References up to which regions cost little: 32,000 vectors, 33 MB, and a few minutes of a build on two cores."""


def usual_transform(spec: EmbedderSpec, rows: npt.NDArray[np.float32]) -> Transform | None:
    """The whitening of references, with rivals, or None where cosines are compared.

    rows: (n, d) descriptors as the embedder made them, without those of crops; also mapped from a file.
    """
    if spec.thresholds is None or spec.thresholds.whitened is None or len(rows) <= ABOVE:
        return None
    with suppress(ConfigError):  # hundreds of one and the same picture have no covariance
        return Transform(fit_whitening(rows, power=POWER), rivals=Rivals() if spec.thresholds.whitened.rivals else None)
    return None


def has_usual_regions(spec: EmbedderSpec, count: int | None) -> bool:
    """Whether crops of so many references are indexed too; None, for a source that does not say how many: no."""
    advised = spec.thresholds is not None and spec.thresholds.regions is not None
    return advised and count is not None and count <= REGIONS_UP_TO


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
    spec: EmbedderSpec,
    transform: TransformEntry | None,
    *,
    windows: bool = False,
    regions: bool = False,
    checks: bool = True,
) -> Thresholds | None:
    """What the embedder advises for an index with this transform: about other similarities than its own, nothing.

    windows: of checks that look at windows of a picture. regions: of an index that holds crops of its references.
    checks: False for similarities as the index finds them, which are not weighed beside rivals.
    """
    advice = spec.thresholds
    if transform is not None and advice is not None:
        advice = advice.whitened if is_usual(transform, spec.dim) else None
        if checks and advice is not None and transform.rivals is not None:
            advice = advice.rivals
    if regions and advice is not None:
        advice = advice.regions or advice
    return advice and advice.of(windows=windows)
