"""What is known of an embedder's descriptors in general: their mean, their covariance, and some that are no reference.

Small sets are whitened and normalised by these instead of by themselves: thirty pictures say next to nothing about 256
directions, and what a set says of itself would be part of a stolen index. Computed on procedural pictures alone by
`python -m guard.training.statistics`. Tied to the weights: other weights have other statistics.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from guard.embedders.shipped import FOLDER, SHIPPED
from guard.errors import ConfigError, MissingExtraError

if TYPE_CHECKING:
    from guard.embedders.base import EmbedderSpec

__all__ = ["FILE", "Statistics", "read_statistics", "statistics_of"]

FILE = f"{SHIPPED}.statistics.safetensors"
_UNIT_SLACK = 1e-2  # the background is stored as float16


@dataclass(frozen=True, slots=True, eq=False)
class Statistics:
    """Of the descriptors of many pictures that are nobody's."""

    weights_sha256: str
    """Of the embedder that made them."""
    mean: npt.NDArray[np.float32]
    """(d,)."""
    matrix: npt.NDArray[np.float32]
    """(dim, d) whitening: see guard.indexes.transform.Whitening."""
    background: npt.NDArray[np.float32]
    """(b, d) unit rows of other pictures than the mean and the covariance are of."""
    shrinkage: float
    pictures: int
    """How many the mean and the covariance are of."""
    source: str
    """What the pictures are, in words."""


def statistics_of(spec: EmbedderSpec, path: Path | None = None) -> tuple[Statistics | None, str]:
    """The statistics of an embedder, or None and why there are none, in words.

    path: None for those that come with the package.
    """
    path = path or FOLDER / FILE
    if not path.is_file():
        return None, "no statistics of descriptors come with this installation"
    found = read_statistics(path)
    if found.weights_sha256 != spec.weights_sha256:
        return None, (
            f"the statistics in {path.name} are of other weights ({found.weights_sha256[:12]}) than the embedder "
            f"{spec.name!r} has ({spec.weights_sha256[:12] or 'none'}); for the one that ships, "
            "`python -m guard.training.statistics` makes them anew"
        )
    return found, ""


def read_statistics(path: Path) -> Statistics:
    """Raises ConfigError for a file that is damaged."""
    try:
        from safetensors import safe_open
    except ImportError as exc:
        raise MissingExtraError("the statistics of descriptors", extra="cpu") from exc
    try:
        with safe_open(path, framework="numpy") as file:
            said: dict[str, str] = file.metadata() or {}
            tensors: dict[str, Any] = {name: file.get_tensor(name).astype(np.float32) for name in file.keys()}  # noqa: SIM118
        found = Statistics(
            weights_sha256=said["weights_sha256"],
            mean=tensors["mean"],
            matrix=tensors["matrix"],
            background=tensors["background"],
            shrinkage=float(said["shrinkage"]),
            pictures=int(said["pictures"]),
            source=said["source"],
        )
    except Exception as exc:  # safetensors' own error is no child of any that can be named
        raise ConfigError(f"{path} cannot be read as statistics ({exc}); install the package anew") from exc
    dim = len(found.mean)
    norms = np.linalg.norm(found.background, axis=1)
    shaped = found.matrix.ndim == 2 and found.matrix.shape[1] == dim == found.background.shape[1]
    if not shaped or not np.isfinite(found.matrix).all() or (np.abs(norms - 1) > _UNIT_SLACK).any():
        raise ConfigError(f"{path} is damaged: its tensors do not fit one another; install the package anew")
    return found
