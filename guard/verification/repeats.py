"""How much of a picture can be laid on itself further on: patterns, stripes. Knows no second picture.

What agrees with a pattern agrees with another picture of the same pattern too: no place in it is determined, but by
what it shows in one place only. Ways are shifts and glides (a mirror and a shift along it). A mirror alone and a turn
always leave a line or a point where it was: what they show is symmetric, as a face is, and no repetition.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from guard.verification import dense
from guard.verification.agreement import compare, structure_cells
from guard.verification.features import Floats, Prepared

__all__ = ["shown_elsewhere"]

SIDE = 64  # px of the plate that is searched
OVERLAP = 0.35  # of the plate, that must lie on itself: a pitch of half the side is found
MOVED = 0.1  # of the side, from which a place is another one
CORRELATION = 0.7  # of what lies on itself, without its coarsest part
LEAST_CONTRAST = 0.15  # of the plate's variance: what is flatter correlates by accident
WAYS = 3  # that are compared, there and back
APART = 4  # px between them

Matrix = npt.NDArray[np.float64]


def shown_elsewhere(picture: Prepared) -> float:
    """Share of its structure that it shows in another place too, as it is or mirrored, in [0, 1].

    Several ways count together; 0 where no place is like another one.
    """
    found = picture.derived("shown elsewhere", lambda: np.array([_shown_elsewhere(picture)], np.float32))
    return float(found[0])


def _shown_elsewhere(picture: Prepared) -> float:
    ways = _ways(picture)
    if not ways:
        return 0.0
    own = structure_cells(picture)
    shown = np.zeros(own.shape, np.bool_)
    for way in ways:
        there = _refined(picture, way)
        for unit in (there, dense.inverse(there)):
            found = compare(picture, picture, dense.in_pixels(unit, picture, picture))
            if found is not None:
                shown |= found.mask.cells()
    return min(1.0, float(own[shown].sum() / max(1e-6, float(own.sum()))))


def _refined(picture: Prepared, unit: Matrix) -> Matrix:
    matrix = dense.refined(picture, picture, dense.in_pixels(unit, picture, picture))
    better = dense.in_shares(matrix, picture, picture)
    # Refinement may lead a smooth picture back to where it came from.
    return better if np.linalg.norm(_glided(better)) >= MOVED else unit


def _ways(picture: Prepared) -> list[Matrix]:
    """At most WAYS, the likest first: (2, 3) in shares of the sides. The way back is not one of its own."""
    plate = dense.band(picture.plate(SIDE))
    steps = np.arange(1 - SIDE, SIDE) / SIDE
    shifts = np.stack(np.meshgrid(steps, steps), axis=-1)  # (y, x, 2): x and y
    found: list[tuple[float, Matrix]] = []
    for seen, turn in zip(dense.dihedral(plate), dense.TURNS, strict=True):
        if _turns(turn):
            continue
        way = shifts @ _glide(turn).T
        back = (way[..., 1] < 0) | ((way[..., 1] == 0) & (way[..., 0] < 0))
        correlation = np.where(back | (np.linalg.norm(way, axis=-1) < MOVED), -1, _correlations(plate, seen))
        for _ in range(WAYS):
            y, x = np.unravel_index(int(correlation.argmax()), correlation.shape)
            if correlation[y, x] < CORRELATION:
                break
            there = turn.copy()
            there[:, 2] += shifts[y, x]
            found.append((float(correlation[y, x]), there))
            correlation[max(0, y - APART) : y + APART + 1, max(0, x - APART) : x + APART + 1] = -1
    return [unit for _, unit in sorted(found, key=lambda one: -one[0])[:WAYS]]


def _correlations(still: Floats, moved: Floats) -> Matrix:
    """(2 s - 1, 2 s - 1) of two plates of s, for each shift of the second, over what both cover (Padfield 2012).

    No shift is in the middle; -1 where they cover less than OVERLAP.
    """
    side = len(still)
    size = (2 * side, 2 * side)
    one, other = still.astype(np.float64), moved.astype(np.float64)
    a, b, aa, bb, ones = (np.fft.rfft2(plate, size) for plate in (one, other, one**2, other**2, np.ones_like(one)))

    def summed(left: npt.NDArray[np.complex128], right: npt.NDArray[np.complex128]) -> Matrix:
        return np.asarray(np.fft.fftshift(np.fft.irfft2(left * np.conj(right), size))[1:, 1:])

    count = np.maximum(np.rint(summed(ones, ones)), 1)
    sum_a, sum_b = summed(a, ones), summed(ones, b)
    covariance = summed(a, b) - sum_a * sum_b / count
    least = LEAST_CONTRAST * one.var() * count + 1e-3
    spreads = [
        np.maximum(squares - sums**2 / count, least)
        for squares, sums in ((summed(aa, ones), sum_a), (summed(ones, bb), sum_b))
    ]
    return np.where(count >= OVERLAP * side**2, covariance / np.sqrt(spreads[0] * spreads[1]), -1)


def _turns(unit: Matrix) -> bool:
    """A turn without a mirror has a point that stays, wherever it lies."""
    return bool(np.linalg.det(unit[:, :2]) > 0 and unit[0, 0] < 0.5)


def _glide(unit: Matrix) -> Matrix:
    """(2, 2): of a shift after this, the share that no other mirror line would take up; all of it without a mirror."""
    return np.asarray((unit[:, :2] + np.eye(2)) / 2)


def _glided(unit: Matrix) -> Matrix:
    """(2,): how the picture glides, in shares of its sides."""
    return np.asarray(_glide(unit) @ (unit @ [0.5, 0.5, 1] - 0.5))
