"""What the training set says of likely prompts and of single generations. Knows no graph; asks `confirm`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from guard.audit.confirm import Confirmation, Confirmer, Rule
from guard.audit.distance import Pictures
from guard.audit.prompts import Prompt
from guard.audit.references import Shape
from guard.audit.report import Extracted, Finding, Rate

if TYPE_CHECKING:
    from guard.embedders.base import Embedder
    from guard.indexes.store import OpenIndex
    from guard.verification.verifier import Verifier

__all__ = ["Findings", "rounded"]


class Findings:
    """Confirms generations of any size, and keeps count of those that are copies."""

    def __init__(self, index: OpenIndex, embedder: Embedder, rule: Rule, verifier: Verifier | None) -> None:
        self._index, self._embedder, self._rule, self._verifier = index, embedder, rule, verifier
        self._confirmers: dict[Shape, Confirmer] = {}
        self.confirmed = 0
        """Generations that `tally` was given."""
        self.copies = 0
        """Of them, copies of some training picture."""
        self._extracted: dict[tuple[str, int], Extracted] = {}
        """By cluster, or by picture where it is in none: near-duplicates count once."""

    @property
    def compared_px(self) -> Shape | None:
        """(height, width) of the first comparison; None if nothing was compared."""
        return next((confirmer.references.size for confirmer in self._confirmers.values()), None)

    @property
    def exhaustive(self) -> bool:
        return all(confirmer.exhaustive for confirmer in self._confirmers.values())

    @property
    def extracted(self) -> list[Extracted]:
        """The clearest copies first."""
        return sorted(self._extracted.values(), key=lambda e: e.l2 if e.ratio is None else e.ratio)

    def finding(self, pictures: Pictures, numbers: Sequence[int], medoid: int) -> Finding | None:
        """Of a prompt's generations and their numbers; medoid: the number of the clique's. None if nothing is known."""
        if medoid not in numbers:
            return None
        central = pictures[list(numbers).index(medoid)]
        confirmer = self._confirmer(central.shape)
        confirmation = confirmer.confirm(central, likeness=True)
        if confirmation is None or confirmation.likeness is None:
            return None
        record, likeness = confirmation.record, confirmation.likeness
        similar = likeness.similar
        return Finding(
            id=record.id,
            uri=record.uri,
            sha256=record.sha256,
            caption=record.caption,
            cluster_size=record.cluster_size,
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
        )

    def tally(self, prompt: Prompt, pictures: Pictures, numbers: Sequence[int]) -> None:
        """Confirm each generation by itself."""
        for picture, number in zip(pictures, numbers, strict=True):
            confirmation = self._confirmer(picture.shape).confirm(picture)
            self.confirmed += 1
            if confirmation is not None and confirmation.memorised:
                self.copies += 1
                self._extract(prompt, number, confirmation)

    def _extract(self, prompt: Prompt, number: int, found: Confirmation) -> None:
        record = found.record
        group = ("cluster", record.cluster) if record.cluster >= 0 else ("picture", record.id)
        before = self._extracted.get(group)
        if before is not None and before.l2 <= found.l2:
            self._extracted[group] = before.model_copy(update={"generations": before.generations + 1})
            return
        self._extracted[group] = Extracted(
            id=record.id,
            uri=record.uri,
            cluster_size=record.cluster_size,
            generations=1 if before is None else before.generations + 1,
            l2=round(found.l2, 5),
            ratio=rounded(found.ratio),
            key=prompt.key,
            number=number,
            moved=found.moved,
        )

    def _confirmer(self, shape: tuple[int, ...]) -> Confirmer:
        size = (shape[0], shape[1])
        if size not in self._confirmers:
            self._confirmers[size] = Confirmer(
                self._index, self._embedder, size, rule=self._rule, verifier=self._verifier
            )
        return self._confirmers[size]


def rounded(value: float | None) -> float | None:
    return None if value is None or not np.isfinite(value) else round(value, 5)
