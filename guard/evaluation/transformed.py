"""An embedder with the transform of an index: whitening, score normalisation, rivals. Knows vectors; no pictures.

Fitted as an index would be: the whitening on the untouched references of each split alone, the background on pictures
that share no source with any picture of the run. So its similarities differ from split to split.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from guard.errors import ConfigError
from guard.evaluation.entrants import Vectors, best_of_regions, best_of_views
from guard.evaluation.protocol import Plan
from guard.evaluation.scores import Embedded, Similarities
from guard.indexes.rivals import DEPTH, Rivals
from guard.indexes.transform import BETA, NEAREST, POWER, Normalisation, Transform, fit_whitening
from guard.indexes.transformed_rows import near_references

__all__ = ["RIVALS", "Transformed", "outside", "transformed"]

RIVALS = "+rivals"
"""Ends the name of an entrant whose similarities are weighed beside rivals."""


@dataclass(frozen=True, slots=True)
class Transformed:
    """The entrant `base` behind a transform; see Derived."""

    base: str
    whitened: bool = False
    normalised: bool = False
    """Needs the background vectors of the base."""
    rivals: bool = False
    """Needs the whitening: the similarities at which references are alike are of whitened vectors."""
    shrinkage: float | None = None
    """None: Ledoit and Wolf's estimate."""
    beta: float = BETA
    nearest: int = NEAREST
    power: float = POWER

    @property
    def name(self) -> str:
        return self.base + "+whitened" * self.whitened + "+normalised" * self.normalised + RIVALS * self.rivals

    def similarities(self, embedded: Mapping[str, Embedded], drawn: Plan) -> Similarities:
        """As an index gives them, fitted on the pictures themselves, each view of a query for itself and each reference
        at its best view; the best view of the query counts, less its handicap, which an index knows nothing of. Beside
        rivals, a reference that is not among the nearest of a view, which a check would not find through it, is weighed
        as if none of them were like it.

        A view of zeros, of a picture that can match nothing, has similarity 0 with every reference.
        Raises ConfigError if the background has fewer than `nearest` pictures that are no near-copies of others.
        """
        base = embedded[self.base]
        n, views, d = base.references.shape
        normalisation = self._normalisation(base) if self.normalised else None
        rivals = Rivals() if self.rivals else None
        fits = drawn.is_reference if self.whitened else drawn.is_reference[:1]
        parts: list[tuple[Transform, Vectors, Vectors | None, Vectors, npt.NDArray[np.bool_]]] = []
        for chosen in fits:
            white = self.fit(base.references[chosen, 0]).whitening if self.whitened else None
            transform = Transform(white, normalisation)
            known = transform.rows(base.references.reshape(-1, d))
            whole = known[::views]
            alike = whole @ whole.T if rivals else known[:0]
            parts.append((transform, known, transform.background, alike, chosen))

        def similarities(picture: int) -> npt.NDArray[np.float32]:
            queries = base.queries[picture]
            flat = queries.reshape(-1, d)
            seen = flat.any(axis=1)
            out = np.zeros((len(parts), len(flat), n), np.float32)
            for part, (transform, references, background, alike, known) in zip(out, parts, strict=True):
                rows = transform.rows(flat[seen])
                inner = (rows @ references.T).reshape(len(rows), n, views)
                part[seen] = best_of_regions(inner, base.region_handicap)
                if rivals is not None:
                    part[seen] = beside(rivals, part[seen], alike, known)
                if background is not None:
                    near = np.partition(rows @ background.T, -self.nearest, axis=1)[:, -self.nearest :]
                    part[seen] -= self.beta * near.mean(axis=1, keepdims=True)
            return best_of_views(out.reshape(len(parts), len(queries), -1, n), base.handicap)

        return similarities

    def compared(
        self, queries: Vectors, references: Vectors, handicap: float = 0.0, region_handicap: float = 0.0
    ) -> Vectors:
        """(n, m) of other pictures, queries (n, v, d) and references (m, w, d), on which the whitening is fitted.

        Not with normalisation.
        """
        (n, views, d), (m, known, _) = queries.shape, references.shape
        transform = self.fit(references[:, 0])
        rows, stored = transform.rows(queries.reshape(-1, d)), transform.rows(references.reshape(-1, d))
        similarity = best_of_regions((rows @ stored.T).reshape(n * views, m, known), region_handicap)
        if self.rivals:
            whole = stored[::known]
            similarity = beside(Rivals(), similarity, whole @ whole.T, np.ones(m, np.bool_))
        return best_of_views(similarity.reshape(n, views, m), handicap)

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


def beside(rivals: Rivals, similarity: Vectors, alike: Vectors, known: npt.NDArray[np.bool_]) -> Vectors:
    """(r, n) similarities with all pictures, of which `known` (n,) stand in the index -> as guard.indexes.rivals.

    alike: (n, n) of the pictures as references.
    """
    among = np.flatnonzero(known)
    depth = min(DEPTH, len(among))
    some = among[np.argpartition(-similarity[:, among], depth - 1, axis=1)[:, :depth]]
    order = np.argsort(-np.take_along_axis(similarity, some, axis=1), axis=1, kind="stable")
    nearest = np.take_along_axis(some, order, axis=1)
    near = np.take_along_axis(similarity, nearest, axis=1)
    apart = np.full((len(near), 1, depth), -1, np.float32)
    spread = rivals.weighed(np.zeros((len(near), 1), np.float32), near, apart)
    weighed: Vectors = np.minimum(similarity + spread, 1)
    found = rivals.weighed(near, near, alike[nearest[:, :, None], nearest[:, None]])
    np.put_along_axis(weighed, nearest, found, axis=1)
    return weighed


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
    rivals: bool = False,
    shrinkage: float | None = None,
    beta: float = BETA,
    nearest: int = NEAREST,
    power: float = POWER,
) -> list[Transformed]:
    """Those that are asked for, of each of the bases that takes part; with the first two, also both in one.

    rivals: each that is whitened also beside rivals.

    Raises ConfigError if there is nothing to transform: PDQ is compared bit by bit.
    """
    ways = [(True, False, False)] * whitened + [(False, True, False)] * normalised
    ways += [(True, True, False)] * (whitened and normalised) + [(True, False, True)] * (whitened and rivals)
    known = set(entrants)
    floats = [base for base in dict.fromkeys(bases) if base in known and base.partition("+")[0] != "pdq"]
    if ways and not floats:
        raise ConfigError("no embedder of floating-point values takes part that could be transformed: --embedder NAME")
    return [Transformed(base, *way, shrinkage, beta, nearest, power) for base in floats for way in ways]
