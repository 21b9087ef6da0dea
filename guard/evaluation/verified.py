"""An entrant with the verifier behind it, and with PDQ beside both: the guard's decision in one number.

Knows no pixels. The number is guard.verification.weigh.standing: what a check flags at a threshold is what stands at
least as high. Candidates are the nearest references of the split, as many as a check compares.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from guard.embedders.pdq import BITS
from guard.embedders.pdq import BLOCK_BITS as IDENTICAL_BITS
from guard.evaluation.comparing import Asked, Compared, Look
from guard.evaluation.pdq_beside import PDQ, identical_bits
from guard.evaluation.protocol import Plan
from guard.evaluation.scores import Embedded, Similarities, inner_products
from guard.verification.weigh import sure_from

__all__ = ["Verified", "looked", "nearest", "standings"]

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Verified:
    """The entrant `base` and its candidates' pixels; see Derived."""

    base: str
    candidates: int
    """References that are compared for each query."""
    block: float
    """Similarity from which a check blocks; +inf if the base advises none."""
    compared: Sequence[Compared]
    """Of each picture of the plan."""
    asked: int = 0
    """Which of their looks is the base's."""
    hashes: bool = False
    """PDQ beside it, as a check with an index of hashes has it."""

    @property
    def name(self) -> str:
        return f"{self.base}+pdq+verifier" if self.hashes else f"{self.base}+verifier"

    def similarities(self, embedded: Mapping[str, Embedded], drawn: Plan) -> Similarities:
        """Picture -> (splits, variants, pictures) standings."""
        base = inner_products(embedded[self.base])
        order = nearest(base, drawn, self.candidates)
        bits_of = identical_bits(embedded[PDQ]) if self.hashes else None

        def similarities(picture: int) -> Floats:
            similarity, compared = base(picture), self.compared[picture]
            bits = bits_of(picture)[0] if bits_of is not None else None
            parts = []
            for split, row in enumerate(order(picture)):
                seen = looked(row, compared.looks[self.asked][split], len(drawn.pictures))
                parts.append(standings(similarity[split % len(similarity)], compared, seen, self.block, bits))
            return np.stack(parts)

        return similarities


def nearest(similarities: Similarities, drawn: Plan, k: int) -> Asked:
    """Picture -> (splits, variants, k) nearest references of each split, nearest first; -1 where there are fewer."""

    def order(picture: int) -> npt.NDArray[np.intp]:
        similarity = similarities(picture)
        rows = []
        for split, chosen in enumerate(drawn.is_reference):
            members = np.flatnonzero(chosen)
            of_split = similarity[split % len(similarity)][:, members]
            best = np.argsort(-of_split, axis=1, kind="stable")[:, :k]
            padded = np.full((len(of_split), k), -1, np.intp)
            padded[:, : best.shape[1]] = members[best]
            rows.append(padded)
        return np.stack(rows)

    return order


def looked(order: npt.NDArray[np.intp], looks: npt.NDArray[np.uint8], pictures: int) -> npt.NDArray[np.uint8]:
    """(variants, pictures) what became of each picture, a `Look`. order, looks: (variants, k)."""
    seen = np.full((len(order), pictures), Look.NONE, np.uint8)
    rows, columns = np.nonzero(order >= 0)
    seen[rows, order[rows, columns]] = looks[rows, columns]
    return seen


def standings(
    similarity: Floats, compared: Compared, seen: npt.NDArray[np.uint8], block: float, bits: Floats | None = None
) -> Floats:
    """guard.verification.weigh.standing of many pairs at once; (variants, pictures), as all but block.

    seen: what became of each, see `looked`. bits: by which PDQ hashes differ; None without hashes.
    """
    there = seen == Look.COMPARED
    refuted = (there & compared.refutes) | (seen == Look.REFUTED)
    against = np.where(
        similarity >= sure_from(block), np.maximum(block, 2 * similarity - 1), similarity - np.float32(3)
    )
    found = np.where(refuted, against, similarity)
    found = np.where(there & compared.copies, 1 + compared.strength, found)
    if bits is not None:
        found = np.where(bits <= IDENTICAL_BITS, 3 - bits / BITS, found)
    return found.astype(np.float32)
