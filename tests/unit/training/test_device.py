"""Views that an accelerator makes: shape, range and repetition, places that hold what they say, a bank that grows."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from guard.training.bank import KIN, build_bank, drawing, programs_drawn
from guard.training.config import CONFIGS, TrainingConfig
from guard.training.device.dice import BatchDice
from guard.training.device.feed import DeviceFeed, _laid, as_input
from guard.training.device.frames import Frames, Places, placed, places, sampled, strong_frames
from guard.training.device.looks import (
    _moved_detail,
    _other_levels,
    blended,
    compressed,
    grained,
    overlaid,
    redrawn,
    softened,
    toned,
)
from guard.training.device.views import strong_views, weak_views
from guard.training.feed import Feed
from guard.training.generators import picture
from guard.training.loop import Run
from guard.training.schedule import Moment

SIZE = 64
CONFIG = CONFIGS["small"].model_copy(update={"programs": 12, "pairs": 8, "picture_size": 48, "kin_share": 0.5})


@pytest.fixture(scope="module")
def pictures() -> Tensor:
    drawn = np.stack([picture(seed, 80) for seed in range(24)])
    return torch.from_numpy(drawn).permute(0, 3, 1, 2).float().div(255)


@pytest.fixture(scope="module")
def bank(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bank") / "bank.npy"
    build_bank(path, programs=12, size=48, seed=3)
    return path


def dice(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def alike(a: Tensor, b: Tensor) -> Tensor:
    """Correlation of each row's pixels."""
    a, b = (functional.normalize((v - v.mean((1, 2, 3), keepdim=True)).flatten(1), dim=1) for v in (a, b))
    return (a * b).sum(1)


@pytest.mark.parametrize("strength", [0.0, 0.5, 1.0])
def test_views_have_size_and_range_and_repeat(strength: float, pictures: Tensor) -> None:
    strengths = torch.full((24,), strength)
    views, windows = strong_views(pictures, pictures.roll(1, 0), SIZE, strengths, 0.6, dice())
    assert views.shape == (24, 3, SIZE, SIZE)
    assert torch.isfinite(views).all()
    assert views.min() >= 0
    assert views.max() <= 1
    top, left, side = windows.unbind(1)
    assert (top >= 0).all()
    assert (left >= 0).all()
    assert (side > 0.3).all()
    assert (top + side <= 1 + 1e-6).all()
    assert (left + side <= 1 + 1e-6).all()
    again, _ = strong_views(pictures, pictures.roll(1, 0), SIZE, strengths, 0.6, dice())
    torch.testing.assert_close(again, views)
    other, _ = strong_views(pictures, pictures.roll(1, 0), SIZE, strengths, 0.6, dice(1))
    assert not torch.allclose(other, views)


def test_weak_views_resemble_their_pictures(pictures: Tensor) -> None:
    views = weak_views(pictures, SIZE, dice())
    small = functional.interpolate(pictures, size=(SIZE, SIZE), mode="bilinear", antialias=True)
    own, other = alike(views, small), alike(views, small.roll(7, 0))
    assert (own > 0.95).float().mean() >= 0.5
    assert own.median() > other.max()


@pytest.mark.parametrize("edit", [compressed, grained, redrawn, softened, toned])
def test_looks_leave_shape_range_and_source(edit: object, pictures: Tensor) -> None:
    before = pictures.clone()
    for strength in (0.0, 1.0):
        out = edit(pictures, torch.full((24,), strength), BatchDice(dice(), 24))  # type: ignore[operator]
        assert out.shape == pictures.shape
        assert torch.isfinite(out).all()
        assert out.min() >= 0
        assert out.max() <= 1
        assert torch.equal(pictures, before)
    assert not torch.equal(out, before)


@pytest.mark.parametrize("edit", [blended, overlaid])
def test_what_lies_over_a_picture_is_another_one(edit: object, pictures: Tensor) -> None:
    out = edit(pictures, pictures.roll(1, 0), torch.ones(24), BatchDice(dice(), 24))  # type: ignore[operator]
    changed = (out != pictures).flatten(1).any(1)
    assert 0 < changed.float().mean() < 0.7


def test_other_levels_keep_the_order_of_levels(pictures: Tensor) -> None:
    moved = _other_levels(pictures, torch.ones(24), BatchDice(dice(), 24))
    assert (moved - pictures).abs().mean((1, 2, 3)).median() > 0.05
    for before, after in zip(pictures.flatten(0, 1).flatten(1), moved.flatten(0, 1).flatten(1), strict=True):
        assert (after[before.argsort()].diff() > -1e-5).all()
    kept = _other_levels(pictures, torch.zeros(24), BatchDice(dice(), 24))
    torch.testing.assert_close(kept, pictures, atol=1e-5, rtol=0)


def test_moved_detail_leaves_the_large_forms(pictures: Tensor) -> None:
    moved = _moved_detail(pictures, torch.ones(24), BatchDice(dice(), 24)).clamp(0, 1)
    own, coarse = alike(moved, pictures), [functional.avg_pool2d(v, 16) for v in (moved, pictures)]
    assert own.median() < 0.98
    assert alike(*coarse).median() > 0.98


def test_the_whole_frame_is_the_picture(pictures: Tensor) -> None:
    whole = Frames(torch.eye(3).expand(24, 3, 3), torch.zeros(24))
    torch.testing.assert_close(sampled(pictures, whole, 80, BatchDice(dice(), 24)), pictures, atol=1e-4, rtol=0)


def test_a_picture_stands_at_its_place(pictures: Tensor) -> None:
    n, quarter = len(pictures), torch.full((24,), 0.5)
    where = Places(-quarter, quarter, quarter, quarter, torch.zeros(24, 3))
    frames = placed(Frames(torch.eye(3).expand(n, 3, 3), torch.zeros(n)), where)
    view = sampled(pictures, frames, 80, BatchDice(dice(), n))
    small = functional.interpolate(pictures, size=(40, 40), mode="bilinear", antialias=True)
    corner = view[:, :, 40:, :40]  # the lower left: y points down
    assert alike(corner, small).median() > 0.97


def test_places_are_within_the_view_and_whole_at_no_strength() -> None:
    strength = torch.ones(4000)
    where = places(BatchDice(dice(), 4000), strength, insets=0.22, collages=0.07, windows=0.6)
    assert ((where.x.abs() + where.width) <= 1 + 1e-5).all()
    assert ((where.y.abs() + where.height) <= 1 + 1e-5).all()
    share = where.inside.float().mean()
    assert 0.26 < share < 0.32
    windowed = (where.window[:, 2] < 1).float().mean()
    assert 0.4 * share < windowed < 0.6 * share
    whole = places(BatchDice(dice(), 400), strength[:400], insets=0.0, collages=0.0, windows=0.6)
    assert not whole.inside.any()
    assert (whole.window == torch.tensor([0.0, 0.0, 1.0])).all()


def test_frames_at_no_strength_are_whole() -> None:
    frames = strong_frames(BatchDice(dice(), 100), torch.zeros(100), smallest=torch.full((100,), 0.25))
    torch.testing.assert_close(frames.matrix, torch.eye(3).expand(100, 3, 3))


def test_laying_moves_windows_with_their_views() -> None:
    views, windows = torch.zeros(64, 1, 32, 32), torch.tensor([[0.125, 0.5, 0.25]]).repeat(64, 1)
    views[:, :, 4:12, 16:24] = 1  # the window is white
    laid, moved = _laid(views, windows, dice())
    assert len({tuple(row) for row in moved.tolist()}) == 8
    for view, (top, left, side) in zip(laid, (32 * moved).round().int().tolist(), strict=True):
        assert (view[:, top : top + side, left : left + side] == 1).all()
        assert view.sum() == 64


def test_a_batch_repeats_and_its_halves_show_the_same_pictures(bank: Path) -> None:
    feed = DeviceFeed(CONFIG, bank, 0, torch.device("cpu"))
    gentle = CONFIG.model_copy(update={"gentlest": 0.0})
    batch = feed.batch(5, Moment(1e-3, 64, 1.0))
    assert batch.x.shape == (16, 3, 64, 64)
    assert batch.shows.shape == (16, 8)
    assert torch.equal(batch.shows[:8], batch.shows[8:])
    assert torch.equal(batch.shows[:8], torch.eye(8))
    torch.testing.assert_close(feed.batch(5, Moment(1e-3, 64, 1.0)).x, batch.x)
    assert not torch.allclose(feed.batch(6, Moment(1e-3, 64, 1.0)).x, batch.x)
    assert DeviceFeed(gentle, bank, 0, torch.device("cpu")).batch(0, Moment(1e-3, 64, 0.0)).x.abs().max() <= 1


def test_a_device_takes_what_is_drawn_so_far(tmp_path: Path) -> None:
    path = tmp_path / "bank.npy"
    build_bank(path, programs=12, size=48, seed=3, until=8)
    assert programs_drawn(path) == 8
    feed = DeviceFeed(CONFIG, path, 0, torch.device("cpu"))
    feed.batch(0, Moment(1e-3, 64, 1.0))
    with drawing(path, size=48, seed=3, processes=1):
        for _ in range(600):
            if programs_drawn(path) == 12:
                break
            time.sleep(0.1)
    feed.batch(1, Moment(1e-3, 64, 1.0))
    whole = build_bank(path, programs=12, size=48, seed=3)
    np.testing.assert_array_equal(feed._pictures.numpy(), whole.pictures)
    assert len(whole) == 12 * KIN


def test_parts_may_be_of_every_other_step(bank: Path) -> None:
    feed = Feed(CONFIG, bank, 0, 0, 1, 0)
    parts = feed.parts(4, lambda step: Moment(1e-3, 64, 1.0), every=3)
    assert [next(parts).step for _ in range(3)] == [4, 7, 10]


def test_input_is_centred() -> None:
    views = torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1).expand(2, 4, 4, 3)
    assert as_input(views).flatten(1).unique(dim=1).flatten().tolist() == [-1.0, 1.0]


def test_one_process_makes_batches_on_its_device(tmp_path: Path) -> None:
    config: TrainingConfig = CONFIG.model_copy(update={"device_batches": 1})
    with pytest.raises(ValueError, match="one process"):
        Run(tmp_path, config, steps=1, processes=2)
