"""Whether a picture can be laid on itself further on: patterns, stripes. Knows no second picture.

Where it can, nearly all of it, no place in it is determined: what agrees with it agrees with the pattern, and another
picture of the same pattern does too. Ways are shifts and glides (a mirror and a shift along it). A mirror alone and a
turn always leave a line or a point where it was: what they show is symmetric, as a face is, and no repetition.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from guard.verification import dense
from guard.verification.agreement import compare
from guard.verification.features import Prepared
from guard.verification.opencv import opencv

__all__ = ["repeats"]

SIDE = 64  # px of the plate that is searched
PIECE = 30  # side of the middle of it that is looked for, up to a quarter of the side away
MOVED = 0.12  # of the side, from which a place is another one
CORRELATION = 0.7  # of the piece there, without its coarsest part
STILL_MOVED = 0.1  # the same after refinement, which may lead a smooth picture back to where the piece came from
EXPLAINED = 0.9  # share of its own structure that it shows in another place
LEFT = 20.0  # windows of structure that it may not show there

Matrix = npt.NDArray[np.float64]


def repeats(picture: Prepared) -> bool:
    """True if nearly all of its structure is found again further on, as it is or mirrored."""
    found = picture.derived("repeats", lambda: np.array([_repeats(picture)], np.float32))
    return bool(found[0])


def _repeats(picture: Prepared) -> bool:
    matrix = _elsewhere(picture)
    if matrix is None:
        return False
    better = dense.refined(picture, picture, matrix)
    if _way(dense.in_shares(better, picture, picture)) >= STILL_MOVED:
        matrix = better
    shown = compare(picture, picture, matrix)
    if shown is None:
        return False
    return shown.agreeing >= EXPLAINED and (1 - shown.agreeing) * shown.structure <= LEFT


def _elsewhere(picture: Prepared) -> Matrix | None:
    """The best other place, (2, 3) in px; None if none correlates by CORRELATION."""
    cv2 = opencv()
    field = dense.band(picture.plate(SIDE))
    start = (SIDE - PIECE) // 2
    steps = (np.arange(SIDE - PIECE + 1) - start) / SIDE
    shifts = np.stack(np.meshgrid(steps, steps), axis=-1)  # (y, x, 2): x and y
    best, matrix = CORRELATION, None
    for seen, turn in zip(dense.dihedral(field), dense.TURNS, strict=True):
        if _turns(turn):
            continue
        piece = np.ascontiguousarray(seen[start : start + PIECE, start : start + PIECE])
        correlation = cv2.matchTemplate(field, piece, cv2.TM_CCOEFF_NORMED)
        correlation[np.linalg.norm(shifts @ _glide(turn).T, axis=-1) < MOVED] = -1
        y, x = np.unravel_index(int(correlation.argmax()), correlation.shape)
        if correlation[y, x] >= best:
            best = float(correlation[y, x])
            moved = turn.copy()
            moved[:, 2] += shifts[y, x]
            matrix = dense.in_pixels(moved, picture, picture)
    return matrix


def _turns(unit: Matrix) -> bool:
    """A turn without a mirror has a point that stays, wherever it lies."""
    return bool(np.linalg.det(unit[:, :2]) > 0 and unit[0, 0] < 0.5)


def _glide(unit: Matrix) -> Matrix:
    """(2, 2): of a shift after this, the share that no other mirror line would take up; all of it without a mirror."""
    return np.asarray((unit[:, :2] + np.eye(2)) / 2)


def _way(unit: Matrix) -> float:
    """How far the picture glides, in shares of its side."""
    return float(np.linalg.norm(_glide(unit) @ (unit @ [0.5, 0.5, 1] - 0.5)))
