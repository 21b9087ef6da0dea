"""How much of one picture another one shows, by plain search for its blocks. Knows no verifier.

An evaluation of related pictures asks this of them as they were drawn, before anything is edited or verified: what
shows a good part of another picture block by block is a copy of that part, whatever it was drawn for.
"""

from __future__ import annotations

import numpy as np

from guard.pixels import RGBArray
from guard.verification.opencv import opencv

__all__ = ["SHARED", "shared_pixels"]

SIDE = 96  # px to which both are brought
BLOCK = 12  # px; 64 blocks that do not overlap
TEXTURED_LEVELS = 4.0  # of 255: standard deviation of a block, all channels together; plainer blocks do not count
SAME = 0.9  # correlation of a block, of all channels together, from which it is shown: brightness and contrast aside
ELSEWHERE = 0.8  # the same at another place of its own picture: above, a block is a piece of an edge or a pattern
LEAST = 3  # blocks that count: of fewer, nothing can be said
SHARED = 0.25  # of the blocks that count: as much as a crop to a quarter of the area shows, which is a copy


def shared_pixels(of: RGBArray, other: RGBArray) -> float:
    """Share of one square picture's distinctive blocks that the other shows, upright, at any place.

    Distinctive are those with texture that are not found elsewhere in their own picture; 0 if there are fewer than
    LEAST.
    """
    cv2 = opencv()
    a, b = (cv2.resize(side, (SIDE, SIDE), interpolation=cv2.INTER_AREA) for side in (of, other))
    shown, counted, near = 0, 0, BLOCK // 2
    for y in range(0, SIDE, BLOCK):
        for x in range(0, SIDE, BLOCK):
            block = np.ascontiguousarray(a[y : y + BLOCK, x : x + BLOCK])
            if np.sqrt(block.astype(np.float32).var(axis=(0, 1)).mean()) < TEXTURED_LEVELS:
                continue
            own = cv2.matchTemplate(a, block, cv2.TM_CCOEFF_NORMED)
            own[max(0, y - near) : y + near + 1, max(0, x - near) : x + near + 1] = -1
            if own.max() > ELSEWHERE:
                continue
            counted += 1
            shown += bool(cv2.matchTemplate(b, block, cv2.TM_CCOEFF_NORMED).max() >= SAME)
    return shown / counted if counted >= LEAST else 0.0
