"""What the training set says of likely prompts and of single generations, and what is protected besides.

Knows no graph; asks `confirm`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from guard.audit.confirm import Confirmation, Confirmer, Rule
from guard.audit.distance import Pictures
from guard.audit.members import Members
from guard.audit.prompts import Prompt
from guard.audit.references import Shape
from guard.audit.report import Extracted, Finding, Rate

if TYPE_CHECKING:
    from guard.embedders.base import Embedder
    from guard.verification.verifier import Verifier

__all__ = ["Findings", "rounded"]


class Findings:
    """Confirms generations of any size, and keeps count of those that are copies."""

    def __init__(self, members: Members, embedder: Embedder, rule: Rule, verifier: Verifier | None) -> None:
        self._members, self._embedder, self._rule, self._verifier = members, embedder, rule, verifier
        self._confirmers: dict[Shape, tuple[Confirmer, Confirmer | None]] = {}
        self.confirmed = 0
        """Generations that `tally` was given."""
        self.copies = 0
        """Of them, copies of some training picture."""
        self._extracted: dict[tuple[str, int], Extracted] = {}
        """By cluster, or by picture where it is in none: near-duplicates count once."""
        self._repeated: dict[tuple[str, int], Extracted] = {}
        """The same of what is protected or opted out and no training picture."""

    @property
    def compared_px(self) -> Shape | None:
        """(height, width) of the first comparison; None if nothing was compared."""
        return next((training.references.size for training, _ in self._confirmers.values()), None)

    @property
    def exhaustive(self) -> bool:
        return all(training.exhaustive for training, _ in self._confirmers.values())

    @property
    def extracted(self) -> list[Extracted]:
        """The clearest copies first."""
        return _clearest(self._extracted)

    @property
    def repeated(self) -> list[Extracted]:
        """Of what is protected or opted out and no training picture, the clearest copies first."""
        return _clearest(self._repeated)

    def finding(self, pictures: Pictures, numbers: Sequence[int], medoid: int) -> Finding | None:
        """Of a prompt's generations and their numbers; medoid: the number of the clique's. None if nothing is known."""
        if medoid not in numbers:
            return None
        training, _ = self._of(pictures[list(numbers).index(medoid)].shape)
        return self._finding(training, pictures, numbers, medoid)

    def beside(self, pictures: Pictures, numbers: Sequence[int], medoid: int) -> Finding | None:
        """The same of what is protected or opted out and no training picture; None unless it was copied."""
        if medoid not in numbers:
            return None
        _, protected = self._of(pictures[list(numbers).index(medoid)].shape)
        found = None if protected is None else self._finding(protected, pictures, numbers, medoid)
        return found if found is not None and found.memorised else None

    def _finding(self, confirmer: Confirmer, pictures: Pictures, numbers: Sequence[int], medoid: int) -> Finding | None:
        confirmation = confirmer.confirm(pictures[list(numbers).index(medoid)], likeness=True)
        if confirmation is None or confirmation.likeness is None:
            return None
        record, likeness = confirmation.record, confirmation.likeness
        similar = likeness.similar
        return Finding(
            id=record.id,
            uri=record.uri,
            sha256=record.sha256,
            caption=record.caption,
            cluster_size=self._members.times(record),
            number=medoid,
            l2=round(confirmation.l2, 5),
            tiled_l2=round(confirmation.tiled_l2, 5),
            ratio=rounded(confirmation.ratio),
            neighbours=confirmation.neighbours,
            near=confirmation.near,
            plain=confirmation.plain,
            memorised=confirmation.memorised,
            similarity=round(likeness.similarity, 5),
            evidence=likeness.evidence.to_dict() if likeness.evidence else None,
            similar_uri=similar.record.uri,
            similar=round(similar.similarity, 5),
            similar_evidence=similar.evidence.to_dict() if similar.evidence else None,
            copies=Rate.exact(int(confirmer.copies(pictures, confirmation).sum()), len(pictures)),
            moved=confirmation.moved,
            collections=record.collections,
        )

    def tally(self, prompt: Prompt, pictures: Pictures, numbers: Sequence[int]) -> None:
        """Confirm each generation by itself."""
        for picture, number in zip(pictures, numbers, strict=True):
            training, protected = self._of(picture.shape)
            confirmation = training.confirm(picture)
            self.confirmed += 1
            if confirmation is not None and confirmation.memorised:
                self.copies += 1
                self._extract(self._extracted, prompt, number, confirmation)
            beside = None if protected is None else protected.confirm(picture)
            if beside is not None and beside.memorised:
                self._extract(self._repeated, prompt, number, beside)

    def _extract(
        self, known: dict[tuple[str, int], Extracted], prompt: Prompt, number: int, found: Confirmation
    ) -> None:
        """Count a copy of a picture, and keep the nearest."""
        record = found.record
        group = ("cluster", record.cluster) if record.cluster >= 0 else ("picture", record.id)
        before = known.get(group)
        if before is not None and before.l2 <= found.l2:
            known[group] = before.model_copy(update={"generations": before.generations + 1})
            return
        known[group] = Extracted(
            id=record.id,
            uri=record.uri,
            cluster_size=self._members.times(record),
            generations=1 if before is None else before.generations + 1,
            l2=round(found.l2, 5),
            ratio=rounded(found.ratio),
            key=prompt.key,
            number=number,
            moved=found.moved,
            collections=record.collections,
        )

    def _of(self, shape: tuple[int, ...]) -> tuple[Confirmer, Confirmer | None]:
        """Among the training pictures, and among what is protected besides; None where nothing is."""
        size = (shape[0], shape[1])
        if size not in self._confirmers:
            members = self._members
            of_size = partial(Confirmer, members.index, self._embedder, size, rule=self._rule, verifier=self._verifier)
            training = of_size(among=members.training)
            protected = of_size(among=members.guarded, beside=training) if members.guarded else None
            self._confirmers[size] = training, protected
        return self._confirmers[size]


def _clearest(known: dict[tuple[str, int], Extracted]) -> list[Extracted]:
    return sorted(known.values(), key=lambda e: e.l2 if e.ratio is None else e.ratio)


def rounded(value: float | None) -> float | None:
    return None if value is None or not np.isfinite(value) else round(value, 5)
