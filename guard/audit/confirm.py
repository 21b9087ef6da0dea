"""A generation against the training set: which picture is nearest, and does it count as memorised?

Two distances, as published: that of Carlini et al. 2023 (section 4.1) and their adaptive ratio for small models
(section 5.1). Both look at colours in places, and a picture with little contrast is close to what merely has its
colours; so descriptors or the verifier must agree. And both look at pictures as they stand: what a generation shows
mirrored or cut is found by its descriptor, laid on it by the verifier, and then must be within the same distance.
Knows an index and its embedder; no prompts and no graph.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from guard.audit.distance import Pictures, rms_between, tiled_between
from guard.audit.members import AuditedIndex, Members
from guard.audit.moved import Laid, laid_on
from guard.audit.references import References, Shape
from guard.errors import ConfigError
from guard.pixels import ImageBatch, RGBArray
from guard.thresholds import advice_of
from guard.types import Descriptors, Evidence, Match, Record

if TYPE_CHECKING:
    from guard.embedders.base import Embedder
    from guard.verification.verifier import Verifier

__all__ = [
    "ALPHA",
    "DELTA",
    "NEIGHBOURS",
    "Confirmation",
    "Confirmer",
    "Criterion",
    "Likeness",
    "Rule",
    "agreed_similarity",
]

DELTA = 0.15
ALPHA = 0.5
NEIGHBOURS = 50
SAME = 0.05  # RMS distance of two references, inclusive, up to which one is a rendering of the other
CANDIDATES = 10  # other pictures, beyond the neighbours, so that renderings of the nearest may fall out
EXHAUSTIVE = 100_000  # references up to which the nearest by pixels are looked for among all
PAIR_MARGIN = 0.05
"""By how much less than the flag threshold suffices for the nearest picture by pixels: that one is set for the best of
hundreds of references, and this is one pair, which pixels chose."""
MOST_FOUND = 2_000  # candidates where most are renderings of the nearest, or no training pictures


class Criterion(StrEnum):
    """What makes a generation a copy of its nearest training picture."""

    AGREED = "agreed"
    """l2 and adaptive, and descriptors that reach a similarity or pixels that the verifier calls a copy; or, where the
    picture is shown mirrored, cut or stretched: descriptors, verifier, and l2 of what was laid on one another."""
    BOTH = "both"
    """l2 and adaptive."""
    L2 = "l2"
    """As published for Stable Diffusion, where people then looked at what was found."""
    ADAPTIVE = "adaptive"
    """As published for models of CIFAR-10."""


@dataclass(frozen=True, slots=True)
class Rule:
    """When a generation counts as memorised."""

    criterion: Criterion = Criterion.AGREED
    delta: float = DELTA
    """RMS distance, inclusive; (l2, delta)-memorised."""
    alpha: float = ALPHA
    """Of the mean distance to the nearest others; the ratio that it makes must be below 1."""
    neighbours: int = NEIGHBOURS
    similarity: float | None = None
    """Of descriptors, inclusive, from which they agree; None: what the embedder advises for a flag."""

    def near(self, l2: float, ratio: float | None) -> bool:
        """By distances alone. A ratio that is not known confirms nothing."""
        within = l2 <= self.delta
        closer = ratio is not None and ratio < 1
        if self.criterion is Criterion.L2:
            return within
        return closer if self.criterion is Criterion.ADAPTIVE else within and closer


@dataclass(frozen=True, slots=True)
class Likeness:
    """What descriptors and the verifier say of one generation."""

    similarity: float
    """Of the generation and its nearest picture by pixels."""
    evidence: Evidence | None
    """Of the same two; None without a verifier."""
    similar: Match
    """The nearest by descriptor, which also finds what was mirrored or cut; with evidence if it is another picture."""
    agrees: bool
    """Whether the similarity suffices, or the evidence is a copy."""


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
    near: bool
    """By the rule's distances."""
    plain: bool
    """Near, but a picture of one colour would be near to this one too, so that nothing can be confirmed."""
    memorised: bool
    """By the rule, and not plain."""
    likeness: Likeness | None = None
    """None where distances decided and nobody asked."""
    moved: bool = False
    """The picture is shown mirrored, cut or stretched: distances are those of what was laid on one another."""


def agreed_similarity(
    index: AuditedIndex, embedder: Embedder, rule: Rule, verifier: Verifier | None = None
) -> float | None:
    """The similarity from which descriptors agree with distances; None: only the verifier can.

    Raises ConfigError where the rule asks for agreement and neither can.
    """
    advice = advice_of(index, embedder.spec)
    similarity = rule.similarity if rule.similarity is not None else advice.flag if advice else None
    if rule.criterion is Criterion.AGREED and similarity is None and verifier is None:
        raise ConfigError(
            "nothing can agree with the distances: the embedder advises no threshold for this index; set a "
            "similarity, bring a verifier, or take another criterion"
        )
    return similarity


class Confirmer:
    """Looks generations of one size up among some references.

    size: their (height, width). verifier: None leaves evidence out. among: the references, each with the first that has
    its pixels, duplicates of which would take the places of its neighbours; None: the training pictures. beside: of the
    training pictures, where `among` are others: those are the neighbours that a copy must be far closer than.
    Raises ConfigError if the index has no thumbnails.
    """

    def __init__(
        self,
        index: AuditedIndex,
        embedder: Embedder,
        size: Shape,
        *,
        rule: Rule | None = None,
        verifier: Verifier | None = None,
        among: Mapping[int, int] | None = None,
        beside: Confirmer | None = None,
    ) -> None:
        self._index, self._embedder, self._verifier, self._beside = index, embedder, verifier, beside
        self.rule = rule or Rule()
        self._first = Members(index).training if among is None else among
        self.similarity = agreed_similarity(index, embedder, self.rule, verifier)
        """From which descriptors agree; None: only the verifier can."""
        distinct = sorted(set(self._first.values()))
        self.exhaustive = len(distinct) <= EXHAUSTIVE
        """Whether the nearest are looked for among all references, or only among the nearest by descriptor."""
        self.references = References(index, distinct, size)

    def confirm(self, picture: RGBArray, *, likeness: bool = False) -> Confirmation | None:
        """The nearest of the references by pixels; None if none can be read.

        picture: (h, w, 3) of the generations' size. likeness: also where distances alone say that it is no copy.
        """
        scaled = self.references.scaled(picture[None])[0]
        wanted = self.rule.neighbours + CANDIDATES
        while True:
            known, pictures = self.references.pixels(self._compared(picture, scaled, wanted))
            own = np.asarray([i in self._first for i in known.tolist()], np.bool_)
            if not own.any():
                return None
            distances = rms_between(scaled[None], pictures)[0]
            best = int(np.where(own, distances, np.inf).argmin())
            nearest = pictures[best : best + 1]
            others = np.sort(distances[~self._same(best, known, pictures)])[: self.rule.neighbours]
            if len(others) == self.rule.neighbours or len(known) < wanted or wanted >= MOST_FOUND:
                break
            wanted = min(4 * wanted, MOST_FOUND)
        l2 = float(distances[best])
        scale = self.rule.alpha * float(others.mean()) if len(others) > 1 else 0.0
        ratio = l2 / scale if scale > 0 else None
        one_colour = np.broadcast_to(nearest.mean(axis=(1, 2), keepdims=True).round().astype(np.uint8), nearest.shape)
        flat = float(rms_between(one_colour, nearest)[0, 0])
        near = self.rule.near(l2, ratio)
        plain = near and self.rule.near(flat, flat / scale if scale > 0 else None)
        record = self._index.records([int(known[best])])[0]
        seconded = near and not plain and self.rule.criterion is Criterion.AGREED
        like = self._likeness(picture, scaled, record, nearest[0]) if likeness or seconded else None
        found = Confirmation(
            record=record,
            l2=l2,
            tiled_l2=float(tiled_between(scaled[None], nearest)[0, 0]),
            ratio=ratio,
            neighbours=len(others),
            near=near,
            plain=plain,
            memorised=near and not plain and (not seconded or (like is not None and like.agrees)),
            likeness=like,
        )
        decided = found.memorised or found.plain or self.rule.criterion is not Criterion.AGREED
        return found if decided else self._moved(picture, scaled, found) or found

    def _moved(self, picture: RGBArray, scaled: RGBArray, found: Confirmation) -> Confirmation | None:
        """The generation's most similar picture, if it shows that one mirrored, cut or stretched."""
        if self._verifier is None:
            return None
        similar = found.likeness.similar if found.likeness else self._similar(self._embedded(picture))
        if self.similarity is not None and similar.similarity < self.similarity:
            return None
        whole = self.references.whole(similar.record.id)
        if whole is None:
            return None
        evidence = self._verifier.verify(scaled, whole)
        laid = laid_on(whole, self.references.size, evidence)
        l2 = None if laid is None else float(laid.rms(scaled[None])[0])
        if l2 is None or l2 > self.rule.delta:
            return None
        similar = Match(similar.record, similar.similarity)
        return Confirmation(
            record=similar.record,
            l2=l2,
            tiled_l2=l2 if evidence.tiled_l2 is None else evidence.tiled_l2,
            ratio=None,
            neighbours=0,
            near=False,
            plain=False,
            memorised=True,
            likeness=Likeness(similar.similarity, evidence, similar, agrees=True),
            moved=True,
        )

    def _embedded(self, picture: RGBArray) -> Descriptors:
        return self._embedder.embed(ImageBatch(arrays=(picture,)))

    def _similar(self, descriptor: Descriptors) -> Match:
        """The nearest of the references by descriptor, without evidence."""
        k = CANDIDATES
        while True:
            found = self._index.search(descriptor, k)
            own = [j for j, i in enumerate(found.ids[0].tolist()) if i in self._first]
            if own:
                i, similarity = int(found.ids[0, own[0]]), float(found.similarity[0, own[0]])
                break
            if k >= MOST_FOUND or k >= len(self._index):  # so many others lie nearer
                ids = list(self._first)
                near = self._index.similarity(descriptor, ids)[0]
                i, similarity = ids[int(near.argmax())], float(near.max())
                break
            k *= 4
        return Match(self._index.records([self._first[i]])[0], similarity)

    def _likeness(self, picture: RGBArray, scaled: RGBArray, record: Record, nearest: RGBArray) -> Likeness:
        descriptor = self._embedded(picture)
        similarity = float(self._index.similarity(descriptor, [record.id])[0, 0])
        evidence = self._verifier.verify(scaled, nearest) if self._verifier is not None else None
        similar = self._similar(descriptor)
        if self._verifier is not None and similar.record.id != record.id:
            known, pictures = self.references.pixels([similar.record.id])
            other = self._verifier.verify(scaled, pictures[0]) if len(known) else None
            similar = Match(similar.record, similar.similarity, evidence=other)
        return Likeness(
            similarity=similarity,
            evidence=evidence,
            similar=similar,
            agrees=self._agrees(similarity) or (evidence is not None and evidence.is_copy),
        )

    def _agrees(self, similarity: float) -> bool:
        margin = PAIR_MARGIN if self.rule.similarity is None else 0.0
        return self.similarity is not None and similarity >= self.similarity - margin

    def copies(self, pictures: Pictures, of: Confirmation) -> npt.NDArray[np.bool_]:
        """(n,) True for generations that are near the picture that one of them was confirmed to be a copy of.

        The mean distance to its neighbours is taken to be that of the confirmed one, and so is the place of a picture
        that is shown elsewhere than it stands.
        """
        if not of.memorised:
            return np.zeros(len(pictures), np.bool_)
        if of.moved:
            laid = self._laid(of)
            none = np.zeros(len(pictures), np.bool_)
            return none if laid is None else laid.rms(self.references.scaled(pictures)) <= self.rule.delta
        _, reference = self.references.pixels([of.record.id])
        distances = rms_between(self.references.scaled(pictures), reference)[:, 0].tolist()
        scale = of.ratio / of.l2 if of.ratio is not None and of.l2 > 0 else None
        return np.asarray([self.rule.near(d, None if scale is None else d * scale) for d in distances], np.bool_)

    def _laid(self, of: Confirmation) -> Laid | None:
        whole, evidence = self.references.whole(of.record.id), of.likeness.evidence if of.likeness else None
        return None if whole is None or evidence is None else laid_on(whole, self.references.size, evidence)

    def _compared(self, picture: RGBArray, scaled: RGBArray, wanted: int) -> list[int]:
        """References among which the nearest is, and so many others that it may be compared with."""
        if self._beside is None:
            return self._candidates(picture, scaled, wanted)
        return [*self._candidates(picture, scaled, 1), *self._beside._candidates(picture, scaled, wanted)]

    def _candidates(self, picture: RGBArray, scaled: RGBArray, wanted: int) -> list[int]:
        """So many distinct references, if there are, among which the nearest and its neighbours are."""
        if self.exhaustive:
            nearest: list[int] = self.references.nearest(scaled, wanted).ids.tolist()
            return nearest
        descriptor, k = self._embedded(picture), wanted
        while True:
            ids = self._index.search(descriptor, k).ids[0]
            distinct = list(dict.fromkeys(self._first[i] for i in ids.tolist() if i in self._first))
            if len(distinct) >= wanted or k >= len(self._index) or k >= 2 * MOST_FOUND:
                return distinct[:wanted]
            k *= 2

    def _same(self, best: int, known: npt.NDArray[np.int64], pictures: Pictures) -> npt.NDArray[np.bool_]:
        """(n,) True for the best and its renderings, of which none is a neighbour that it could stand apart from."""
        same: npt.NDArray[np.bool_] = rms_between(pictures[best : best + 1], pictures)[0] <= SAME
        records = self._index.records(known.tolist())
        cluster = records[best].cluster
        together = [record.cluster == cluster for record in records]
        return same | np.asarray(together, np.bool_) if cluster >= 0 else same
