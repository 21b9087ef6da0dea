"""Training edits: shape and type stay, the source is not written to, a seed repeats, and nothing of the evaluation."""

from __future__ import annotations

import ast
import importlib.util
from pathlib import Path

import cv2
import numpy as np
import pytest

import guard.training.edits
from guard.training.edits import WHOLE_VIEW, strong_view, weak_view
from guard.training.edits.geometric import Frame, bend, mild_frame, random_frame, reframe
from guard.training.edits.overlays import blend, collage, decorate, inset, inset_size
from guard.training.edits.photometric import add_noise, compress, recolour, soften
from guard.training.edits.regeneration import _moved_detail, _other_levels, regenerate
from guard.training.generators import Dice, picture

SIZE = 64
EDITS = {"bend": bend, "decorate": decorate, "recolour": recolour, "soften": soften, "compress": compress,
         "add_noise": add_noise, "regenerate": regenerate}  # fmt: skip
WHOLE = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float64)


@pytest.fixture(scope="module")
def pictures() -> list[np.ndarray]:
    drawn = [picture(seed, 80) for seed in range(4)]
    for one in drawn:
        one.flags.writeable = False  # an edit that writes to its source fails
    return drawn


@pytest.mark.parametrize("name", sorted(EDITS))
@pytest.mark.parametrize("strength", [0.0, 0.5, 1.0])
def test_an_edit_keeps_shape_and_type_and_repeats(name: str, strength: float, pictures: list[np.ndarray]) -> None:
    for seed in range(12):
        edited = EDITS[name](Dice(seed), pictures[seed % 4], strength)
        assert edited.shape == (80, 80, 3)
        assert edited.dtype == np.uint8
        np.testing.assert_array_equal(EDITS[name](Dice(seed), pictures[seed % 4], strength), edited)


def test_other_levels_keep_the_order_of_levels(pictures: list[np.ndarray]) -> None:
    for seed, before in enumerate(pictures):
        after = _other_levels(Dice(seed), before, 1.0)
        assert np.abs(after.astype(int) - before).mean() > 4
        for channel in range(3):
            old, new = before[..., channel].ravel(), after[..., channel].ravel().astype(int)
            assert (np.diff(new[old.argsort()]) >= 0).all()


def test_moved_detail_leaves_the_large_forms(pictures: list[np.ndarray]) -> None:
    for seed, before in enumerate(pictures):
        coarse = [
            cv2.resize(v, (5, 5), interpolation=cv2.INTER_AREA)
            for v in (_moved_detail(Dice(seed), before, 1.0), before)
        ]
        assert np.corrcoef(*(v.astype(float).ravel() for v in coarse))[0, 1] > 0.95


@pytest.mark.parametrize("strength", [0.0, 0.5, 1.0])
def test_views_have_the_asked_size_and_repeat(strength: float, pictures: list[np.ndarray]) -> None:
    for seed in range(24):
        view, window = strong_view(Dice(seed), pictures[0], pictures[1:], SIZE, strength)
        assert view.shape == (SIZE, SIZE, 3)
        assert view.dtype == np.uint8
        assert window == WHOLE_VIEW
        np.testing.assert_array_equal(strong_view(Dice(seed), pictures[0], pictures[1:], SIZE, strength)[0], view)
        assert weak_view(Dice(seed), pictures[0], SIZE).shape == (SIZE, SIZE, 3)


def test_one_other_picture_is_enough(pictures: list[np.ndarray]) -> None:
    for seed in range(30):
        strong_view(Dice(seed), pictures[0], pictures[1:2], SIZE, 1.0)


def test_reframing_the_whole_picture_leaves_it(pictures: list[np.ndarray]) -> None:
    np.testing.assert_array_equal(reframe(pictures[0], Frame(WHOLE), 80, 80), pictures[0])


def test_flips_and_quarter_turns_are_exact(pictures: list[np.ndarray]) -> None:
    flipped = reframe(pictures[0], Frame(WHOLE[[1, 0, 3, 2]]), 80, 80)
    np.testing.assert_array_equal(flipped, pictures[0][:, ::-1])
    turned = reframe(pictures[0], Frame(np.roll(WHOLE, 1, axis=0)), 80, 80)
    np.testing.assert_array_equal(turned, np.rot90(pictures[0], -1))


def test_frames_keep_the_share_of_area_that_they_promise() -> None:
    for seed in range(200):
        x, y = mild_frame(Dice(seed)).corners[2] - mild_frame(Dice(seed)).corners[0]
        assert x * y >= 0.69
        assert random_frame(Dice(seed), 1.0).corners.shape == (4, 2)
        assert min(inset_size(Dice(seed), 100, 1.0, 0.28)) >= 20


def test_overlays_hold_the_picture(pictures: list[np.ndarray]) -> None:
    small = pictures[0][:40, :30]
    page, (left, top, width, height) = inset(Dice(1), small, pictures[1], SIZE)
    windows = np.lib.stride_tricks.sliding_window_view(page, small.shape)[:, :, 0]
    assert np.argwhere((windows == small).all((2, 3, 4))).tolist() == [[top, left]]
    assert (height, width) == small.shape[:2]
    for seed in range(8):
        page, (left, top, width, height) = collage(Dice(seed), pictures[0], [np.zeros_like(pictures[0])] * 3, SIZE)
        assert page.shape == (SIZE, SIZE, 3)
        inside = page[top : top + height, left : left + width]
        assert inside.std() > 10
        assert len(np.unique(np.delete(page.reshape(-1, 3), _places(left, top, width, height), axis=0), axis=0)) <= 2
    both = blend(Dice(1), pictures[0], pictures[1], 0.5)
    assert not np.array_equal(both, pictures[0])


def test_windows_fit_what_they_show(pictures: list[np.ndarray]) -> None:
    sides = []
    for seed in range(120):
        _, (top, left, side) = strong_view(Dice(seed), pictures[0], pictures[1:], SIZE, 1.0, windows=1.0)
        assert min(top, left, 1 - top - side, 1 - left - side) >= -1e-9
        sides.append(side)
    assert 20 < sum(side < 1 for side in sides) < 70  # insets, collages, and a few others
    assert min(sides) > 0.35


def _places(left: int, top: int, width: int, height: int) -> np.ndarray:
    rows = np.arange(SIZE * SIZE).reshape(SIZE, SIZE)
    return rows[top : top + height, left : left + width].reshape(-1)


def test_training_and_evaluation_share_no_edit() -> None:
    folder = Path(guard.training.edits.__file__).parent
    own = {name for file in folder.glob("*.py") for name in _imported(file)}
    assert not any(name.startswith("guard.evaluation") for name in own)
    spec = importlib.util.find_spec("guard.evaluation.edits")
    if spec is None or spec.origin is None:
        pytest.skip("guard.evaluation.edits is not there yet")
    theirs = Path(spec.origin)
    files = theirs.parent.glob("*.py") if theirs.name == "__init__.py" else [theirs]
    assert not any(name.startswith("guard.training") for file in files for name in _imported(file))


def _imported(file: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
    return found
