"""What an index does to descriptors before it compares them: whitening, and the background of score normalisation.

Knows the maths and its file; no search and no manifest's other fields. What it makes of similarities in checks is in
guard.indexes.rivals. A whitened vector is
x -> normalise(W (x - mean)) with W W' = the inverse of the references' covariance, which is shrunk towards its scaled
identity (Ledoit and Wolf 2004): with few references the sample covariance alone says more than it knows. A power below
1 whitens less, W W' = that inverse to the power: directions in which references hardly differ are full of noise, and
whitening blows it up. Normalisation
lowers each similarity by beta times the mean similarity of the query to its nearest background pictures (Pizzi et al.
2022, arXiv:2202.10261, equation 8): a query that is near to everything must come nearer to count.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from guard.errors import CheckError, ConfigError, IndexLoadError, MissingExtraError
from guard.indexes.layout import file_entry
from guard.indexes.manifest import NormalisationEntry, RivalsEntry, TransformEntry, WhiteningEntry
from guard.indexes.rivals import Rivals
from guard.types import Descriptors

__all__ = [
    "BETA",
    "MAX_BACKGROUND",
    "NEAREST",
    "POWER",
    "Normalisation",
    "Transform",
    "Whitening",
    "fit_whitening",
    "ledoit_wolf",
]

BETA, NEAREST = 1.0, 3  # as SSCD is evaluated ("1.00[0,2]", the three nearest), Pizzi et al. 2022
POWER = 0.5  # ranks as cosines do, and separates nearly as well as more whitening does (docs/results.md)
MAX_BACKGROUND = 100_000  # rows: 100 MB of 256 values, and as much again to look through for each query
MIN_VARIANCE = 4e-9  # of unit rows; below it the rounding of float32 exceeds a thousandth of what whitening makes of it
_HEADER_BYTES = 4096  # more than the names and shapes of three tensors take
_UNIT_SLACK = 1e-3
_ROWS = 4096

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Whitening:
    """x -> normalise(matrix (x - mean))."""

    mean: npt.NDArray[np.float32]
    """(d,)."""
    matrix: npt.NDArray[np.float32]
    """(dim, d); dim <= d directions, those of the largest variance first."""
    shrinkage: float
    """In [0, 1]: 0 takes the covariance as it is, 1 only subtracts the mean (and cuts the dimension)."""
    chosen: bool
    """True: by Ledoit and Wolf's estimate."""
    references: int
    """How many it was fitted on."""
    power: float = 1.0
    """In (0, 1]: of the inverse covariance; 1 whitens fully."""


@dataclass(frozen=True, slots=True, eq=False)
class Normalisation:
    """similarity -> similarity - beta * mean similarity of the query to its `nearest` background pictures."""

    background: Descriptors
    """(b, d) unit rows as the embedder made them, of pictures that are no references."""
    beta: float
    nearest: int
    """With fewer background pictures, the mean is over all of them; with none, nothing is subtracted."""
    source: str
    """Where the pictures came from, in words."""


@dataclass(frozen=True, slots=True, eq=False)
class Transform:
    """Whitening, normalisation, or both; whitening first, and of the background too. Rivals are weighed in checks."""

    whitening: Whitening | None = None
    normalisation: Normalisation | None = None
    rivals: Rivals | None = None

    def rows(self, x: Descriptors) -> Descriptors:
        """(n, d) rows as the embedder made them -> (n, dim) unit rows that compare; n = 0 is allowed.

        Raises CheckError(stage="search") for a row that has no part in the directions that were kept.
        """
        if self.whitening is None:
            return x
        white = (x.astype(np.float64) - self.whitening.mean) @ self.whitening.matrix.T.astype(np.float64)
        norms = np.linalg.norm(white, axis=1, keepdims=True)
        if not norms.all():
            raise no_direction()
        unit: Descriptors = (white / norms).astype(np.float32)
        return unit

    @property
    def background(self) -> Descriptors | None:
        """(b, dim) rows that compare with those of `rows`."""
        return None if self.normalisation is None else self.rows(self.normalisation.background)

    @property
    def identity(self) -> str:
        """Changes with any of its numbers."""
        digest = hashlib.sha256()
        white, normal = self.whitening, self.normalisation
        for array in (*((white.mean, white.matrix) if white else ()), *((normal.background,) if normal else ())):
            digest.update(np.ascontiguousarray(array, "<f4").tobytes())
        digest.update(repr((normal.beta, normal.nearest) if normal else None).encode())
        digest.update(repr(self.rivals).encode() if self.rivals else b"")
        return digest.hexdigest()

    def without(self, rows: npt.NDArray[np.bool_]) -> Transform:
        """The same transform, its background without some pictures; (b,)."""
        if self.normalisation is None:
            return self
        return replace(self, normalisation=replace(self.normalisation, background=self.normalisation.background[~rows]))

    def write(self, path: Path, dim: int) -> TransformEntry:
        """Write the file; returns its entry in the manifest. dim: of the embedder's descriptors."""
        tensors: dict[str, npt.NDArray[np.float32]] = {}
        white, normal = self.whitening, self.normalisation
        if white is not None:
            tensors |= {"whitening.mean": white.mean, "whitening.matrix": white.matrix}
        if normal is not None:
            tensors["background"] = normal.background
        plain = {name: np.ascontiguousarray(t, np.float32) for name, t in tensors.items()}
        # the checksum is what a calibration knows of the transform: it must change with the rivals
        _safetensors().save_file(plain, str(path), metadata={"rivals": repr(self.rivals)} if self.rivals else None)
        return TransformEntry(
            dim=dim if white is None else len(white.matrix),
            whitening=None
            if white is None
            else WhiteningEntry(
                shrinkage=white.shrinkage,
                chosen_by="ledoit_wolf" if white.chosen else "user",
                references=white.references,
                power=white.power,
            ),
            normalisation=None
            if normal is None
            else NormalisationEntry(
                beta=normal.beta, nearest=normal.nearest, background=len(normal.background), source=normal.source
            ),
            rivals=None if self.rivals is None else RivalsEntry(**asdict(self.rivals)),
            sha256=file_entry(path).sha256,
        )

    @classmethod
    def read(cls, path: Path, entry: TransformEntry, dim: int) -> Transform:
        """Raise IndexLoadError, naming the file, unless it is the one of the entry; dim: of the embedder."""
        shapes: dict[str, tuple[int, ...]] = {}
        if entry.whitening is not None:
            shapes |= {"whitening.mean": (dim,), "whitening.matrix": (entry.dim, dim)}
        if entry.normalisation is not None:
            shapes["background"] = (entry.normalisation.background, dim)
        tensors = _read(path, shapes, entry.sha256)
        whitening = normalisation = None
        if entry.whitening is not None:
            kept = entry.whitening
            whitening = Whitening(
                tensors["whitening.mean"],
                tensors["whitening.matrix"],
                kept.shrinkage,
                kept.chosen_by == "ledoit_wolf",
                kept.references,
                kept.power,
            )
        if entry.normalisation is not None:
            norms = np.linalg.norm(tensors["background"].astype(np.float64), axis=1)
            if (np.abs(norms - 1) > _UNIT_SLACK).any():
                raise IndexLoadError(f"{path}: the background's rows are no unit vectors; transform the index anew")
            stated = entry.normalisation
            normalisation = Normalisation(tensors["background"], stated.beta, stated.nearest, stated.source)
        return cls(whitening, normalisation, entry.rivals.plain() if entry.rivals else None)


def fit_whitening(
    rows: npt.NDArray[np.float32], *, shrinkage: float | None = None, dim: int | None = None, power: float = 1.0
) -> Whitening:
    """Fit on reference descriptors, read in blocks.

    rows: (n, d) float32 unit rows, also mapped from a file; n >= 2, not all the same. shrinkage: in [0, 1], None for
    Ledoit and Wolf's estimate. dim: how many directions to keep, 1 to d, None for all. power: above 0, to 1, of the
    inverse covariance.
    Raises ConfigError for values out of range, or references whose covariance cannot be inverted so.
    """
    n, d = rows.shape
    if shrinkage is not None and not 0 <= shrinkage <= 1:
        raise ConfigError(f"shrinkage is {shrinkage:g}; it lies in [0, 1]")
    if dim is not None and not 1 <= dim <= d:
        raise ConfigError(f"dim is {dim}; descriptors of {d} values can be kept in 1 to {d}")
    if not 0 < power <= 1:
        raise ConfigError(f"power is {power:g}; it lies above 0 and is at most 1")
    if n < 2:
        raise ConfigError(f"whitening needs at least 2 references, better thousands; the index holds {n}")
    mean = sum((block.sum(axis=0) for block in _blocks(rows)), np.zeros(d)) / n
    covariance, fourth = np.zeros((d, d)), 0.0
    for block in _blocks(rows):
        centred = block - mean
        covariance += centred.T @ centred
        fourth += float(((centred**2).sum(axis=1) ** 2).sum())
    covariance /= n
    estimated = ledoit_wolf(covariance, fourth / n, n)
    chosen = estimated if shrinkage is None else float(shrinkage)
    scale = float(np.trace(covariance)) / d
    values, vectors = np.linalg.eigh((1 - chosen) * covariance + chosen * scale * np.eye(d))
    order = np.argsort(-values, kind="stable")[:dim]
    if values[order[-1]] < MIN_VARIANCE:
        raise ConfigError(
            f"the covariance of {n} references with shrinkage {chosen:g} leaves directions without variance; "
            "take more shrinkage, or fewer dimensions"
        )
    matrix = (vectors[:, order] / values[order] ** (power / 2)).T
    return Whitening(mean.astype(np.float32), matrix.astype(np.float32), chosen, shrinkage is None, n, power)


def ledoit_wolf(covariance: Floats, fourth: float, n: int) -> float:
    """How far to shrink a sample covariance towards its scaled identity, in [0, 1].

    covariance: (d, d), with 1/n. fourth: mean of the fourth power of the centred rows' norms.
    The estimate minimises the expected squared error under the Frobenius norm.
    Source: Ledoit and Wolf 2004, A well-conditioned estimator for large-dimensional covariance matrices, lemma 3.2-3.4.
    """
    d = len(covariance)
    squared = float((covariance**2).sum())
    apart = squared - float(np.trace(covariance)) ** 2 / d  # ||S - m I||^2: what there is to lose
    # The mean over rows of ||x x' - S||^2 is that of ||x||^4 less ||S||^2: no row's product is formed.
    error = max(0.0, fourth - squared) / n
    return 1.0 if apart <= 0 else min(1.0, error / apart)


def no_direction() -> CheckError:
    return CheckError(
        "a descriptor has no part in the directions that the index's whitening kept; keep more of them (--dim)",
        stage="search",
        reason="norm",
    )


def _blocks(rows: npt.NDArray[np.float32]) -> Iterator[Floats]:
    for start in range(0, len(rows), _ROWS):
        yield rows[start : start + _ROWS].astype(np.float64)


def _read(path: Path, shapes: dict[str, tuple[int, ...]], sha256: str) -> dict[str, npt.NDArray[np.float32]]:
    """The tensors of a file after its size, checksum, names, shapes and types were compared."""
    anew = "transform the index anew, or rebuild it"
    try:
        found, limit = path.stat().st_size, _HEADER_BYTES + 4 * sum(int(np.prod(s)) for s in shapes.values())
        if found > limit:
            raise IndexLoadError(f"{path} has {found} bytes where its tensors need at most {limit}; {anew}")
        if file_entry(path).sha256 != sha256:
            raise IndexLoadError(f"{path} is not the file of the manifest (its sha256 differs); {anew}")
    except OSError as exc:
        raise IndexLoadError(f"{path} cannot be read ({exc.strerror}); {anew}") from exc
    try:
        tensors: dict[str, Any] = _safetensors().load_file(str(path))
    except Exception as exc:  # safetensors' own error is no child of any that can be named without it
        if isinstance(exc, MissingExtraError):
            raise
        raise IndexLoadError(f"{path} is no safetensors file that can be read ({exc}); {anew}") from exc
    said = {name: (tuple(t.shape), str(t.dtype)) for name, t in tensors.items()}
    expected = {name: (shape, "float32") for name, shape in shapes.items()}
    if said != expected:
        raise IndexLoadError(f"{path} holds {said} where the manifest needs {expected}; {anew}")
    if not all(np.isfinite(t).all() for t in tensors.values()):
        raise IndexLoadError(f"{path} holds values that are not finite; {anew}")
    return tensors


def _safetensors() -> ModuleType:
    try:
        import safetensors.numpy
    except ImportError as exc:
        raise MissingExtraError("the transform of an index", extra="cpu") from exc
    return safetensors.numpy
