"""An embedder with the transform of an index: whitening, score normalisation, or both. Knows vectors; no pictures.

Fitted as an index would be: the whitening on the untouched references of each split alone, the background on pictures
that share no source with any picture of the run. So its similarities differ from split to split.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from guard.errors import ConfigError
from guard.evaluation.entrants import Vectors, best_of_views
from guard.evaluation.protocol import Plan
from guard.evaluation.scores import Embedded, Similarities
from guard.indexes.transform import BETA, NEAREST, POWER, Normalisation, Transform, fit_whitening
from guard.indexes.transformed_rows import near_references

__all__ = ["Transformed", "outside", "transformed"]


@dataclass(frozen=True, slots=True)
class Transformed:
    """The entrant `base` behind a transform; see Derived."""

    base: str
    whitened: bool = False
    normalised: bool = False
    """Needs the background vectors of the base."""
    shrinkage: float | None = None
    """None: Ledoit and Wolf's estimate."""
    beta: float = BETA
    nearest: int = NEAREST
    power: float = POWER

    @property
    def name(self) -> str:
        return self.base + "+whitened" * self.whitened + "+normalised" * self.normalised

    def similarities(self, embedded: Mapping[str, Embedded], drawn: Plan) -> Similarities:
        """As TransformedIndex gives them, each view of a query for itself; the best view of query and reference counts,
        less the handicap of the view, which an index knows nothing of.

        A view of zeros, of a picture that can match nothing, has similarity 0 with every reference.
        Raises ConfigError if the background has fewer than `nearest` pictures that are no near-copies of others.
        """
        base = embedded[self.base]
        n, views, d = base.references.shape
        normalisation = self._normalisation(base) if self.normalised else None
        fits = drawn.is_reference if self.whitened else drawn.is_reference[:1]
        parts: list[tuple[Transform, Vectors, Vectors | None]] = []
        for chosen in fits:
            white = self.fit(base.references[chosen].reshape(-1, d)).whitening if self.whitened else None
            transform = Transform(white, normalisation)
            parts.append((transform, transform.rows(base.references.reshape(-1, d)), transform.background))

        def similarities(picture: int) -> npt.NDArray[np.float32]:
            queries = base.queries[picture]
            flat = queries.reshape(-1, d)
            seen = flat.any(axis=1)
            out = np.zeros((len(parts), len(flat), n * views), np.float32)
            for part, (transform, references, background) in zip(out, parts, strict=True):
                rows = transform.rows(flat[seen])
                part[seen] = rows @ references.T
                if background is not None:
                    near = np.partition(rows @ background.T, -self.nearest, axis=1)[:, -self.nearest :]
                    part[seen] -= self.beta * near.mean(axis=1, keepdims=True)
            return best_of_views(out.reshape(len(parts), len(queries), -1, n, views), base.handicap)

        return similarities

    def fit(self, rows: Vectors) -> Transform:
        """The whitening of references (n, d), which it must have."""
        return Transform(fit_whitening(rows, shrinkage=self.shrinkage, power=self.power))

    def _normalisation(self, base: Embedded) -> Normalisation:
        background = outside(base)
        if len(background) < self.nearest:
            raise ConfigError(
                f"the background of {self.base} has {len(background)} pictures that are no near-copies of the "
                f"evaluated ones, and the mean is over the {self.nearest} nearest; give more with --background"
            )
        return Normalisation(background, self.beta, self.nearest, "")


def outside(base: Embedded) -> Vectors:
    """(b, d) background vectors, without those that nearly are one of the pictures."""
    if base.background is None:
        return np.empty((0, base.references.shape[2]), np.float32)
    near = near_references(base.background, base.references.reshape(-1, base.references.shape[2]))
    kept: Vectors = base.background[~near]
    return kept


def transformed(
    bases: Sequence[str],
    entrants: Iterable[str],
    *,
    whitened: bool = False,
    normalised: bool = False,
    shrinkage: float | None = None,
    beta: float = BETA,
    nearest: int = NEAREST,
    power: float = POWER,
) -> list[Transformed]:
    """Those that are asked for, of each of the bases that takes part; with both, also both in one.

    Raises ConfigError if there is nothing to transform: PDQ is compared bit by bit.
    """
    ways = [(True, False)] * whitened + [(False, True)] * normalised + [(True, True)] * (whitened and normalised)
    known = set(entrants)
    floats = [base for base in dict.fromkeys(bases) if base in known and base.partition("+")[0] != "pdq"]
    if ways and not floats:
        raise ConfigError("no embedder of floating-point values takes part that could be transformed: --embedder NAME")
    return [Transformed(base, *way, shrinkage, beta, nearest, power) for base in floats for way in ways]
