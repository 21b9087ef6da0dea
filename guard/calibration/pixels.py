"""What compared pixels say of clean pictures: how strong evidence gets where there is no copy. Knows no threshold.

A check compares the nearest candidates of an image; so does this, and all of them, whatever is found.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from guard.calibration.sample import Sample
from guard.indexes.base import Index
from guard.pixels import ImageBatch, RGBArray
from guard.types import Match, Record
from guard.verification.examiner import Examiner
from guard.verification.weigh import refutes

__all__ = ["NOTHING", "Compared", "compare_clean", "copies_of", "joined"]

NOTHING = -1.0  # the strength of a picture of which nothing could be aligned


@dataclass(frozen=True, slots=True, eq=False)
class Compared:
    """Of some clean pictures; (n,) all."""

    strength: npt.NDArray[np.float32]
    """Of the strongest evidence with any candidate; NOTHING without any."""
    unrefuted: npt.NDArray[np.float32]
    """Similarity of the nearest candidate that the pixels do not refute; -inf if they refute all."""
    reference: npt.NDArray[np.int64]
    """Whom the strongest evidence is with; -1 without any."""
    design_effect: float = 1.0
    """See Sample."""

    def samples(self, identical: npt.NDArray[np.bool_]) -> tuple[Sample, Sample]:
        """(strengths, unrefuted similarities). identical: (n,) True for pictures that match by their hash anyway.

        Of a picture of which nothing could be aligned there is no strength, of one whose candidates are all refuted
        no similarity; both count.
        """
        matched, kept = int(identical.sum()), ~identical
        strength = np.where(self.strength > NOTHING, self.strength, -np.inf)[kept]
        n = len(self.strength)
        return (
            Sample.of(strength, n=n, design_effect=self.design_effect),
            Sample.of(self.unrefuted[kept], n=n, identical=matched, design_effect=self.design_effect),
        )


def compare_clean(
    examiner: Examiner,
    pictures: Sequence[RGBArray],
    ids: npt.NDArray[np.int64],
    similarity: npt.NDArray[np.float32],
    *,
    workers: int = 1,
) -> Compared:
    """ids, similarity: (n, k) the candidates that a check would compare, nearest first; id -1 for none.

    Candidates without a thumbnail keep their similarity and give no evidence.
    """

    def one(i: int) -> tuple[float, float, int]:
        matches = [
            Match(Record(int(j), "", ""), float(s)) for j, s in zip(ids[i], similarity[i], strict=True) if j >= 0
        ]
        batch = ImageBatch(arrays=(pictures[i],))
        seen = examiner.examine(
            batch, matches, gate=_no_gate, conclusive=lambda _: False, until=math.inf, most=len(matches)
        )  # fmt: skip
        strongest, reference, nearest = NOTHING, -1, -math.inf
        for match in seen.candidates:
            evidence = match.evidence
            if evidence is not None and evidence.strength > strongest:
                strongest, reference = evidence.strength, match.record.id
            if evidence is None or not refutes(evidence):
                nearest = max(nearest, match.similarity)
        return strongest, nearest, reference

    with ThreadPoolExecutor(workers, "memguard-compare") as pool:
        rows = list(pool.map(one, range(len(pictures))))
    strength, unrefuted, reference = zip(*rows, strict=True) if rows else ((), (), ())
    return Compared(
        np.array(strength, np.float32), np.array(unrefuted, np.float32), np.array(reference, np.int64)
    )  # fmt: skip


def _no_gate(_match: Match) -> float:
    return -math.inf


def copies_of(index: Index, names: Sequence[str], compared: Compared) -> tuple[tuple[str, str, float], ...]:
    """(name, uri of the reference, strength) of what pixels call copies. names: (n,) of the pictures."""
    found = np.flatnonzero(compared.strength >= 0).tolist()
    records = index.records(compared.reference[found].tolist())
    return tuple(
        (names[i], record.uri, float(compared.strength[i])) for i, record in zip(found, records, strict=True)
    )  # fmt: skip


def joined(parts: Sequence[Compared]) -> Compared:
    none = Compared(np.empty(0, np.float32), np.empty(0, np.float32), np.empty(0, np.int64))
    every = [none, *parts]
    return Compared(
        np.concatenate([part.strength for part in every]),
        np.concatenate([part.unrefuted for part in every]),
        np.concatenate([part.reference for part in every]),
    )
