"""How near clean pictures come to their references, however that was found out. Knows numbers and lists."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from guard.calibration.pixels import Compared
from guard.calibration.pixels import joined as joined_pixels
from guard.calibration.sample import Sample
from guard.sources.base import Skip

__all__ = ["NEIGHBOURS", "Scored", "design_effect", "joined"]

NEIGHBOURS = 16  # kept of each picture: the nearest decides, the others say how matches grow with the references
_TOP = 0.1  # share of the pictures whose clustering counts: the nearest ones, which become matches


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    similarities: npt.NDArray[np.float32]
    """(n, NEIGHBOURS) nearest first; -inf where there is no further one, and throughout for a picture that the embedder
    called unusable."""
    identical: npt.NDArray[np.bool_]
    """(n,) True: PDQ calls it identical to a reference."""
    uris: tuple[str, ...] = ()
    """(n,) or () where they are not known."""
    left_out: dict[str, int] = field(default_factory=dict)
    """Pictures that are no clean ones, by reason: `reference` (byte by byte), `duplicate` (of one that counts)."""
    skips: tuple[Skip, ...] = ()
    """Pictures that cannot be had, with the reason."""
    design_effect: float = 1.0
    compared: Compared | None = None
    """What pixels say of the first so many of them; None if none were compared."""
    pairs: tuple[tuple[str, str, float], ...] = ()
    """(picture, reference, strength) of those that pixels call copies."""

    def sample(self) -> Sample:
        """The nearest similarities; pictures that PDQ called identical count without theirs."""
        return Sample.of(
            self.similarities[~self.identical, 0],
            identical=int(self.identical.sum()),
            design_effect=self.design_effect,
        )


def joined(parts: Sequence[Scored]) -> Scored:
    """Some pictures after others; the design effect is that of the first."""
    left_out: dict[str, int] = {}
    for part in parts:
        for reason, count in part.left_out.items():
            left_out[reason] = left_out.get(reason, 0) + count
    return Scored(
        np.concatenate([np.empty((0, NEIGHBOURS), np.float32), *(part.similarities for part in parts)]),
        np.concatenate([np.empty(0, np.bool_), *(part.identical for part in parts)]),
        tuple(uri for part in parts for uri in part.uris),
        left_out,
        tuple(skip for part in parts for skip in part.skips),
        parts[0].design_effect if parts else 1.0,
        joined_pixels([part.compared for part in parts if part.compared is not None]) if _any_compared(parts) else None,
        tuple(pair for part in parts for pair in part.pairs),
    )


def _any_compared(parts: Sequence[Scored]) -> bool:
    return any(part.compared is not None for part in parts)


def design_effect(
    queries: npt.NDArray[np.int64], nearest: npt.NDArray[np.int64], similarity: npt.NDArray[np.float32]
) -> float:
    """By how much references that look each other up are fewer than they seem, among the nearest tenth of them.

    queries, nearest: (n,) ids. Two references that are each other's nearest make one match, twice: sum of squares by
    sum of the sizes of such pairs (Kish 1965), in [1, 2].
    """
    if len(queries) == 0:
        return 1.0
    top = np.argsort(-similarity, kind="stable")[: max(1, round(_TOP * len(queries)))]
    pairs = np.sort(np.stack([queries[top], nearest[top]], axis=1), axis=1)
    sizes = np.unique(pairs, axis=0, return_counts=True)[1]
    return float((sizes**2).sum() / sizes.sum())
