"""What two pictures show of one another when one is moved over the other, block by block. Knows no verifier.

Only blocks whose place is determined are looked for: none that its own picture shows as well a little further on. A
straight edge, a slow curve, a stripe and a motif of a pattern say nothing, wherever they are found; corners, ends and
grain do. Correlations take out each block's mean and contrast. All is symmetric, upright and of one size, so that
turned and enlarged parts are not seen.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from guard.pixels import RGBArray
from guard.verification.opencv import opencv

__all__ = ["SHARED_BLOCKS", "places_kept", "shared_blocks"]

LEVELS = 3.0  # of 255: standard deviation of a block; plainer ones do not count
ELSEWHERE = 0.8  # correlation with another place of its own picture from which a block's place is not determined
OWN_SHARE = 1 / 4  # of a block's side: a place nearer than this is the same

DRAWN_PX = 64  # side of both pictures where a drawing is looked for
DRAWN_BLOCK = 16
DRAWN_STEP = 8
DRAWN_REACH = 6  # px that a block may have moved: a tenth of the side
DRAWN_SAME = 0.8
DRAWN_LEAST = 3  # blocks that count: of fewer, nothing can be said

PART_PX = 128  # side where a part is looked for; twice as fine, since grain tells textures apart
PART_BLOCK = 16  # 64 blocks that do not overlap
PART_COARSE_PX = 4.0  # standard deviation of what is taken out: other light on the same texture
PART_SAME = 0.7
PART_REACH = 2  # px by which blocks that were moved together may differ
SHARED_BLOCKS = 6  # of 64 (a tenth of the area), from which a part is shared: strangers reach 5

Plane = npt.NDArray[np.float32]


def places_kept(of: RGBArray, other: RGBArray) -> float:
    """Share of either square picture's blocks that the other shows at nearly the same place: the lesser of both ways.

    In [0, 1]: 1 for one drawing whose parts were moved by a tenth of the side at most, 0 as strangers, and 0 if either
    has fewer than DRAWN_LEAST blocks whose place is determined.
    """
    a, b = (_luma(side, DRAWN_PX) for side in (of, other))
    return min(_kept(a, b), _kept(b, a))


def shared_blocks(of: RGBArray, other: RGBArray) -> int:
    """How many of either square picture's 64 blocks the other shows, all moved by one way: the lesser of both ways."""
    a, b = (_fine(_luma(side, PART_PX)) for side in (of, other))
    return min(_moved_together(a, b), _moved_together(b, a))


def _kept(a: Plane, b: Plane) -> float:
    cv2 = opencv()
    found = []
    for y, x, block in _determined(a, DRAWN_BLOCK, DRAWN_STEP):
        near = cv2.matchTemplate(b, block, cv2.TM_CCOEFF_NORMED)[
            max(0, y - DRAWN_REACH) : y + DRAWN_REACH + 1, max(0, x - DRAWN_REACH) : x + DRAWN_REACH + 1
        ]
        found.append(float(near.max()) >= DRAWN_SAME)
    return float(np.mean(found)) if len(found) >= DRAWN_LEAST else 0.0


def _moved_together(a: Plane, b: Plane) -> int:
    """Every block votes for all ways by which it could have been moved; the most votes of one way."""
    cv2 = opencv()
    votes = np.zeros((2 * PART_PX, 2 * PART_PX), np.uint8)
    about = np.ones((2 * PART_REACH + 1,) * 2, np.uint8)
    for y, x, block in _determined(a, PART_BLOCK, PART_BLOCK):
        shown = cv2.matchTemplate(b, block, cv2.TM_CCOEFF_NORMED) >= PART_SAME
        if shown.any():
            ways = cv2.dilate(shown.astype(np.uint8), about)
            h, w = ways.shape
            votes[PART_PX - y : PART_PX - y + h, PART_PX - x : PART_PX - x + w] += ways
    return int(votes.max())


def _determined(plane: Plane, side: int, step: int) -> Iterator[tuple[int, int, Plane]]:
    """Top, left and pixels of each block with detail that is at no other place of its own picture."""
    cv2 = opencv()
    near = round(OWN_SHARE * side)
    for y in range(0, len(plane) - side + 1, step):
        for x in range(0, len(plane) - side + 1, step):
            block = np.ascontiguousarray(plane[y : y + side, x : x + side])
            if block.std() < LEVELS:
                continue
            own = cv2.matchTemplate(plane, block, cv2.TM_CCOEFF_NORMED)
            own[max(0, y - near + 1) : y + near, max(0, x - near + 1) : x + near] = -1
            if own.max() < ELSEWHERE:
                yield y, x, block


def _luma(picture: RGBArray, side: int) -> Plane:
    cv2 = opencv()
    small = cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA)
    plane: Plane = cv2.cvtColor(small.astype(np.float32), cv2.COLOR_RGB2GRAY)
    return plane


def _fine(plane: Plane) -> Plane:
    cv2 = opencv()
    fine: Plane = plane - cv2.GaussianBlur(plane, (0, 0), PART_COARSE_PX)
    return fine
