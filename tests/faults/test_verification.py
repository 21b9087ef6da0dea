"""Pictures that nothing can be compared by: an answer, and neither an error nor a crash.

OpenCV's optical flow has ended the process on narrow pictures, so odd sizes are tried on real content too.
"""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from guard.types import EvidenceKind
from guard.verification.verifier import PixelVerifier
from tests.support.photographs import photograph

VERIFIER = PixelVerifier()
SIZES = [(1, 1), (1, 300), (300, 1), (2, 2), (7, 500), (500, 7), (13, 13), (16, 2000), (3000, 16), (40, 20)]


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height * 7919 + width).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_any_size_is_answered(height: int, width: int) -> None:
    for picture in (noise(height, width), np.full((height, width, 3), 7, np.uint8)):
        for other in (photograph("coffee"), picture, noise(width, height)):
            assert VERIFIER.verify(picture, other).kind in EvidenceKind
            assert VERIFIER.verify(other, picture).kind in EvidenceKind


@pytest.mark.parametrize("level", [0, 128, 255])
def test_flat_pictures_are_no_copies_of_anything(level: int) -> None:
    flat = np.full((200, 300, 3), level, np.uint8)
    for other in (flat, flat[:, :150], photograph("astronaut"), np.full((90, 90, 3), 255 - level, np.uint8)):
        assert VERIFIER.verify(flat, other).kind is EvidenceKind.NONE
        assert VERIFIER.verify(other, flat).kind is EvidenceKind.NONE


def test_an_edge_alone_is_too_little() -> None:
    """Two pictures of one straight edge agree everywhere, as any two such pictures would: only the same one counts."""
    one = np.zeros((200, 200, 3), np.uint8)
    one[:, 100:] = 255
    other = np.zeros((200, 200, 3), np.uint8)
    other[:, 100:] = 200
    assert VERIFIER.verify(one, other).kind is EvidenceKind.NONE
    assert VERIFIER.verify(one, one).kind is EvidenceKind.NEAR_IDENTICAL


def test_repeated_patterns_end_in_an_answer() -> None:
    board = np.kron(np.indices((16, 16)).sum(axis=0) % 2, np.ones((16, 16))).astype(np.uint8)[..., None] * 255
    board = np.ascontiguousarray(np.repeat(board, 3, axis=2))
    stripes = np.ascontiguousarray(np.tile(np.uint8([[[0] * 3, [255] * 3]]), (256, 128, 1)))
    for picture in (board, stripes):
        assert VERIFIER.verify(picture, photograph("coffee")).kind is EvidenceKind.NONE
        assert VERIFIER.verify(picture, picture[:, ::-1].copy()).kind in EvidenceKind


def test_grey_and_read_only_pictures_are_taken() -> None:
    grey = np.repeat(photograph("coffee").mean(axis=2, keepdims=True).astype(np.uint8), 3, axis=2)
    grey.setflags(write=False)
    assert VERIFIER.verify(grey, photograph("coffee")).is_copy


@pytest.mark.slow
def test_narrow_overlaps_of_real_pictures_do_not_end_the_process() -> None:
    """In a process of its own, since what is feared is its end."""
    code = (
        "import numpy as np\n"
        "from guard.verification.agreement import compare\n"
        "from guard.verification.features import Prepared\n"
        "from tests.support.photographs import photograph\n"
        "q, r = Prepared(photograph('astronaut', 320)), Prepared(photograph('astronaut'))\n"
        "rng = np.random.default_rng(0)\n"
        "for _ in range(1500):\n"
        "    linear = rng.normal(0, 1, (2, 2)) * rng.choice([0.1, 0.5, 1, 3])\n"
        "    compare(q, r, np.column_stack([linear, rng.uniform(-200, 400, 2)]))\n"
        "print('alive')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=1500, check=False)
    assert done.stdout.strip() == "alive", done.stderr
