"""The gate of flat pictures: blank ones, gradients, simple logos. Knows pixels and thumbnails; no policy.

Descriptors and hashes take such pictures for one another, since there is little to tell them apart by. So a flat image
is a copy only of a picture whose pixels it has: the same colours at the same places. Both are brought to a small square
first (box filter), so that size and compression do not matter; nothing is aligned.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from guard.decode import decode
from guard.embedders.views import PLAIN_LEVELS
from guard.errors import IndexLoadError, InputError
from guard.originals import unread
from guard.pixels import ImageBatch, RGBArray
from guard.types import Evidence, EvidenceKind, Match

__all__ = ["FLAT_DETAIL", "SAME_TILED_L2", "FlatGate", "compare_flat", "detail_of", "difference", "gate_of"]

FLAT_DETAIL = 0.15
"""Share of a picture's cells in which it changes; with less it is flat. Of 779 photographs and paintings 1 has less,
of 90 X-rays none, of 59 flags 20; a word in capitals on a plate has 0.14, a disc 0.04, a gradient 0."""
SAME_TILED_L2 = 0.1
"""Root mean square difference, in [0, 1], of the most different of 16 tiles (as Carlini et al. 2023) up to which two
flat pictures have the same pixels. Of 34 flat pictures, re-encoded, halved, blurred and noisy copies reach 0.066 (of
others, in the tests, 0.080). The nearest of 561 pairs of different ones reach 0.134, and a disc that is moved by 6 of
512 px 0.115."""
SAME_STRUCTURE = 0.06
"""Share of what either shows beside its coarse colours that may differ; the same copies reach 0.043, lines of small
print that say something else 0.07 to 0.4, in tiles that are nearly the same."""
NOISE = (2 / 255) ** 2  # mean square of such differences that compression and grain leave
MOST = 5  # candidates compared for one image

_DETAIL_SIDE, _DETAIL_STEP = 64, 0.02  # px; change of any channel between neighbours, in [0, 1]
_SIDE, _TILES, _COARSE = 96, 4, 8  # px; tiles and coarse cells along a side

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class FlatGate:
    """What the gate says of one image."""

    detail: float
    """Share of its cells in which it changes, in [0, 1]."""
    candidates: tuple[Match, ...]
    """All that were given, in their order; with evidence those that count and were compared."""
    verified: bool
    """True: all that count were compared, or one whose pixels the image has was found."""
    reason: str = ""
    """Of False: why, in words."""


def gate_of(
    picture: ImageBatch,
    candidates: Sequence[Match],
    thumbnail: Callable[[int], bytes | None],
    *,
    usable: bool,
    counts: Callable[[Match], bool],
) -> FlatGate | None:
    """Measure a picture and, if it is flat, compare its pixels with those of the candidates that count.

    picture: a batch of one; looked at only if a candidate counts. usable: False if the embedder itself finds too little
    detail. None: it is not flat; or it shows nothing at all, so that there is nothing to copy, and `usable` decides.
    """
    counting = [match for match in candidates if counts(match)]
    if not counting:
        return None
    array = picture.as_arrays()[0]
    detail = detail_of(array)
    if detail >= FLAT_DETAIL if usable else _shows_nothing(array):
        return None
    seen: dict[int, Match] = {}
    reasons = ["more candidates than are compared"] if len(counting) > MOST else []
    for match in counting[:MOST]:
        try:
            encoded = thumbnail(match.record.id)
            if encoded is None:
                reasons.append("no thumbnail")
                continue
            reference = decode(encoded, where=f"thumbnail {match.record.id}").rgb
        except (InputError, IndexLoadError) as exc:
            reasons.append(unread(exc))
            continue
        evidence = compare_flat(array, reference)
        seen[id(match)] = replace(match, evidence=evidence)
    found = any(match.evidence is not None and match.evidence.is_copy for match in seen.values())
    after = tuple(seen.get(id(match), match) for match in candidates)
    return FlatGate(detail, after, found or not reasons, ", ".join(dict.fromkeys(reasons)))


def detail_of(picture: RGBArray) -> float:
    """Share of the cells of a small copy that differ from a neighbour by more than 5 of 255 levels, in [0, 1].

    picture: (h, w, 3) uint8.
    """
    small = _squared(picture, _DETAIL_SIDE)
    changes = np.zeros(small.shape[:2], np.bool_)
    changes[:, 1:] = np.abs(np.diff(small, axis=1)).max(axis=2) > _DETAIL_STEP
    changes[1:] |= np.abs(np.diff(small, axis=0)).max(axis=2) > _DETAIL_STEP
    return float(changes.mean())


def compare_flat(query: RGBArray, reference: RGBArray) -> Evidence:
    """near_identical or none; of the whole frames, as they are.

    query, reference: (h, w, 3) uint8 of any sizes. `agreement` is the share of their structure that does not differ.
    """
    a, b = _squared(query, _SIDE), _squared(reference, _SIDE)
    tile = _SIDE // _TILES
    squares = ((a - b) ** 2).mean(axis=2).reshape(_TILES, tile, _TILES, tile)
    tiled_l2 = float(np.sqrt(squares.mean(axis=(1, 3)).max()))
    fine_a, fine_b = _fine(a), _fine(b)
    differs, shows = float(((fine_a - fine_b) ** 2).mean()), float((fine_a**2).mean() + (fine_b**2).mean())
    same = tiled_l2 <= SAME_TILED_L2 and differs <= SAME_STRUCTURE * shows + NOISE
    share = 1.0 if same else 0.0
    return Evidence(
        EvidenceKind.NEAR_IDENTICAL if same else EvidenceKind.NONE,
        (1.0, 0.0, 0.0, 0.0, 1.0, 0.0),
        copied_area_query=share,
        copied_area_reference=share,
        tiled_l2=tiled_l2,
        agreement=max(0.0, 1 - differs / (shows + NOISE)),
    )


def _shows_nothing(picture: RGBArray) -> bool:
    """As guard.embedders.views.is_plain, of each channel: a fade between two colours of one brightness is something."""
    return bool(255 * _squared(picture, _DETAIL_SIDE).std(axis=(0, 1)).max() < PLAIN_LEVELS)


def difference(evidence: Evidence) -> str:
    """What compare_flat found, in words."""
    return (
        f"the largest of 16 tiles differs by {evidence.tiled_l2:.3f} (at most {SAME_TILED_L2:g}), and "
        f"{evidence.agreement:.0%} of the structure agrees (at least {1 - SAME_STRUCTURE:.0%}, or all but noise)"
    )


def _squared(picture: RGBArray, side: int) -> Floats:
    """(side, side, 3) in [0, 1]."""
    from PIL import Image

    small = Image.fromarray(picture).resize((side, side), Image.Resampling.BOX)
    return np.asarray(small, np.float32) / np.float32(255)


def _fine(square: Floats) -> Floats:
    """What a picture shows beside the mean colours of coarse cells."""
    cell = square.shape[0] // _COARSE
    coarse = square.reshape(_COARSE, cell, _COARSE, cell, 3).mean(axis=(1, 3))
    fine: Floats = square - coarse.repeat(cell, axis=0).repeat(cell, axis=1)
    return fine
