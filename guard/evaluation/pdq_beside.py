"""A descriptor with PDQ beside it, as the guard uses both: either may find a copy. Knows similarities; no picture.

A pair that PDQ calls identical (at most 31 of 256 bits differ in any of the query's eight flips and turns, and both
pictures have enough detail for PDQ) ranks above every cosine, those with fewer bits first; for all other pairs the
descriptor speaks. What that costs is how often PDQ alone calls a wrong picture identical: `called_identical`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from guard.embedders.pdq import BITS
from guard.embedders.pdq import BLOCK_BITS as IDENTICAL_BITS
from guard.evaluation.derived import Derived
from guard.evaluation.edits import FAMILIES, Edit
from guard.evaluation.metrics import Floats, pair_rate, rate
from guard.evaluation.protocol import RESAMPLES, Plan, Queries, drawn_weights, pairs_of
from guard.evaluation.scores import Embedded, Similarities, inner_products, score

__all__ = [
    "BESIDE",
    "IDENTICAL_BITS",
    "PDQ",
    "Called",
    "PdqBeside",
    "called_identical",
    "differing_bits",
    "either",
    "identical_bits",
    "pdq_beside",
]

BESIDE = "+pdq"
PDQ = "pdq+views"
"""The entrant that says what is identical; its queries are zeros for a picture without enough detail."""


@dataclass(frozen=True, slots=True)
class PdqBeside:
    """The entrant `base`, or PDQ; see Derived."""

    base: str
    under: Derived | None = None
    """What `base` is, where it is derived itself."""

    @property
    def name(self) -> str:
        return self.base + BESIDE

    def similarities(self, embedded: Mapping[str, Embedded], drawn: Plan) -> Similarities:
        """2 - bits / 256 where PDQ says identical, else the base's own."""
        cosines = self.under.similarities(embedded, drawn) if self.under else inner_products(embedded[self.base])
        bits_of = identical_bits(embedded[PDQ])

        return lambda picture: either(cosines(picture), bits_of(picture))


def pdq_beside(bases: Sequence[str], entrants: Iterable[str]) -> list[PdqBeside]:
    """One for each of the bases that takes part, if PDQ does; none for PDQ itself."""
    known = set(entrants)
    floats = [base for base in dict.fromkeys(bases) if base.partition("+")[0] != "pdq"]
    return [PdqBeside(base) for base in floats if {base, PDQ} <= known]


@dataclass(frozen=True, slots=True, eq=False)
class Called:
    """What PDQ alone calls identical, of one group; (1 + resamples,) shares each, the figure itself first."""

    found: Mapping[str, Floats]
    """Edit, "family:NAME" (mean of its edits) or "all_edits" (mean of families) -> queries, of their own picture."""
    untouched: Floats
    """Of the negatives as they are: that any reference of another source is called identical."""
    edited: Floats
    """The same of the edited negatives."""
    look_alikes: Floats
    """Pairs of different untouched pictures."""


def identical_bits(pdq: Embedded) -> Similarities:
    """Picture i -> (1, variants, pictures) differing bits, the fewest of all views; 256 for one that cannot count."""
    usable = np.array([queries[0].any() for queries in pdq.queries])  # untouched, as the references are
    cosines = inner_products(pdq)

    return lambda picture: differing_bits(cosines(picture), usable)


def differing_bits(pdq: npt.NDArray[np.floating], usable: npt.NDArray[np.bool_]) -> npt.NDArray[np.float32]:
    """(…, references) cosines of hashes -> bits; BITS for a reference that is not usable."""
    return np.asarray(np.where(usable, np.rint((1 - pdq) * (BITS / 2)), BITS), np.float32)


def either(cosines: npt.NDArray[np.floating], bits: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
    """2 - bits / 256 where PDQ says identical, else the cosine."""
    return np.asarray(np.where(bits <= IDENTICAL_BITS, 2 - bits / BITS, cosines), np.float32)


def called_identical(
    drawn: Plan, edits: Sequence[Edit], pdq: Embedded, *, resamples: int = RESAMPLES
) -> dict[str, Called]:
    """Group -> what PDQ calls identical, by the plan's queries, with the resamples of every other figure."""
    bits = identical_bits(pdq)
    scores = score(lambda i: -bits(i), drawn.sources, drawn.is_reference)
    weights = drawn_weights(drawn, resamples)
    positive = Queries(drawn.is_reference, drawn.sources, scores)
    negative = Queries(~drawn.is_reference, drawn.sources, scores)
    out: dict[str, Called] = {}
    for group, members in drawn.groups.items():
        units = positive.best(members, range(1))[1]
        found = {
            edit.name: rate(positive.own(members, i) >= -IDENTICAL_BITS, units, weights)
            for i, edit in enumerate(edits, start=1)
        }
        families = {
            f"family:{family}": np.mean([found[edit.name] for edit in edits if edit.family == family], axis=0)
            for family in FAMILIES
            if any(edit.family == family for edit in edits)
        }
        wrong = [negative.best(members, variants) for variants in (range(1), range(1, 1 + len(edits)))]
        plain, edited = (rate(best >= -IDENTICAL_BITS, of, weights) for best, of in wrong)
        alike = pair_rate(scores.untouched[0] >= -IDENTICAL_BITS, pairs_of(drawn, members), weights[:, drawn.sources])
        every = np.asarray(np.mean(list(families.values()), axis=0))
        out[group] = Called({**found, **families, "all_edits": every}, plain, edited, alike)
    return out
