"""What an embedder promises. Knows shapes and identities; no runtime and no index."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from guard.errors import CheckError

if TYPE_CHECKING:
    from guard.pixels import ImageBatch
    from guard.types import Descriptors

__all__ = [
    "Embedder",
    "EmbedderSpec",
    "QueryDescriptors",
    "SupportsQuery",
    "SupportsWindows",
    "Thresholds",
    "check_rows",
    "embed_query",
    "unit_rows",
]

UNIT_SLACK = 1e-3  # how far the norm of a row may be from 1 before the embedder is called broken

Metric = Literal["cosine", "hamming"]


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Similarities that come with an embedder until a calibration replaces them; both inclusive."""

    flag: float
    block: float
    source: str
    """Where they come from: a paper, or the command and date of an evaluation."""
    whitened: Thresholds | None = None
    """Those of an index with the whitening that it has by default (guard.indexes.usual); None: it has none then."""
    windows: Thresholds | None = None
    """Those of checks that look at windows of a picture (query_views = "windows" or "windows+levels"); None: these
    serve for them too."""
    rivals: Thresholds | None = None
    """Those of an index that weighs similarities beside rivals (guard.indexes.rivals); None: it does not by itself."""
    regions: Thresholds | None = None
    """Those of an index that holds crops and an equalised copy of each reference too; None: these serve for it too."""

    def of(self, *, windows: bool) -> Thresholds:
        """Those of checks with windows, or without."""
        return self.windows or self if windows else self


@dataclass(frozen=True, slots=True)
class EmbedderSpec:
    """The identity of an embedder. An index built with another one of these refuses to load."""

    name: str
    dim: int
    input_size: int
    """Side in px of the square that the network sees."""
    preprocessing: str
    """Resize, crop, interpolation, mean and std in one canonical string."""
    weights_sha256: str
    """Of the weights; the same for every runtime that runs them. "" for an embedder without weights."""
    metric: Metric = "cosine"
    """"hamming": every value is +-1/sqrt(dim), so that cosine = 1 - 2 * bits / dim and rows pack into bits."""
    thresholds: Thresholds | None = None

    def identity(self) -> dict[str, str | int]:
        """The fields that an index must agree on; thresholds are advice and not among them."""
        return {
            "name": self.name,
            "dim": self.dim,
            "input_size": self.input_size,
            "preprocessing": self.preprocessing,
            "weights_sha256": self.weights_sha256,
            "metric": self.metric,
        }


@runtime_checkable
class Embedder(Protocol):
    @property
    def spec(self) -> EmbedderSpec: ...

    def embed(self, batch: ImageBatch) -> Descriptors:
        """Return one descriptor an image, in the order of the batch.

        Returns (n, dim) float32 rows of unit L2 norm (within 1e-5): a numpy array, or a tensor on
        the device of the batch if the batch is a tensor and the embedder runs there. n = 0 gives (0, dim).
        Deterministic; a row does not depend on the rest of its batch.
        Raises CheckError(stage="embed") if the runtime fails or a value is not finite.
        """
        ...


@dataclass(frozen=True, slots=True, eq=False)
class QueryDescriptors:
    """Descriptors of several views an image, and whether the image carries enough detail to be matched."""

    vectors: npt.NDArray[np.float32]
    """(n, views, dim), rows of unit norm; the first view is the image itself. Or a tensor of that shape."""
    usable: npt.NDArray[np.bool_]
    """(n,) False: too little detail for this embedder; nothing that it finds may count."""
    handicap: npt.NDArray[np.float32] | None = None
    """(views,) By how much less each view's similarities count than those of the picture as a whole; None: all alike.
    Many parts of a picture are like a part of some other, so that at equal similarity they say less."""

    def counted(self, similarity: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Less the handicap. similarity: (n * views, c), or (views, c) of one picture: what an index found for rows."""
        if self.handicap is None:
            return similarity
        return similarity - np.tile(self.handicap, len(similarity) // len(self.handicap))[:, None]


@runtime_checkable
class SupportsWindows(Protocol):
    """An embedder that describes parts of a picture without embedding each of them."""

    @property
    def windows(self) -> int:
        """How many parts: those of guard.embedders.views.CROPS, in that order."""
        ...

    def embed_windows(self, batch: ImageBatch) -> Any:
        """(n, windows, dim) rows as of `embed`, which also says of what type, and what is raised."""
        ...

    def windows_identity(self) -> str:
        """What these rows depend on beside the spec's identity, such as the size at which the picture is seen."""
        ...


@runtime_checkable
class SupportsQuery(Protocol):
    """An embedder that looks at a query from several sides (flips, quarter turns), or can decline one."""

    def embed_query(self, batch: ImageBatch) -> QueryDescriptors: ...


def embed_query(embedder: Embedder, batch: ImageBatch) -> QueryDescriptors:
    """Embed for a look-up: with the embedder's own views where it has them, else one view.

    Raises CheckError(stage="embed") for rows that are no descriptors: a NaN lies below every threshold, and
    would pass as a picture that matches nothing.
    """
    embed_views = getattr(embedder, "embed_query", None)  # isinstance of a protocol takes as long as a small index
    if embed_views is not None:
        query: QueryDescriptors = embed_views(batch)
        dim = query.vectors.shape[-1]
        check_rows(query.vectors.reshape(-1, dim), embedder.spec, len(batch) * query.vectors.shape[1])
        return query
    vectors = embedder.embed(batch)
    check_rows(vectors, embedder.spec, len(batch))
    return QueryDescriptors(vectors[:, None, :], np.ones(len(batch), np.bool_))


def check_rows(vectors: Any, spec: EmbedderSpec, n: int) -> None:
    """Raise CheckError(stage="embed") unless there are n finite rows of unit norm; an array or a tensor."""
    if tuple(vectors.shape) != (n, spec.dim):
        raise CheckError(
            f"embedder {spec.name} returned {tuple(vectors.shape)} for {n} rows; expected {(n, spec.dim)}",
            stage="embed",
            reason="shape",
        )
    if n == 0:
        return
    norms = np.linalg.norm(vectors, axis=1) if isinstance(vectors, np.ndarray) else vectors.float().norm(dim=1)
    low, high = float(norms.min()), float(norms.max())  # NaN and infinity survive both
    if not (low >= 1 - UNIT_SLACK and high <= 1 + UNIT_SLACK):
        raise CheckError(
            f"embedder {spec.name} returned rows of norm {low:g} to {high:g}; expected 1", stage="embed", reason="norm"
        )


def unit_rows(raw: npt.NDArray[Any]) -> Descriptors:
    """(n, dim) of any float type -> float32 rows of unit L2 norm.

    Raises CheckError(stage="embed") for a value that is not finite, or for a row of zeros.
    """
    rows = raw.astype(np.float32)  # not float16: it rounds a cosine at 1e-3
    if not np.isfinite(rows).all():
        raise CheckError("the embedder returned NaN or infinity", stage="embed", reason="not_finite")
    norms = np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True)
    if not norms.all():
        raise CheckError("the embedder returned a row of zeros", stage="embed", reason="zero_norm")
    unit: Descriptors = (rows / norms).astype(np.float32)
    return unit
