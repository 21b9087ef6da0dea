"""What a reviewer sees of a logged image and one of its references: pixels, outline, numbers, words. Decides nothing.

The pictures are those that the log and the index keep: small ones. Where the check did not compare pixels, they are
compared now, for the reviewer alone.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from guard.decode import decode
from guard.errors import GuardError, InputError
from guard.types import Evidence, EvidenceKind, Mask, Match
from guard_server.references import reference_of

if TYPE_CHECKING:
    from guard.events import Event
    from guard.guard import Guard
    from guard.pixels import RGBArray
    from guard.types import Record

__all__ = ["KINDS", "Pair", "evidence_of", "outline", "pair_of"]

KINDS: Mapping[EvidenceKind, str] = MappingProxyType(
    {
        EvidenceKind.NEAR_IDENTICAL: "The same picture: both frames coincide, and their pixels agree.",
        EvidenceKind.EDITED: "The same picture, edited: most of either shows the other.",
        EvidenceKind.PARTIAL: "A part of the one shows a part of the other.",
        EvidenceKind.SAME_TEMPLATE: "The same layout with other content, or one drawing in other colours. No copy.",
        EvidenceKind.NONE: "Nothing in the pixels could be laid on one another.",
    }
)


@dataclass(frozen=True, slots=True, eq=False)
class Pair:
    match: Mapping[str, Any]
    """As the log holds it (`Verdict.to_dict`)."""
    record: Record | None
    """The reference as the index holds it now; None if it is gone."""
    evidence: Evidence | None = None
    compared_now: bool = False
    """The evidence is not the check's."""
    size: tuple[int, int] | None = None
    """Width and height of the image as the log keeps it."""
    outline: str = ""
    """`d` of an SVG path around the copied area, in cells of `grid`."""
    grid: tuple[int, int] = (0, 0)
    """Width and height of the mask."""
    aligned: str = ""
    """A data: address of the reference as it lies in the image; "" if nothing was aligned."""

    @property
    def words(self) -> str:
        """What the pixels say."""
        if self.evidence is None:
            return ""
        said = KINDS[self.evidence.kind]
        return f"{said} Mirrored." if self.evidence.mirrored else said


def pair_of(guard: Guard, event: Event, position: int) -> Pair:
    """The pair of an event and its match at a position. What cannot be read is left out; raises nothing for it."""
    match = event.matches[position]
    record = reference_of(guard, match)
    evidence = evidence_of(match["evidence"]) if match["evidence"] else None
    image = _pixels(event.thumbnail)
    if image is None:
        return Pair(match, record, evidence)
    size = (image.shape[1], image.shape[0])
    found = None if record is None else _explained(guard, image, record, match, evidence)
    if found is not None:
        reference, seen = found
        aligned = _aligned(reference, size, seen)
        path, grid = outline(seen.mask)
        return Pair(match, record, seen, evidence is None, size, path, grid, aligned)
    path, grid = outline(evidence.mask if evidence else None)
    return Pair(match, record, evidence, False, size, path, grid)


def evidence_of(values: Mapping[str, Any]) -> Evidence:
    """What `Evidence.to_dict` was made from."""
    mask, transform, keypoints = values["mask"], values["transform"], values["keypoints"]
    return Evidence(
        kind=EvidenceKind(values["kind"]),
        transform=tuple(transform) if transform else None,
        inliers=values["inliers"],
        copied_area_query=values["copied_area_query"],
        copied_area_reference=values["copied_area_reference"],
        mask=_mask(mask["height"], mask["width"], mask["runs"]) if mask else None,
        tiled_l2=values["tiled_l2"],
        agreement=values["agreement"],
        keypoints=tuple(keypoints) if keypoints else None,
    )


def outline(mask: Mask | None) -> tuple[str, tuple[int, int]]:
    """The edges between copied cells and others as the `d` of a path, and the width and height that it is drawn in."""
    if mask is None:
        return "", (0, 0)
    padded = np.pad(mask.cells(), 1)
    upright = padded[1:-1, 1:] != padded[1:-1, :-1]  # (height, width + 1)
    level = padded[1:, 1:-1] != padded[:-1, 1:-1]  # (height + 1, width)
    pieces = [f"M{x} {y}v{n}" for x, y, n in _runs(upright.T)] + [f"M{x} {y}h{n}" for y, x, n in _runs(level)]
    return "".join(pieces), (mask.width, mask.height)


def _runs(edges: npt.NDArray[np.bool_]) -> list[tuple[int, int, int]]:
    """(row, start, length) of each run of edges along a row."""
    found = []
    for row, line in enumerate(np.pad(edges, ((0, 0), (1, 1))).astype(np.int8)):
        turns = np.flatnonzero(np.diff(line)).tolist()
        found += [(row, start, end - start) for start, end in zip(turns[::2], turns[1::2], strict=True)]
    return found


def _mask(height: int, width: int, runs: list[int]) -> Mask:
    cells = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    return Mask.pack(cells.reshape(height, width))


def _pixels(encoded: bytes | None) -> RGBArray | None:
    try:
        return None if encoded is None else decode(encoded, where="the log's thumbnail").rgb
    except InputError:
        return None


def _explained(
    guard: Guard, image: RGBArray, record: Record, match: Mapping[str, Any], evidence: Evidence | None
) -> tuple[RGBArray, Evidence] | None:
    try:
        return guard.examiner.explain(image, Match(record, match["similarity"], match["pdq_bits"], evidence))
    except GuardError:  # a damaged thumbnail, or OpenCV is not installed
        return None


def _aligned(reference: RGBArray, size: tuple[int, int], evidence: Evidence) -> str:
    from PIL import Image

    from guard.verification.picture import aligned

    drawn = aligned(Image.fromarray(reference), size, evidence)
    if drawn is None:
        return ""
    buffer = io.BytesIO()
    drawn.save(buffer, "WEBP", quality=85)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}"
