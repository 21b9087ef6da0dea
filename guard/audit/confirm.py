"""A generation against the training set: which picture is nearest, and does it count as memorised?

Three measures, each published: the distance of Carlini et al. 2023 (section 4.1), their adaptive ratio for small models
(section 5.1), and similarity of descriptors; the verifier's evidence stands beside them. Knows an index and an embedder;
no prompts and no graph.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from guard.audit.distance import Pictures, rms_between, tiled_between
from guard.audit.references import References, Shape
from guard.pixels import ImageBatch, RGBArray
from guard.types import Match, Record

if TYPE_CHECKING:
    from guard.embedders.base import Embedder
    from guard.indexes.store import OpenIndex
    from guard.verification.verifier import Verifier

__all__ = ["ALPHA", "DELTA", "NEIGHBOURS", "Confirmation", "Confirmer", "Criterion", "Likeness", "Rule"]

DELTA = 0.15
ALPHA = 0.5
NEIGHBOURS = 50
SAME = 0.05  # RMS distance of two references, inclusive, up to which one is a rendering of the other
CANDIDATES = 10  # other pictures, beyond the neighbours, so that renderings of the nearest may fall out
EXHAUSTIVE = 100_000  # references up to which the nearest by pixels are looked for among all
MOST_FOUND = 4_000  # candidates that a search by descriptor is asked for, where many are duplicates


class Criterion(StrEnum):
    """What makes a generation a copy of its nearest training picture."""

    BOTH = "both"
    """l2 and adaptive: a plain picture is near to everything, and only the second sees that."""
    L2 = "l2"
    ADAPTIVE = "adaptive"


@dataclass(frozen=True, slots=True)
class Rule:
    """When a generation counts as memorised."""

    criterion: Criterion = Criterion.BOTH
    delta: float = DELTA
    """RMS distance, inclusive; (l2, delta)-memorised."""
    alpha: float = ALPHA
    """Of the mean distance to the nearest others; the ratio that it makes must be below 1."""
    neighbours: int = NEIGHBOURS

    def holds(self, l2: float, ratio: float | None) -> bool:
        """A ratio that is not known confirms nothing."""
        near = l2 <= self.delta
        closer = ratio is not None and ratio < 1
        if self.criterion is Criterion.BOTH:
            return near and closer
        return near if self.criterion is Criterion.L2 else closer


@dataclass(frozen=True, slots=True)
class Confirmation:
    """What the training set says of one generation."""

    record: Record
    """The nearest training picture by l2; of several with one file, the first."""
    l2: float
    """RMS distance on [0, 1]."""
    tiled_l2: float
    """Largest of 16 tiles."""
    ratio: float | None
    """l2 over alpha times the mean distance of the generation to its nearest other training pictures: below 1 it is far
    closer to this one than to them. None where fewer than two others are known."""
    neighbours: int
    """Others that the ratio was taken over."""
    plain: bool
    """Even a picture of one colour would pass for this one, so that nothing can be confirmed."""
    memorised: bool
    """By the rule, and not plain."""


@dataclass(frozen=True, slots=True)
class Likeness:
    """What descriptors and the verifier say of one generation."""

    similarity: float
    """Of the generation and its nearest picture by pixels."""
    match: Match
    """The nearest by descriptor, which also finds what was mirrored or cut; with evidence if there is a verifier."""


class Confirmer:
    """Looks generations of one size up.

    size: their (height, width). verifier: None leaves evidence out.
    Raises ConfigError if the index has no thumbnails.
    """

    def __init__(
        self,
        index: OpenIndex,
        embedder: Embedder,
        size: Shape,
        *,
        rule: Rule | None = None,
        verifier: Verifier | None = None,
    ) -> None:
        self._index, self._embedder, self._verifier = index, embedder, verifier
        self.rule = rule or Rule()
        first: dict[str, int] = {}
        self._first = [first.setdefault(r.sha256 or str(r.id), r.id) for r in index.reader.all()]
        """Of each reference, the first with the same file: duplicates would take the places of its neighbours."""
        distinct = sorted(set(self._first))
        self.exhaustive = len(distinct) <= EXHAUSTIVE
        """Whether the nearest are looked for among all references, or only among the nearest by descriptor."""
        self.references = References(index, distinct, size)

    def confirm(self, picture: RGBArray) -> Confirmation | None:
        """The nearest training picture by pixels; None if no reference can be read.

        picture: (h, w, 3) of the generations' size.
        """
        scaled = self.references.scaled(picture[None])[0]
        known, pictures = self.references.pixels(self._candidates(picture, scaled))
        if not len(known):
            return None
        distances = rms_between(scaled[None], pictures)[0]
        best = int(distances.argmin())
        nearest = pictures[best : best + 1]
        same = rms_between(nearest, pictures)[0] <= SAME
        others = np.sort(distances[~same])[: self.rule.neighbours]
        l2 = float(distances[best])
        scale = self.rule.alpha * float(others.mean()) if len(others) > 1 else 0.0
        ratio = l2 / scale if scale > 0 else None
        one_colour = np.broadcast_to(nearest.mean(axis=(1, 2), keepdims=True).round().astype(np.uint8), nearest.shape)
        flat = float(rms_between(one_colour, nearest)[0, 0])
        plain = self.rule.holds(flat, flat / scale if scale > 0 else None)
        return Confirmation(
            record=self._index.records([int(known[best])])[0],
            l2=l2,
            tiled_l2=float(tiled_between(scaled[None], nearest)[0, 0]),
            ratio=ratio,
            neighbours=len(others),
            plain=plain,
            memorised=self.rule.holds(l2, ratio) and not plain,
        )

    def likeness(self, picture: RGBArray, of: Confirmation) -> Likeness:
        """picture: the one that was confirmed."""
        descriptor = self._embedder.embed(ImageBatch(arrays=(picture,)))
        similarity = float(self._index.similarity(descriptor, [of.record.id])[0, 0])
        found = self._index.search(descriptor, 1)
        first = self._first[int(found.ids[0, 0])]
        match = Match(self._index.records([first])[0], float(found.similarity[0, 0]))
        known, pictures = self.references.pixels([first])
        if self._verifier is not None and len(known):
            scaled = self.references.scaled(picture[None])[0]
            match = replace(match, evidence=self._verifier.verify(scaled, pictures[0]))
        return Likeness(similarity, match)

    def copies(self, pictures: Pictures, of: Confirmation) -> npt.NDArray[np.bool_]:
        """(n,) True for generations that are copies of the picture that one of them was confirmed to be of.

        The mean distance to its neighbours is taken to be that of the confirmed one.
        """
        if of.plain:
            return np.zeros(len(pictures), np.bool_)
        _, reference = self.references.pixels([of.record.id])
        distances = rms_between(self.references.scaled(pictures), reference)[:, 0].tolist()
        scale = of.ratio / of.l2 if of.ratio is not None and of.l2 > 0 else None
        return np.asarray([self.rule.holds(d, None if scale is None else d * scale) for d in distances], np.bool_)

    def _candidates(self, picture: RGBArray, scaled: RGBArray) -> list[int]:
        """Distinct references, among which the nearest and its neighbours are."""
        wanted = self.rule.neighbours + CANDIDATES
        if self.exhaustive:
            return self.references.nearest(scaled, wanted).ids.tolist()
        descriptor, k = self._embedder.embed(ImageBatch(arrays=(picture,))), wanted
        while True:
            ids = self._index.search(descriptor, k).ids[0]
            distinct = list(dict.fromkeys(self._first[int(i)] for i in ids if i >= 0))
            if len(distinct) >= wanted or k >= min(MOST_FOUND, len(self._index)):
                return distinct
            k *= 2
