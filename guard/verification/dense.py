"""Whole small pictures laid on one another, for copies with too few keypoints. Knows no keypoints and no kinds.

First the whole frame as it is, turned and mirrored; then one picture as a part of the other, at several sizes. Each
by correlation of luma without its coarsest part; the best is refined by ECC (Evangelidis and Psarakis 2008).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from guard.verification.features import Floats, Prepared
from guard.verification.geometry import plausible
from guard.verification.opencv import opencv

__all__ = [
    "TURNS",
    "WHOLE_PX",
    "Overlay",
    "band",
    "dihedral",
    "in_pixels",
    "in_shares",
    "inverse",
    "moved",
    "part",
    "refined",
    "whole",
    "whole_correlations",
]

WHOLE_PX = 48  # side of the plates that are laid on one another
PART_PX = 64
SIZES = (0.9, 0.8, 0.7, 0.6, 0.5, 0.4)  # of the smaller picture's side in the larger one's
REFINE_PX = 96
REFINE_STEPS = 12
COARSE_SHARE = 0.12  # of the side: standard deviation of what is taken out as tone and lighting

Matrix = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Overlay:
    """One way to lay the reference on the query."""

    matrix: Matrix
    """(2, 3): px of the reference -> px of the query."""
    correlation: float
    """Of luma without its coarsest part, in [-1, 1]."""


def whole(query: Prepared, reference: Prepared) -> Overlay:
    """The best of the eight flips and quarter turns, both frames filled."""
    wanted = _unit_plate(query)
    rows = dihedral(_unit_plate(reference))
    correlations = rows.reshape(8, -1) @ wanted.ravel()
    best = int(correlations.argmax())
    return Overlay(in_pixels(TURNS[best], query, reference), float(correlations[best]))


def whole_correlations(query: Prepared, references: Sequence[Prepared]) -> Floats:
    """(k,) what `whole` finds of each reference: the correlation of the best flip or quarter turn."""
    rows = np.stack([_unit_plate(reference).ravel() for reference in references])
    # Turning the query instead of the reference gives the same eight numbers.
    turned = dihedral(_unit_plate(query)).reshape(8, -1)
    best: Floats = (rows @ turned.T).max(axis=1)
    return best


def part(query: Prepared, reference: Prepared) -> Overlay:
    """The best place of either picture within the other, upright, as it is or mirrored; sides shrink alike."""
    cv2 = opencv()
    q, r = query.plate(PART_PX), reference.plate(PART_PX)
    best = Overlay(in_pixels(TURNS[0], query, reference), -1.0)
    for flipped in (False, True):
        seen = np.ascontiguousarray(r[:, ::-1]) if flipped else r
        for inside in (True, False):  # the reference inside the query (pasted), or the query inside it (cropped)
            large, small = (q, seen) if inside else (seen, q)
            field = band(large)
            for size in SIZES:
                side = round(PART_PX * size)
                pattern = band(cv2.resize(small, (side, side), interpolation=cv2.INTER_AREA))
                _, top, _, (x, y) = cv2.minMaxLoc(cv2.matchTemplate(field, pattern, cv2.TM_CCOEFF_NORMED))
                if top > best.correlation:
                    share = side / PART_PX
                    unit = np.array([[share, 0, x / PART_PX], [0, share, y / PART_PX]])
                    if not inside:
                        unit = inverse(unit)
                    if flipped:
                        unit = _after(unit, TURNS[4])
                    best = Overlay(in_pixels(unit, query, reference), float(top))
    return best


def refined(query: Prepared, reference: Prepared, matrix: Matrix) -> Matrix:
    """The matrix after ECC, or as it was where that does not converge or runs away."""
    cv2 = opencv()
    unit = in_shares(matrix, query, reference)
    # The larger picture of both is looked at in the smaller one's frame: ECC warps the input to the template.
    q, r = (band(picture.plate(REFINE_PX)) for picture in (query, reference))
    grown = abs(np.linalg.det(unit[:, :2])) > 1
    template, image = (q, r) if grown else (r, q)
    start = inverse(unit) if grown else unit  # template -> image
    scaled = _scale(start, REFINE_PX)
    criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, REFINE_STEPS, 1e-4)
    try:
        _, warp = cv2.findTransformECC(template, image, scaled.astype(np.float32), cv2.MOTION_AFFINE, criteria, None, 5)
    except cv2.error:  # no overlap left, or nothing to hold on to
        return matrix
    found = _scale(np.asarray(warp, np.float64), REFINE_PX, back=True)
    if not np.isfinite(found).all() or abs(np.linalg.det(found[:, :2])) < 1e-3:
        return matrix
    better = in_pixels(inverse(found) if grown else found, query, reference)
    run = np.abs(in_shares(better, query, reference) - unit).max()
    return better if plausible(better) and run < 0.3 else matrix


def band(plate: Floats) -> Floats:
    """Without what is coarser than COARSE_SHARE."""
    cv2 = opencv()
    coarse = cv2.GaussianBlur(plate, (0, 0), COARSE_SHARE * len(plate))
    fine: Floats = plate - coarse
    return fine


def _unit_plate(picture: Prepared) -> Floats:
    return picture.derived("unit plate", lambda: _unit(picture.plate(WHOLE_PX)))


def _unit(plate: Floats) -> Floats:
    fine = band(plate)
    fine -= fine.mean()
    unit: Floats = fine / max(float(np.linalg.norm(fine)), 1e-3)
    return unit


def dihedral(plate: Floats) -> Floats:
    """(8, side, side) in the order of TURNS."""
    turned = [np.rot90(p, k) for p in (plate, plate[:, ::-1]) for k in range(4)]
    return np.stack(turned)


def _after(second: Matrix, first: Matrix) -> Matrix:
    """One after the other, both (2, 3)."""
    return np.column_stack([second[:, :2] @ first[:, :2], second[:, :2] @ first[:, 2] + second[:, 2]])


def inverse(matrix: Matrix) -> Matrix:
    """Of a (2, 3) transform."""
    back = np.linalg.inv(matrix[:, :2])
    return np.column_stack([back, -back @ matrix[:, 2]])


_QUARTER = np.array([[0.0, 1.0, 0.0], [-1.0, 0.0, 1.0]])  # np.rot90 in shares of the sides: (x, y) -> (y, 1 - x)
_MIRROR = np.array([[-1.0, 0.0, 1.0], [0.0, 1.0, 0.0]])


def _turns() -> tuple[Matrix, ...]:
    turns: list[Matrix] = []
    for start in (np.eye(2, 3), _MIRROR):
        for _ in range(4):
            turns.append(start)
            start = _after(_QUARTER, start)
    return tuple(turns)


TURNS = _turns()


def moved(unit: Matrix) -> float:
    """How far the corner that moves most lies from where the nearest of TURNS would put it; in shares of the sides."""
    corners = np.array([[0, 0], [1, 0], [0, 1], [1, 1]])
    off = np.stack([corners @ (unit - turn)[:, :2].T + (unit - turn)[:, 2] for turn in TURNS])
    return float(np.linalg.norm(off, axis=-1).max(axis=-1).min())


def in_pixels(unit: Matrix, query: Prepared, reference: Prepared) -> Matrix:
    """Shares of the sides -> px whose integers are centres of pixels."""
    q, r = np.array([query.width, query.height]), np.array([reference.width, reference.height])
    linear = q[:, None] * unit[:, :2] / r
    return np.column_stack([linear, q * unit[:, 2] + linear @ [0.5, 0.5] - 0.5])


def in_shares(matrix: Matrix, query: Prepared, reference: Prepared) -> Matrix:
    """Px of the reference -> px of the query, as shares of their sides."""
    q, r = np.array([query.width, query.height]), np.array([reference.width, reference.height])
    linear = matrix[:, :2] * r / q[:, None]
    return np.column_stack([linear, (matrix[:, 2] - matrix[:, :2] @ [0.5, 0.5] + 0.5) / q])


def _scale(unit: Matrix, side: int, *, back: bool = False) -> Matrix:
    """A transform in shares of the sides -> in px of plates of this side, or back."""
    linear = unit[:, :2]
    if back:
        return np.column_stack([linear, (unit[:, 2] - linear @ [0.5, 0.5] + 0.5) / side])
    return np.column_stack([linear, side * unit[:, 2] + linear @ [0.5, 0.5] - 0.5])
